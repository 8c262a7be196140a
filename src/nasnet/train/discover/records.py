"""`trials.jsonl`, the truth of a run folder: a synced line for each training with its result."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nasnet.errors import InputError, OutputError, os_errors

TRIALS = "trials.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One training and what came of it.

    Attributes:
        code: the network's one-line code, from which it can be made again.
        key: canonical text of its cells.
        fidelity: 0 the cheap score, 1 longer, 2 the next size.
        seed: of the training.
        arms: strategies whose result this is; `known` for NASNet-A.
        asked_by: why it was asked for, as in `Trial`.
        score: higher is better; None if the training failed.
        curve: the score after each epoch.
        multiply_adds: of one picture, at the width that was trained.
        filters: that width.
        seconds: of the training, by the clock.
        milliseconds: of one picture in the product's own engine; None where not measured.
        latency_ratio: these in those of NASNet-A at the same multiply-adds, measured in turns
            with it; None where not measured.
        error: why the training failed, one line; empty if it did not.
    """

    code: str
    key: str
    fidelity: int
    seed: int
    arms: tuple[str, ...]
    asked_by: str
    score: float | None = None
    curve: tuple[float, ...] = ()
    multiply_adds: int
    filters: int
    seconds: float = 0.0
    milliseconds: float | None = None
    latency_ratio: float | None = None
    error: str = ""

    @property
    def id(self) -> tuple[str, int, int]:
        """Which trial it is, as `Trial.id`."""
        return self.key, self.fidelity, self.seed

    def line(self) -> str:
        """The record as one line of JSON, its end included."""
        return json.dumps(asdict(self), allow_nan=False) + "\n"


def parsed(line: str, where: str) -> Record:
    """The record of a line.

    Raises:
        InputError: the line is none; the text names `where`.
    """
    try:
        row: Mapping[str, Any] = json.loads(line)
        record = Record(**{**row, "arms": tuple(row["arms"]), "curve": tuple(row["curve"])})
        numbers = [record.multiply_adds, record.filters, record.seconds, *record.curve]
        if record.score is not None:
            numbers.append(record.score)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a number is not finite")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{where} is not a result of a training: {error}") from error
    return record


def columns(records: Iterable[Record]) -> dict[str, list[Any]]:
    """The records as columns of a table, each field one."""
    rows = list(records)
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields(Record)}


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
        with os_errors(OutputError, f"{self._file} cannot be read"):
            text = self._file.read_bytes() if self._file.exists() else b""
            whole = text[: text.rfind(b"\n") + 1]
            if len(whole) < len(text):
                os.truncate(self._file, len(whole))
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
        told = os_errors(OutputError, f"{self._file} cannot be written")
        with told, self._file.open("ab") as file:
            file.write(record.line().encode())
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
