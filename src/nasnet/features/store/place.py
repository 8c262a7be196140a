"""A folder that is written to: on a disk, or behind any URL that fsspec knows.

It knows files by their names, each whole or not there, and nothing of what is in them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasnet.errors import NasnetError, OutputError, PictureError
from nasnet.pictures.sources.remote import file_system
from nasnet.system import refuse_special, staged, sync_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder; a process on any machine that sees it may be given one.

    Attributes:
        name: what the user called it.
        root: the folder as its file system calls it; on a disk an absolute path.
        system: fsspec's file system, None for a disk.
    """

    name: str
    root: str
    system: Any = None

    @property
    def path(self) -> Path | None:
        """The folder on a disk, None if it is far."""
        return Path(self.root) if self.system is None else None

    def exists(self, file: str) -> bool:
        """Whether there is such a file or folder in it.

        Raises:
            OutputError: it cannot be told.
        """
        if self.system is None:
            return Path(self.root, file).exists()
        with self.told("read"):
            self.system.invalidate_cache()
            return bool(self.system.exists(f"{self.root}/{file}"))

    def is_folder(self, file: str) -> bool:
        """Whether there is a folder of this name in it.

        Raises:
            OutputError: it cannot be told.
        """
        if self.system is None:
            return Path(self.root, file).is_dir()
        with self.told("read"):
            return bool(self.system.isdir(f"{self.root}/{file}"))

    def names(self) -> list[str]:
        """What is in it, in order; nothing if it is not there.

        Raises:
            OutputError: it cannot be listed.
        """
        with self.told("listed"):
            try:
                if self.system is None:
                    return sorted(os.listdir(self.root))  # noqa: PTH208 - names only
                self.system.invalidate_cache()
                found = self.system.ls(self.root, detail=False)
            except FileNotFoundError:
                return []
            # Some stores list the folder itself among what is in it.
            names = {str(one).rstrip("/").rpartition("/")[2] for one in found}
            return sorted(names - {self.root.rpartition("/")[2]})

    def read(self, file: str) -> bytes | None:
        """A file's content, None if it is not there.

        Raises:
            OutputError: it cannot be read.
        """
        with self.told("read"):
            try:
                if self.system is None:
                    return Path(self.root, file).read_bytes()
                self.system.invalidate_cache()
                return bytes(self.system.cat_file(f"{self.root}/{file}"))
            except FileNotFoundError:
                return None

    @contextmanager
    def opened(self, file: str) -> Iterator[Any]:
        """A file to read and seek in: its path, or what fsspec opens."""
        if self.system is None:
            yield Path(self.root, file)
            return
        with self.system.open(f"{self.root}/{file}", "rb") as far:
            yield far

    def make(self) -> None:
        """Make the folder if it is not there.

        Raises:
            OutputError: it cannot be made.
        """
        with self.told("written to"):
            if self.system is None:
                Path(self.root).mkdir(exist_ok=True)
            else:
                self.system.makedirs(self.root, exist_ok=True)

    def write(
        self,
        file: str,
        write: Callable[[Path], object],
        *,
        files: Sequence[str] = (),
        remedy: str = "",
    ) -> None:
        """Write a file, and those that belong to it; each is there when all of it is.

        `write` makes it and the others beside it, given its path; `files` are all of them in the
        order in which they shall appear, `file` the last.

        Raises:
            OutputError: something cannot be written; what was there before is kept.
        """
        if self.system is None:
            with staged(Path(self.root) / file, last=file, remedy=remedy) as whole:
                write(whole)
            return
        try:
            # A far store shows an upload once it is complete: it is sent from a whole file.
            with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
                write(Path(folder) / file)
                with self.told("written to"):
                    for one in files or (file,):
                        self.system.put_file(str(Path(folder) / one), f"{self.root}/{one}")
        except OSError as error:
            reason = f"{error.strerror or error}{remedy and '; '}{remedy}"
            raise OutputError(f"{self.name}/{file} cannot be written: {reason}") from error

    def remove(self, file: str) -> None:
        """Remove a file if it is there.

        Raises:
            OutputError: it cannot be removed.
        """
        with self.told("cleared"), suppress(FileNotFoundError):
            if self.system is None:
                Path(self.root, file).unlink()
            else:
                self.system.rm_file(f"{self.root}/{file}")

    def remove_folder(self) -> None:
        """Remove the folder if nothing is in it; most far stores know no empty folders."""
        with suppress(Exception):  # fsspec's packages raise what they like
            if self.system is None:
                Path(self.root).rmdir()
            elif "/" in self.root.strip("/"):  # never a bucket
                self.system.rmdir(self.root)

    def move(self, file: str, to: Place, name: str) -> None:
        """Give a file another name in another folder of the same file system.

        Raises:
            OutputError: it cannot be moved.
        """
        with self.told("moved from"):
            if self.system is None:
                refuse_special(Path(to.root, name))
                Path(self.root, file).replace(Path(to.root, name))
                sync_folder(Path(to.root))
            else:
                self.system.mv(f"{self.root}/{file}", f"{to.root}/{name}")

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Errors of a file system, whatever its package calls them, become one of ours."""
        try:
            yield
        except (NasnetError, FileNotFoundError):
            raise
        except Exception as error:  # fsspec's packages raise what they like
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise OutputError(f"{self.name} cannot be {what}: {reason}") from error


def open_place(name: str | os.PathLike[str], storage: Mapping[str, Any]) -> Place:
    """Find the file system of a folder; nothing is made yet.

    Raises:
        OutputError: there is no such file system.
        MissingExtraError: its package is not installed.
    """
    text = os.fspath(name)
    if "://" not in text:
        return Place(name=text, root=os.path.abspath(text))  # noqa: PTH100 - maybe no UTF-8
    try:
        system, root = file_system(text, storage)
    except (PictureError, OSError) as error:
        raise OutputError(f"{text} cannot be written to: {error}") from error
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return Place(name=text, root=root.rstrip("/"), system=None if "file" in protocols else system)
