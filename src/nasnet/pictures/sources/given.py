"""Pictures a Python program already has: paths, bytes, arrays, PIL images, with ids or without."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import SourceError
from nasnet.pictures.sources.files import named
from nasnet.pictures.sources.item import Item, Source, id_of_path, valid_text


def given_source(pictures: Any, storage: Mapping[str, Any]) -> Source:  # noqa: ANN401
    """Pictures from Python.

    One picture is a path, a URL, encoded bytes, a file that was opened in binary mode, an array
    [height, width, 3] or [height, width], a PIL image, or a function that gives one of the last
    four. A source is one of them, an array [n, height, width, 3], any iterable of pictures or of
    pairs (id, picture), an array of paths, or a mapping from id to picture. What has no id is
    called by its path, or else by its number.

    Raises:
        SourceError: it is nothing of the kind.
    """
    name = f"a Python {type(pictures).__name__}"
    if _is_picture(pictures) and not isinstance(pictures, str | os.PathLike):
        pictures = [pictures]
    if hasattr(pictures, "columns") or hasattr(pictures, "column_names"):
        raise SourceError(f"{name} has several columns: take the one that holds paths or pictures")
    if isinstance(pictures, Mapping):
        pictures = pictures.items()
    elif hasattr(pictures, "to_pylist"):  # of Arrow
        pictures = pictures.to_pylist()
    if not hasattr(pictures, "__iter__"):
        raise SourceError(f"a source is a path or an iterable of pictures, found {name}")

    def start() -> Iterator[Item]:
        for number, entry in enumerate(pictures):
            if isinstance(entry, tuple) and len(entry) == 2:
                yield Item(valid_text(str(entry[0])), _reader(entry[1], storage))
            else:
                yield Item(_name(entry, number), _reader(entry, storage))

    count = len(pictures) if isinstance(pictures, Sized) else None
    return Source(name=name, kind="python", count=count, start=start)


def _is_picture(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, np.ndarray):
        return value.ndim < 4 and value.dtype.kind not in "OUS"
    if hasattr(value, "read"):
        return True
    return isinstance(value, bytes | bytearray | memoryview | str | Path) or hasattr(
        value, "getexif"
    )


def _name(picture: Any, number: int) -> str:  # noqa: ANN401
    """The path of a picture, or of the file a PIL image came from; its number if it has none."""
    path = getattr(picture, "filename", None) if hasattr(picture, "getexif") else picture
    return id_of_path(os.fspath(path)) if isinstance(path, str | Path) else str(number)


def _reader(picture: Any, storage: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if isinstance(picture, str | Path):
        return named(os.fspath(picture), "", storage)
    if callable(picture):
        return picture
    if hasattr(picture, "read"):
        return picture.read
    return lambda: picture
