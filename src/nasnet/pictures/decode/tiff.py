"""TIFF: the file's own tags say what its numbers mean, and who can read them.

Pillow reads the common layouts; what it misreads or cannot read goes to tifffile (extra `tiff`).
What no tag explains is refused by its name.
"""

from __future__ import annotations

import ctypes
import functools
import io
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import MissingExtraError, PictureError, needs
from nasnet.pictures.decode.pixels import MAX_PIXELS, to_8_bits

if TYPE_CHECKING:
    from PIL.Image import Image

_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4  # SampleFormat; undefined is read as unsigned
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6  # Photometric
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_REFUSED = {
    4: "a mask",
    8: "CIELab colours",
    9: "ICCLab colours",
    10: "ITULab colours",
    32803: "camera raw",
    32844: "LogL pixels",
    32845: "LogLuv pixels",
    34892: "camera raw",
    51177: "depth",
}
_JPEG, _WEBP = 7, 50001
# What tifffile is asked for; not for what states a size of its own, which nothing would hold back.
_BY_TIFFFILE = frozenset((1, 5, 8, 32773, 32946, 34925, 50000))
_COMPRESSIONS = {
    _JPEG: "JPEG",
    9: "JBIG",
    10: "JBIG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34933: "PNG",
    34934: "JPEG XR",
    _WEBP: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the tags of the first page say (TIFF 6.0, and Adobe's supplements).

    Attributes:
        width: as stored, in pixels.
        height: of the same, in pixels.
        bits: of each channel.
        numbers: SampleFormat; 0 where channels differ.
        photometric: what zero means; -1 where the file does not say.
        extra: ExtraSamples, what the channels beyond the colours are.
        planar: channels are stored one after another.
        reverse: the bits of a byte start at the least.
        compression: the tag's number.
        orientation: 1 to 8.
        little: byte order.
        reason: why it is not read at all; empty where it is.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    numbers: int
    photometric: int
    extra: tuple[int, ...]
    planar: bool
    reverse: bool
    compression: int
    orientation: int
    little: bool
    reason: str

    def __str__(self) -> str:
        """For a message, such as `3 channels of 16 bits, one after another`."""
        kind = {_SIGNED: "signed ", _FLOAT: "float ", 0: "mixed ", 5: "complex ", 6: "complex "}
        depth = f"{max(self.bits)} bits"
        count = len(self.bits)
        text = f"{count} {kind.get(self.numbers, '')}channel{'s' * (count > 1)} of {depth}"
        if self.planar and count > 1:
            text += ", one after another"
        if self.compression in _COMPRESSIONS:
            text += f", packed as {_COMPRESSIONS[self.compression]}"
        elif self.compression not in _pillow().COMPRESSION_INFO:
            text += f", compression {self.compression}"
        return text

    @property
    def pixel_bytes(self) -> int:
        """What a pixel takes with all its channels."""
        return -(-sum(self.bits) // 8)

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow reads it, and reads it right."""
        depth, channels = self.bits[0], len(self.bits)
        if self.compression not in _pillow().COMPRESSION_INFO or self.compression == _WEBP:
            return False  # the libtiff that Pillow brings has no WebP
        order, fill = b"II" if self.little else b"MM", 2 if self.reverse else 1
        key = order, self.photometric, (self.numbers,), fill, self.bits, self.extra
        if key not in _pillow().OPEN_INFO or self.width * self.height > MAX_PIXELS:
            return False
        if self.planar and channels + (depth > 8) > 1:
            # It takes no alpha along, and of 16 bits uncompressed it makes noise.
            whole = not self.extra and self.photometric in (_RGB, _CMYK)
            return whole and (depth == 8 or self.compression != 1)
        if depth == 32:  # what is unsigned would turn negative, what is swapped stays swapped
            return self.numbers != _UNSIGNED and (self.little or self.compression == 1)
        return depth != 12 and (depth == 1 or not self.reverse)  # of 12 bits it makes 16


def _pillow() -> Any:  # noqa: ANN401
    from PIL import TiffImagePlugin

    return TiffImagePlugin


@functools.cache
def silence_libtiff() -> None:
    """Keep Pillow's libtiff from writing its errors to the terminal; Pillow raises them too."""
    from PIL import _imaging

    # Where the library is linked into Pillow itself (Windows) it cannot be reached.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def read_tags(data: bytes) -> Any:  # noqa: ANN401 - a mapping of Pillow's
    """The tags of a TIFF file's first page.

    Raises:
        Exception: they are damaged, in any of Pillow's ways.
    """
    big = 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8
    tags = _pillow().ImageFileDirectory_v2(data[:big])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def layout_of(tags: Mapping[int, Any], *, little: bool) -> Layout:
    """What tags say of the pixels.

    Raises:
        ValueError: they contradict each other.
    """

    def number(tag: int, usual: int) -> int:
        value = tags.get(tag, usual)
        return int(value[0] if isinstance(value, tuple) else value)

    def numbers(tag: int, usual: tuple[int, ...]) -> tuple[int, ...]:
        value = tags.get(tag, usual)
        return value if isinstance(value, tuple) else (value,)

    compression = number(259, 1)
    photometric = number(262, -1)
    if compression == 6:  # old-style JPEG is YCbCr, whatever it says
        photometric = _YCBCR
    channels = number(277, 3 if compression == 6 else 1)
    bits = numbers(258, (1,))
    if len(bits) == 1 and 1 <= channels <= 1 << 16:
        bits *= channels
    bits = bits[:channels]
    formats = set(numbers(339, (_UNSIGNED,)))
    width, height = number(256, 0), number(257, 0)
    if len(bits) != channels or not (width > 0 < height and channels and min(bits) > 0):
        raise ValueError("tags contradict each other")
    if photometric < 0:  # as libtiff takes it
        photometric = {1: _BLACK_IS_ZERO, 3: _RGB}.get(channels, -1)
    extra = numbers(338, ())
    found = Layout(
        width=width,
        height=height,
        bits=bits,
        numbers=formats.pop() if len(formats) == 1 else 0,
        photometric=photometric,
        extra=extra,
        planar=number(284, 1) == 2,
        reverse=number(266, 1) == 2,
        compression=compression,
        orientation=number(274, 1),
        little=little,
        reason="",
    )
    return replace(found, reason=_refusal(found, tags, reduced=bool(number(254, 0) & 1)))


def _refusal(found: Layout, tags: Mapping[int, Any], *, reduced: bool) -> str:
    """Why no reader could tell what the numbers mean; empty where one can."""
    depth, channels = found.bits[0], len(found.bits)
    colours = _COLOURS.get(found.photometric, 0)
    if 50706 in tags:
        return "camera raw (DNG)"
    if found.photometric in _REFUSED:
        return _REFUSED[found.photometric]
    if reduced:
        return "a camera raw file, or one that starts with a reduced copy"
    known = found.numbers in (_UNSIGNED, _UNDEFINED, _FLOAT) or (
        found.numbers == _SIGNED and depth >= 32
    )
    if not known or len(set(found.bits)) > 1 or not colours or depth > 64:
        return str(found)
    if found.photometric == _CMYK and tags.get(332, 1) != 1:
        return "inks that are not CMYK"
    if found.photometric == _YCBCR and found.compression == 1:
        return "YCbCr colours without compression"  # Pillow takes them for not subsampled
    if not found.by_pillow and (
        found.compression not in _BY_TIFFFILE or found.photometric == _YCBCR
    ):
        return str(found)
    three = found.photometric == _BLACK_IS_ZERO and channels == 3
    beyond = channels - colours
    named = len(found.extra) == beyond or (found.photometric == _RGB and beyond == 1)
    if three or (named and (colours > 1 or beyond < 2)):
        return ""
    return str(found)


def decode_tiff(data: bytes, layout: Layout) -> Image:
    """Pixels of a layout that Pillow does not read, as an 8-bit PIL image.

    Raises:
        PictureError: the extra is missing.
        Exception: it is damaged, in any of tifffile's ways.
    """
    try:
        tifffile = needs("tifffile", extra="tiff")
        needs("imagecodecs", extra="tiff")
    except MissingExtraError as error:
        raise PictureError(f"TIFF: {layout}: {error}") from None
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_segments(page, data, layout)
        planes, deep, height, width, together = page.shaped
        if deep != 1 or (height, width) != (layout.height, layout.width):
            raise PictureError(f"TIFF: {layout}, a volume")
        values = page.asarray(maxworkers=1).reshape(planes, height, width, together)
        values = np.moveaxis(values, 0, 2).reshape(height, width, planes * together)
        colours = page.colormap if layout.photometric == _PALETTE else None
    return _image(values, layout, colours)


def _check_segments(page: Any, data: bytes, layout: Layout) -> None:  # noqa: ANN401
    """Refuse strips and tiles outside the file or missing, and far too large tiles."""
    ends = zip(page.dataoffsets, page.databytecounts, strict=True)
    if len(page.dataoffsets) < math.prod(page.chunked) or any(
        not count or at + count > len(data) for at, count in ends
    ):
        raise PictureError("truncated or damaged TIFF")
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * max(
        layout.width * layout.height, 1 << 20
    ):
        raise PictureError("truncated or damaged TIFF")


def _image(
    values: npt.NDArray[Any], layout: Layout, palette: npt.NDArray[np.uint16] | None
) -> Image:
    """Channels [height, width, n] of any numbers become a picture of 8 bits, as the tags say."""
    from PIL import Image

    stated = layout.numbers in (_UNSIGNED, _UNDEFINED) and layout.bits[0] < 32
    depth = layout.bits[0] if stated else None
    colours = _COLOURS[layout.photometric]
    if layout.photometric == _BLACK_IS_ZERO and values.shape[2] == 3 and len(layout.extra) != 1:
        colours = 3
    alpha = [
        (place, kind)
        for place, kind in enumerate(layout.extra or (2,), colours)
        if kind in (1, 2) and place < values.shape[2]
    ]
    if palette is not None:
        picture = np.moveaxis(palette >> 8, 0, -1).astype(np.uint8)[values[..., 0]]
    else:
        picture = to_8_bits(values[..., :colours], depth)
    if layout.photometric == _WHITE_IS_ZERO:
        picture = 255 - picture
    mode = "CMYK" if layout.photometric == _CMYK else "L" if picture.shape[2] == 1 else "RGB"
    if alpha and mode != "CMYK":
        place, kind = alpha[0]
        clear = to_8_bits(values[..., place : place + 1], depth)
        picture = np.concatenate([picture, clear], axis=2)
        mode += "a" if kind == 1 else "A"
    plain = np.ascontiguousarray(picture if picture.shape[2] > 1 else picture[..., 0])
    size = layout.width, layout.height
    image = Image.frombytes(mode, size, plain.tobytes())
    return image.convert("RGBA") if mode == "RGBa" else image
