"""A signature of a picture's pixels: small enough to store, enough to tell a copy from a likeness.

Layout of the bytes: CRC-32C of the file's bytes (0 where there is no file), CRC-32C of the decoded
pixels, both little-endian; then the picture in 32 x 32 grey values of 4 bits, two a byte, the left
one in the upper half. The darkest value is 0 and the brightest 15.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 32
SIGNATURE_BYTES = 8 + SIDE * SIDE // 2
_LEVELS = 15


def signature(
    pixels: npt.NDArray[np.uint8], data: bytes | None, small: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """The signature of a picture.

    Pixels are uint8 [height, width, 3], all of the picture as it was decoded, and `data` the bytes
    of its file, if it was one; it is quicker with `small`, the same picture brought to some smaller
    size.
    """
    import google_crc32c
    from PIL import Image

    whole = np.ascontiguousarray(pixels)
    sums = (0 if data is None else google_crc32c.value(data), google_crc32c.value(whole.tobytes()))
    image = Image.fromarray(whole if small is None else np.ascontiguousarray(small))
    # Whole blocks are averaged several times as fast as `resize` does it.
    image = image.reduce((_block(image.width), _block(image.height))).convert("L")
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(image, np.float32)
    low, high = float(grey.min()), float(grey.max())
    levels = np.rint((grey - low) * (_LEVELS / max(high - low, 1.0))).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = levels[:, ::2] << 4 | levels[:, 1::2]
    return np.array(sums, "<u4").tobytes() + packed.tobytes()


def _block(side: int) -> int:
    """Pixels a block: to the end where it comes out even, else far enough from it."""
    return side // SIDE if side % SIDE == 0 else max(1, side // (4 * SIDE))


def sums_of(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The two sums of signatures, uint32 [n, 2], of uint8 [n, SIGNATURE_BYTES]."""
    return np.ascontiguousarray(signatures[:, :8]).view("<u4").astype(np.uint32)


def greys_of(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The small pictures of signatures, float32 [n, SIDE, SIDE] from 0 to 15."""
    packed = signatures[:, 8:].reshape(-1, SIDE, SIDE // 2)
    grey = np.empty((len(packed), SIDE, SIDE), np.float32)
    grey[:, :, ::2], grey[:, :, 1::2] = packed >> 4, packed & 15
    return grey
