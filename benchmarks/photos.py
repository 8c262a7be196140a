"""The pictures all peers get: JPEG files in a folder, and the first of them as network input.

Called by `running`, once a run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasnet.pictures import recipes
from nasnet.pictures.sources import open_source

__all__ = ["make_photos", "network_input"]

_LONG_SIDE = 500  # pixels, as ImageNet's files have
_QUALITY = 90


def make_photos(folder: Path, *, count: int, source: str = "samples:photographs") -> Path:
    """Write JPEG files of the source's pictures, repeated until there are enough.

    Args:
        folder: where to; made here.
        count: how many files.
        source: pictures of any kind that `nasnet embed` takes.
    """
    import io

    from PIL import Image

    files: list[bytes] = []
    for item in open_source(source):
        read = item.read()
        pixels = Image.open(io.BytesIO(read) if isinstance(read, bytes) else read).convert("RGB")
        pixels.thumbnail((_LONG_SIDE, _LONG_SIDE))
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG", quality=_QUALITY)
        files.append(buffer.getvalue())
        if len(files) == count:
            break
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(files[number % len(files)])
    return folder


def network_input(photos: str, count: int) -> npt.NDArray[np.uint8]:
    """The first pictures of a folder as the network takes them, uint8 [count, 224, 224, 3]."""
    recipe = recipes.get_recipe("photo")
    found: list[npt.NDArray[np.uint8]] = []
    for item in open_source(photos):
        pixels = recipes.prepare(item.read(), recipe, 224, 224).pixels
        found.append(np.asarray(pixels, np.uint8))
        if len(found) == count:
            break
    return np.stack([found[number % len(found)] for number in range(count)])
