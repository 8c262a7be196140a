"""The folder of an unfinished output: its lock, its manifest, its parts, and how it ends.

Every file in it appears by renaming, so each is whole or not there:

    x.parquet.parts/
        lock                  held by the system for as long as the run lives
        manifest.json         what the run is; written first
        part-00000.parquet    rows in order; written one by one
        final-x.parquet       the finished file under way
    The manifest is rewritten as `publishing` when the final files are whole; from then on the run
    is done, and whoever comes next only moves them into place and removes the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nasnet.errors import OutputError
from nasnet.features import parquet
from nasnet.features.store.manifest import Manifest, decode_manifest, vector_text
from nasnet.system import Lock, lock, staged, sweep, sync, sync_folder

if TYPE_CHECKING:
    import pyarrow

_LOCK = "lock"
_MANIFEST = "manifest.json"
_FINAL = "final-"


def _written(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OutputError: it cannot be written; nothing of it is left.
    """
    try:
        with staged(target) as place:
            write(place)
    except OutputError as error:
        raise OutputError(
            f"{error}; what was safe stays: make room and start the same command again"
        ) from error


def open_parts(folder: Path, output: Path) -> Parts:
    """Take the folder for this run; what a finished run left in it is tidied up first.

    Raises:
        OutputError: it cannot be made, another run holds it, or its manifest is damaged.
    """
    parts = Parts(folder, output, lock(folder, name=_LOCK, what=str(output), parents=False))
    try:
        parts.tidy()
    except BaseException:
        parts.release()
        raise
    return parts


class Parts:
    """The folder, held by this run until `release` or `remove`."""

    def __init__(self, folder: Path, output: Path, lock: Lock) -> None:
        self.folder = folder
        self.output = output
        self.counts: list[int] = []  # rows of each whole part
        self._lock = lock

    @property
    def begun(self) -> bool:
        """Whether a run has begun here."""
        return (self.folder / _MANIFEST).exists()

    def tidy(self) -> None:
        """Finish what an earlier run had all but finished, and remove what it left half-written."""
        manifest = self.read_manifest(strict=False)
        if manifest is not None and manifest.publishing:
            self._move(manifest.publishing)
            self.clear()
        sweep(self.folder, everyone=True)
        for leftover in self.folder.glob(f"{_FINAL}*"):
            leftover.unlink()

    def read_manifest(self, *, strict: bool = True) -> Manifest | None:
        """What the run in this folder is, None if there is none.

        Raises:
            OutputError: it is damaged, or of another version, and `strict`.
        """
        path = self.folder / _MANIFEST
        try:
            return decode_manifest(
                path.read_bytes(), str(path), f"remove {self.folder}, or use --overwrite"
            )
        except FileNotFoundError:
            return None
        except OutputError:
            if strict:
                raise
            return None
        except OSError as error:
            if strict:
                raise OutputError(f"{path} cannot be read: {error.strerror or error}") from error
            return None

    def write_manifest(self, manifest: Manifest) -> None:
        """Say what the run is.

        Raises:
            OutputError: the disk is full, or the like.
        """
        _written(self.folder / _MANIFEST, lambda path: path.write_bytes(manifest.encode()))

    def find(self, schema: pyarrow.Schema) -> None:
        """Count the whole parts; the first one that is not, and all after it, are removed."""
        self.counts = []
        while (rows := _whole_rows(self._part(len(self.counts)), schema)) is not None:
            self.counts.append(rows)
        for extra in self.folder.glob("part-*.parquet"):
            number = extra.stem.removeprefix("part-")
            if not number.isdigit() or int(number) >= len(self.counts):
                extra.unlink()

    def add(self, table: pyarrow.Table) -> None:
        """Write the next part.

        Raises:
            OutputError: the disk is full, or the like.
        """

        def write(temporary: Path) -> None:
            # Uncompressed: parts are read once and thrown away.
            with parquet.writing(temporary, table.schema, packed=False) as file:
                file.write_table(table)

        _written(self._part(len(self.counts)), write)
        self.counts.append(table.num_rows)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pyarrow.Table]:
        """The rows so far, a table a part.

        Raises:
            OutputError: a part was damaged since it was written.
        """
        return (self.table(number, columns) for number in range(len(self.counts)))

    def table(self, number: int, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The rows of one part.

        Raises:
            OutputError: it was damaged since it was written.
        """
        import pyarrow

        path = self._part(number)
        try:
            with parquet.reading(path) as file:
                return file.read(None if columns is None else list(columns))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise OutputError(
                f"{path}: damaged ({error}); remove it and start the same command again: what it "
                "held, and what came after it, is computed anew"
            ) from error

    def publish(
        self, manifest: Manifest, files: Sequence[Path], write: Callable[[Path], None]
    ) -> None:
        """Make the finished files and put them in their places, all or none.

        Args:
            manifest: of this run.
            files: the finished files, in the order in which they shall appear.
            write: makes them all, given the last one's path under a name in this folder.

        Raises:
            OutputError: the disk is full, or the like; the parts stay.
        """
        targets = [self.folder / f"{_FINAL}{file.name}" for file in files]
        try:
            write(targets[-1])
            for target in targets:
                sync(target)
            sync_folder(self.folder)
        except OSError as error:
            for target in targets:
                target.unlink(missing_ok=True)
            raise OutputError(
                f"{self.output} cannot be written: {error.strerror or error}; all rows are safe "
                f"in {self.folder}: make room and start the same command again"
            ) from error
        names = tuple(file.name for file in files)
        self.write_manifest(replace(manifest, publishing=names))
        self._move(names)

    def _move(self, names: Sequence[str]) -> None:
        for name in names:
            final = self.folder / f"{_FINAL}{name}"
            if final.exists():
                final.replace(self.output.with_name(name))
        sync_folder(self.output.parent)

    def clear(self) -> None:
        """Remove all but the lock; the manifest last, because it says whether rows are needed."""
        self.counts = []
        manifest = self.folder / _MANIFEST
        for file in self.folder.iterdir():
            if file.name != _LOCK and file != manifest:
                file.unlink()
        manifest.unlink(missing_ok=True)

    def release(self) -> None:
        """Let the next run have the folder."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self.clear()
        self._lock.remove()
        with suppress(OSError):  # another run has begun in it
            self.folder.rmdir()

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"


def _whole_rows(part: Path, schema: pyarrow.Schema) -> int | None:
    """Rows of a part, None if it is not there, not whole, or not ours."""
    import pyarrow

    try:
        with parquet.reading(part) as file:
            found = file.schema_arrow
            same = vector_text(found) == vector_text(schema) and found.names == schema.names
            return int(file.metadata.num_rows) if same else None
    except (OSError, ValueError, KeyError, AttributeError, pyarrow.ArrowException):
        return None
