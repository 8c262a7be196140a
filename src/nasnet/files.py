"""A file appears whole or not at all, and what was there before stays until it does.

Called by every room that writes a single file; a sink of many parts has ways of its own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nasnet.errors import OutputError

__all__ = ["write_whole"]


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
