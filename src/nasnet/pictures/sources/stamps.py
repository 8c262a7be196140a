"""What tells whether a picture is the one that was seen before, without decoding it."""

from __future__ import annotations

import os
from functools import partial

from nasnet.errors import PictureError
from nasnet.pictures.sources.files import meant_by, read_file
from nasnet.pictures.sources.item import Item


def has_changed(item: Item, size: int | None, since: float) -> bool:
    """Whether a picture is another than it was.

    A file is, if its size differs, or it was written since then. What lies in an archive or a
    table, or far away, has no time of its own: it is read, and its size alone counts. What cannot
    be read there now, since its server is down, say, has not changed. The size, in bytes, may be
    unknown; `since` is when it was seen, in seconds since 1970.
    """
    if size is None:
        return True
    try:
        if isinstance(item.read, partial) and item.read.func is read_file:
            path = item.read.args[0]
            path = path if os.path.exists(path) else meant_by(path) or path  # noqa: PTH110 - no UTF-8
            status = os.stat(path)  # noqa: PTH116 - names that are no UTF-8
            return status.st_size != size or status.st_mtime >= since
    except (OSError, ValueError):
        return True  # and its row will say why
    try:
        data = item.read()
    except PictureError:
        return False
    return not isinstance(data, bytes | bytearray | memoryview) or len(data) != size
