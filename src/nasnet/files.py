"""A file appears whole or not at all, and what was there before stays until it does.

Called by every room that writes files or folders; a sink of many parts has ways of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from nasnet.errors import OutputError

__all__ = ["staged", "write_whole"]


def write_whole(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file under a temporary name beside it, and rename that.

    Args:
        path: the file; what was there is replaced.
        data: its content.
        sync: wait until the disk has it, so that even a power cut leaves the one or the other.

    Raises:
        OutputError: it cannot be written; what was there before is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def staged(target: Path, *, last: str = "", overwrite: bool = False) -> Iterator[Path]:
    """A place of the target's name in a folder of its own; what is made there appears at the end.

    Args:
        target: a file, the beginning of several files' names, or a folder.
        last: the ending of the file that goes last, because it says that the others are there.
        overwrite: a folder that is there already is replaced.

    Raises:
        OutputError: something cannot be written; nothing appears, what was there is kept.
    """
    folder = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True)
        yield folder / target.name
        made = sorted(folder.iterdir(), key=lambda file: (file.name.endswith(last), file.name))
        for one in made:
            place = target.parent / one.name
            if overwrite and place.is_dir():
                place.rename(folder / f"{one.name}.old")
            one.replace(place)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
