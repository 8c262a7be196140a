"""JPEG through libjpeg-turbo: inks, EXIF orientation, reduced decoding, truncation told.

Imports neither Pillow nor anything that holds the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasnet.errors import PictureError
from nasnet.pictures.decode.exif import orientation_of, turned
from nasnet.pictures.decode.pixels import Decoded, Decoding, Pixels, check_size

# What libjpeg remarks about files that every viewer shows unharmed.
_HARMLESS = (
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
    "Unrecognized component IDs",
    "Invalid SOS parameters",
    "Inconsistent progression",
)
# Start of frame (T.81, table B.1): which way of coding follows.
_PROGRESSIVE = (0xC2, 0xCA)
_UNREAD_FRAMES = {
    **dict.fromkeys((0xC3, 0xCB), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    0xF7: "JPEG-LS",  # T.87
}
_FRAMES = {0xC0, 0xC1, 0xC9, *_PROGRESSIVE, *_UNREAD_FRAMES}


@dataclass(frozen=True, slots=True)
class _Segments:
    """What the segments before a JPEG file's first scan say (ITU-T T.81, annex B)."""

    orientation: int  # EXIF, 1 where it says nothing
    adobe: bool  # an Adobe segment: CMYK inks are stored inverted
    scan: int  # where the first scan starts
    whole: bool  # several scans: libjpeg holds all coefficients, however small the result
    unread: str  # of which kind it is, where that is one that is hardly read anywhere


def decode_jpeg(data: bytes, decoding: Decoding, *, target: tuple[int, int]) -> Decoded | None:
    """Decode a JPEG file; the interpreter lock is free meanwhile.

    `target` is the height and width in pixels it will be brought to.

    Returns:
        None where TurboJPEG does not get past the header: it knows the common chroma
        subsamplings only, and minds an odd version number. Pillow, slower, can say more.

    Raises:
        PictureError: it is truncated, damaged or too large.
    """
    import simplejpeg

    header = _header(data)
    segments = _segments(data)
    if header is None:
        if segments.unread:
            raise PictureError(f"JPEG: {segments.unread}")
        return None
    height, width, colours = header
    orientation = segments.orientation if decoding.upright else 1
    cmyk = colours in ("CMYK", "YCCK")
    least = _shrunk((height, width), decoding.shrink, target, sideways=orientation >= 5)

    unpacked = least if least[0] and not segments.whole else (height, width)
    check_size(unpacked[1], unpacked[0], decoding.most)

    def pixels_of(strict: bool) -> Pixels:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="CMYK" if cmyk else "RGB",
            fastdct=decoding.dct == "fast",
            fastupsample=False,
            min_height=least[0],
            min_width=least[1],
            strict=strict,
        )
        return pixels

    try:
        pixels = pixels_of(strict=True)
    except ValueError as error:
        if segments.unread:
            raise PictureError(f"JPEG: {segments.unread}") from None
        harmless = any(text in str(error) for text in _HARMLESS)
        if not harmless or data.find(b"\xff\xd9", segments.scan) < 0:
            raise PictureError("truncated or damaged JPEG") from None
        try:
            pixels = pixels_of(strict=False)
        except ValueError:
            return None  # it still minds remarks about the header
    if cmyk:
        pixels = _rgb_of_inks(pixels, inverted=segments.adobe, rounded=decoding.dct == "accurate")
    if orientation >= 5:
        width, height = height, width
    return Decoded(pixels=turned(pixels, orientation), width=width, height=height)


def measure_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG file's header tells, as stored; None as for `decode_jpeg`."""
    header = _header(data)
    return None if header is None else (header[1], header[0])


def _header(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and colours."""
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return height, width, colours


def _shrunk(
    size: tuple[int, int], shrink: int, target: tuple[int, int], *, sideways: bool
) -> tuple[int, int]:
    """Height and width that libjpeg is to decode, (0, 0) for all.

    Only powers of two, for which it has fast transforms: 5/8 takes longer than the whole.
    """
    least = (target[1], target[0]) if sideways else target
    for part in (8, 4, 2):
        scaled = tuple(-(-side // part) for side in size)
        if shrink and all(s >= shrink * n for s, n in zip(scaled, least, strict=True)):
            return scaled[0], scaled[1]
    return 0, 0


def _segments(data: bytes) -> _Segments:
    orientation, adobe, at = 1, False, 2
    frame, depth, channels = 0, 8, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = at + 4
        if marker == 0xDA:
            break
        if marker in _FRAMES:
            frame = marker
            depth = int.from_bytes(data[body : body + 1])  # 0 where the file ends before
            channels = int.from_bytes(data[body + 5 : body + 6])
        if marker == 0xE1 and orientation == 1 and data[body : body + 6] == b"Exif\0\0":
            orientation = orientation_of(data[body : at + 2 + length])
        elif marker == 0xEE and data[body : body + 5] == b"Adobe":
            adobe = True
        at += 2 + length
    kinds = [f"{depth} bits a channel"] if depth not in (0, 8) else []
    if frame in _UNREAD_FRAMES:
        kinds.insert(0, _UNREAD_FRAMES[frame])
    scanned = int.from_bytes(data[at + 4 : at + 5])
    whole = frame in _PROGRESSIVE or scanned < channels
    return _Segments(orientation, adobe, at, whole, ", ".join(kinds))


def _rgb_of_inks(inks: Pixels, *, inverted: bool, rounded: bool) -> Pixels:
    """CMYK of a JPEG file -> RGB: rounded down as TensorFlow does, or to nearest as Pillow."""
    light = inks.astype(np.uint16) if inverted else 255 - inks.astype(np.uint16)
    half = 127 if rounded else 0
    return np.asarray((light[..., :3] * light[..., 3:] + half) // 255, np.uint8)
