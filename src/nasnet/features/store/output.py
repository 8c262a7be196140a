"""A finished feature set that is to be written, near or far."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import OutputError
from nasnet.features.feature_set import read_meta
from nasnet.features.store.formats import FORMATS, Format, Tables
from nasnet.features.store.place import Place, open_place
from nasnet.system import sweep

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file by one of the formats.

    Attributes:
        name: what the user called it.
        place: the folder it lies in.
        file: its name there.
    """

    name: str
    place: Place
    file: str

    @property
    def format(self) -> Format:
        """How it is written and read."""
        return FORMATS[Path(self.file).suffix]

    @property
    def files(self) -> list[str]:
        """All files it consists of, in the order in which they shall appear: `file` is the last."""
        return [one.name for one in self.format.files(Path(self.file))]

    @property
    def exists(self) -> bool:
        """Whether a finished file of this name is there."""
        return self.place.exists(self.file)

    def neighbour(self) -> str | None:
        """A file that is there and has one of the names this output needs."""
        return next((file for file in self.files if self.place.exists(file)), None)

    def stranger(self) -> str | None:
        """What says of a file that is not there what it holds, and does not: somebody else's."""
        root = self.place.path
        if root is None or self.exists:
            return None
        for file in self.files:
            if file.endswith(".json") and (root / file).exists():
                try:
                    read_meta(root / self.file)
                except OutputError:
                    return file
        return None

    def write(self, schema: pyarrow.Schema, rows: int, tables: Tables) -> None:
        """Write it; it is there when all of it is.

        Raises:
            OutputError: it cannot be written; what was there before is kept.
        """
        self.place.write(
            self.file,
            lambda path: self.format.write(path, schema, rows, tables),
            files=self.files,
        )


def open_output(output: str | os.PathLike[str], storage: Mapping[str, Any]) -> Output:
    """Recognise an output by its ending; nothing is made yet.

    Raises:
        OutputError: its name is no UTF-8, the format is not known, or it is a folder.
    """
    text = os.fspath(output)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"{text!r} is not UTF-8, which those who read feature sets expect: name another file"
        ) from None
    suffix = Path(text).suffix
    if suffix not in FORMATS:
        raise OutputError(f"{text}: the ending of the name says the format: {', '.join(FORMATS)}")
    folder = text.rpartition("/")[0] if "://" in text else Path(text).parent
    found = Output(name=text, place=open_place(folder, storage), file=Path(text).name)
    if found.place.path is not None:
        # Before anything is refused: what killed runs left goes in any case.
        sweep(found.place.path, found.file)
    if found.place.is_folder(found.file):
        raise OutputError(f"{text} is a folder: name a file in it")
    return found
