"""Photos with copies of some of them planted among them, one kind of change a copy."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from nasnet.pictures.sources import open_source

Change = Callable[[bytes], tuple[bytes, str]]


def _jpeg(image: Image.Image, quality: int = 90, **options: object) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue(), ".jpg"


def _opened(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def _half(data: bytes) -> tuple[bytes, str]:
    image = _opened(data)
    size = max(1, image.width // 2), max(1, image.height // 2)
    return _jpeg(image.resize(size, Image.Resampling.LANCZOS))


def _cropped(data: bytes) -> tuple[bytes, str]:
    """4 % of the width and of the height are gone: half of that at each edge."""
    image = _opened(data)
    x, y = round(image.width * 0.02), round(image.height * 0.02)
    return _jpeg(image.crop((x, y, image.width - x, image.height - y)))


def _cropped_more(data: bytes) -> tuple[bytes, str]:
    """4 % at each edge."""
    image = _opened(data)
    x, y = round(image.width * 0.04), round(image.height * 0.04)
    return _jpeg(image.crop((x, y, image.width - x, image.height - y)))


def _png(data: bytes) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    _opened(data).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _turned(data: bytes) -> tuple[bytes, str]:
    """Stored on its side, with the EXIF orientation that makes viewers turn it back."""
    image = _opened(data).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    return _jpeg(image, exif=exif)


def _with_text(data: bytes) -> tuple[bytes, str]:
    image = _opened(data)
    draw = ImageDraw.Draw(image)
    size = max(8, image.height // 14)
    draw.text((size // 2, image.height - 2 * size), "(c) A. Painter", "white", font_size=size)
    return _jpeg(image)


CHANGES: Mapping[str, Change] = {
    "same bytes": lambda data: (data, ".webp"),
    "PNG re-save": _png,
    "JPEG q50": lambda data: _jpeg(_opened(data), 50),
    "half size": _half,
    "brightness x 1.25": lambda data: _jpeg(ImageEnhance.Brightness(_opened(data)).enhance(1.25)),
    "EXIF-rotated": _turned,
    "grey": lambda data: _jpeg(_opened(data).convert("L")),
    "small text": _with_text,
    "4 % crop": _cropped,
    "4 % crop at each edge": _cropped_more,
    "mirrored": lambda data: _jpeg(ImageOps.mirror(_opened(data))),
}


def plant(source: str, folder: Path, *, photos: int, copies: int) -> None:
    """Write photos, and changed copies of some of them as `NUMBER.copy-CHANGE.jpg`.

    Args:
        source: where to take photos from; so many are taken, spread evenly by a fixed seed.
        folder: where to; made here.
        photos: how many.
        copies: of each kind of change, each of another photo.
    """
    folder.mkdir(parents=True)
    names = [item.id for item in open_source(source)]
    chosen = np.random.default_rng(0).permutation(len(names))[:photos]
    order = {names[row]: place for place, row in enumerate(chosen.tolist())}
    kinds = [kind for kind in CHANGES for _ in range(copies)]
    for item in open_source(source):
        place = order.get(item.id)
        if place is None:
            continue
        data = item.read()
        (folder / f"{place:06d}{Path(item.id).suffix}").write_bytes(data)
        if place < len(kinds):
            changed, ending = CHANGES[kinds[place]](data)
            name = f"{place:06d}.copy-{list(CHANGES).index(kinds[place]):02d}{ending}"
            (folder / name).write_bytes(changed)
