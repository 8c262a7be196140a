"""Small pictures as data URLs, for pages that need nothing from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection
from typing import Any

import numpy as np

from nasnet.errors import PictureError
from nasnet.pictures.recipes import get_recipe, open_picture
from nasnet.pictures.sources import SourceOptions, open_source

_QUALITY = 82


def thumbnails(
    pictures: Any,  # noqa: ANN401
    wanted: Collection[str],
    *,
    recipe: str,
    side: int,
    source: SourceOptions | None = None,
    quality: int = _QUALITY,
) -> dict[str, str]:
    """Small JPEG pictures, by id; those that cannot be read any more are left out.

    Args:
        pictures: the source their vectors were computed from.
        wanted: ids.
        recipe: the preprocessing of the vectors: it decodes the pictures here too.
        side: the longest side, in pixels.
        source: how the source is read.
        quality: of the JPEG files.

    Raises:
        SourceError: the source cannot be opened.
    """
    from PIL import Image

    decoding = get_recipe(recipe).decoding
    missing = set(wanted)
    found: dict[str, str] = {}
    if not missing:
        return found
    for item in open_source(pictures, options=source or SourceOptions()):
        if item.id not in missing:
            continue
        missing.discard(item.id)
        try:
            pixels = open_picture(item.read(), decoding, target=(side, side)).pixels
        except PictureError:
            continue
        image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        found[item.id] = f"data:image/jpeg;base64,{data}"
        if not missing:
            break
    return found
