"""Small pictures as JPEG and as data URLs, for pages that need nothing from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.recipes import get_recipe, open_picture
from nasnet.pictures.sources import SourceOptions, items_again

if TYPE_CHECKING:
    from PIL import Image

_QUALITY = 82


def thumbnails(
    pictures: Any,  # noqa: ANN401
    wanted: Collection[str],
    *,
    recipe: str,
    side: int,
    source: SourceOptions | None = None,
    quality: int = _QUALITY,
    on_done: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Small JPEG pictures, by id; those that cannot be read any more are left out.

    `wanted` are ids, `side` is the longest one in pixels. The recipe of the vectors decodes the
    pictures here too; `on_done` is called from time to time with how many are done.

    Raises:
        SourceError: the source cannot be opened.
    """
    decoding = get_recipe(recipe).decoding
    missing = set(wanted)
    found: dict[str, str] = {}
    if not missing:
        return found
    try:
        items = items_again(pictures, wanted, options=source)
    except SourceError as error:
        raise SourceError(f"the pictures to show: {error}; --source says where they are") from error
    for item in items:
        if item.id not in missing:
            continue
        missing.discard(item.id)
        if on_done is not None:
            on_done(len(wanted) - len(missing))
        try:
            pixels = open_picture(item.read(), decoding, target=(side, side)).pixels
        except PictureError:
            continue
        found[item.id] = data_url("image/jpeg", jpeg_of(shrunk(pixels, side), quality=quality))
        if not missing:
            break
    return found


def shrunk(pixels: npt.NDArray[Any], longest: int) -> Image.Image:
    """A picture [height, width, 3] uint8 with at most so many pixels a side."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def jpeg_of(image: Image.Image, *, quality: int) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_url(kind: str, content: bytes) -> str:
    """Bytes as the address of a picture; `kind` is such as `image/jpeg`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
