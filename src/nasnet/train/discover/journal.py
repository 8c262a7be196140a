"""`trials.jsonl`, the truth of a run folder: a synced line for each training, read at the start."""

from __future__ import annotations

import os
from pathlib import Path

from nasnet.errors import InputError, OutputError
from nasnet.train.discover.records import Record, parsed

TRIALS = "trials.jsonl"


class Journal:
    """The results of a run, on the disk before anybody acts on them."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; half a line at the end is what a killed run left, and goes.

        Raises:
            InputError: a whole line is no result.
            OutputError: the file cannot be read.
        """
        self._file = folder / TRIALS
        self.records: list[Record] = []
        try:
            text = self._file.read_bytes() if self._file.exists() else b""
            whole = text[: text.rfind(b"\n") + 1]
            if len(whole) < len(text):
                os.truncate(self._file, len(whole))
        except OSError as error:
            raise OutputError(f"{self._file} cannot be read: {error.strerror}") from error
        for number, line in enumerate(whole.splitlines(), 1):
            where = f"{self._file}, line {number}"
            try:
                self.records.append(parsed(line.decode(), where))
            except UnicodeDecodeError as error:
                raise InputError(f"{where} is not a result of a training: {error}") from error

    def append(self, record: Record) -> None:
        """Keep a result.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            with self._file.open("ab") as file:
                file.write(record.line().encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self._file} cannot be written: {error.strerror}") from error
        self.records.append(record)
