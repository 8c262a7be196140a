"""What of a PNG file makes its pixels, which way up they are, and which colour of them is clear."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# ImageMagick's and older exiftool's place for EXIF: hexadecimal digits after three lines.
_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
_MOST_TEXT = 1 << 20


def essentials(data: bytes) -> tuple[bytes, bytes]:
    """A PNG file without all that is not pixels, and its EXIF block.

    Texts, colour profiles and animation frames are passed over unread, whatever they unpack to.

    Returns:
        The file itself where there is nothing to leave out; EXIF is empty where there is none.
    """
    parts: list[bytes] = []
    exif = profile = b""
    begin = at = 8
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"eXIf":
            exif = data[at + 8 : end - 4]
        elif kind in _TEXTS and not profile:
            profile = _profile(kind, data[at + 8 : end - 4])
        if kind[0] & 0x20 and kind != b"tRNS":  # lower case: not critical (PNG, 5.4)
            parts.append(data[begin:at])
            begin = end
        if kind == b"IEND":
            break
        at = end
    if not parts:
        return data, exif
    return b"".join([data[:8], *parts, data[begin:]]), exif or profile


def _profile(kind: bytes, body: bytes) -> bytes:
    """The EXIF block that a text chunk holds, if it does."""
    name, _, text = body.partition(b"\0")
    if name not in _PROFILES:
        return b""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    elif packed:
        text = text[1:]
    try:
        text = zlib.decompressobj().decompress(text, _MOST_TEXT) if packed else text
    except zlib.error:
        return b""
    return profile_bytes(text)


def profile_bytes(text: bytes) -> bytes:
    """Bytes of a raw profile, empty where it is none: a name, a length, lines of digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def clear_colour(picture: Image, data: bytes | None) -> npt.NDArray[np.bool_] | None:
    """Which pixels have the one colour that a grey or RGB picture names as clear (tRNS).

    They are compared in the file's own depth (PNG, 11.3.2.1); what Pillow makes of deeper and of
    shallower ones is another colour. `data` is the file as Pillow got it, None where there is only
    the picture.

    Returns:
        bool [height, width]; None where it names none.

    Raises:
        PictureError: it has 16 bits, of which Pillow kept 8, and there is no file.
    """
    clear = picture.info.get("transparency")
    if isinstance(clear, bytes) or clear is None or picture.mode not in ("1", "L", "RGB", "I;16"):
        return None
    wanted = np.atleast_1d(np.asarray(clear))
    pixels = np.atleast_3d(np.asarray(picture))
    depth = data[24] if data is not None else 16 if wanted.max() > 255 else 8
    if picture.mode == "RGB" and depth == 16:
        if data is None:
            raise PictureError("PNG: a clear colour of 16 bits: give the file, not the image")
        low = np.asarray(_low_bytes(data))
        pixels = pixels.astype(np.uint16) << 8 | low
    wanted = wanted & ((1 << depth) - 1)
    if depth < 8 and data is not None:
        wanted = wanted * 255 // ((1 << depth) - 1)
    if picture.mode == "1":
        wanted = wanted > 0
    return np.asarray((pixels == wanted).all(axis=2))


def _low_bytes(data: bytes) -> Image:
    """The lower halves of 16-bit RGB: unpacked as if the file had the other byte order."""
    import io

    from PIL import PngImagePlugin

    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
        picture.tile = [tile._replace(args="RGB;16L") for tile in picture.tile]
        picture.load()
        return picture
