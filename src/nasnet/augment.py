"""Augmentation: random crops, flips and colours of training pictures, as one table of options.

Called by `loader`; NumPy and Pillow only, all randomness from the generator handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PRESETS", "AugmentOptions", "augment", "preset"]

Pixels = npt.NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"
_TRIES = 10  # of a crop's shape, before the whole picture is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """How a training picture is varied.

    Attributes:
        crop: `random`: a window of random area and shape (Szegedy et al. 2015), resized
            bilinearly; `none`: the whole picture.
        area: smallest and largest share of the picture a window has.
        aspect: smallest and largest ratio of its width to its height.
        flip: left and right are swapped in every second picture.
        brightness: factor on all values, uniform in [1 - b, 1 + b].
        shift: added to all values, uniform in [-s, s] of the full range.
        contrast: factor on the distance to the mean grey, alike.
        saturation: factor on the distance of each pixel to its own grey, alike.
        hsv_saturation: factor on HSV's saturation, alike (`tf.image.random_saturation`).
        grayscale: probability of a grey picture.
        blur: probability of a Gaussian blur, radius up to 1 % of the longer side.
        erase: probability that a rectangle of up to a quarter of the area is filled with noise.
        shrink: probability that the picture is seen at a half to a fifth of its resolution.
    """

    crop: Literal["random", "none"] = "random"
    area: tuple[float, float] = (0.35, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    brightness: float = 0.2
    shift: float = 0.0
    contrast: float = 0.2
    saturation: float = 0.2
    hsv_saturation: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    shrink: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name} is a range from above 0, found {low} to {high}")
        if self.area[1] > 1:
            raise InputError(f"area is a share of the picture, found {self.area[1]}")


PRESETS: Mapping[str, AugmentOptions] = {
    "none": AugmentOptions(crop="none", flip=False, brightness=0, contrast=0, saturation=0),
    "light": AugmentOptions(area=(0.6, 1.0), brightness=0.1, contrast=0.1, saturation=0.1),
    "default": AugmentOptions(),
    "strong": AugmentOptions(
        area=(0.15, 1.0),
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        grayscale=0.1,
        blur=0.1,
        shrink=0.1,
    ),
    # TF-Slim's inception preprocessing for training, fast mode: its two orders of brightness and
    # saturation differ by clipping only, and values are clipped once, at the end.
    "slim": AugmentOptions(
        area=(0.05, 1.0),
        aspect=(3 / 4, 1.33),
        brightness=0,
        shift=32 / 255,
        contrast=0,
        saturation=0,
        hsv_saturation=0.5,
    ),
}


def preset(name: str) -> AugmentOptions:
    """The options of that name.

    Raises:
        InputError: there are none.
    """
    if name not in PRESETS:
        raise InputError(f"no augmentation {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def augment(
    pixels: Pixels, *, size: tuple[int, int], options: AugmentOptions, random: np.random.Generator
) -> Pixels:
    """One random view of a picture.

    What is drawn depends on the generator and on the picture's shape (width to height) only, not
    on its resolution or on `size`: a small view and a large one show the same.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        size: height and width wanted, in pixels.
        options: how.
        random: source of all randomness.

    Returns:
        uint8 [*size, 3], contiguous.
    """
    from PIL import Image, ImageFilter

    picture = Image.fromarray(pixels)
    box = _box(picture.width / picture.height, options, random)
    flip = options.flip and random.random() < 0.5
    if random.random() < options.shrink:
        share = random.uniform(0.2, 0.5)
        smaller = (max(round(picture.width * share), 8), max(round(picture.height * share), 8))
        picture = picture.resize(smaller, Image.Resampling.BILINEAR)
    left, top, right, bottom = box
    window = (
        left * picture.width,
        top * picture.height,
        right * picture.width,
        bottom * picture.height,
    )
    height, width = size
    view = picture.resize((width, height), Image.Resampling.BILINEAR, box=window)
    if random.random() < options.blur:
        radius = random.uniform(0.2, 1.0) * 0.01 * max(size)
        view = view.filter(ImageFilter.GaussianBlur(radius))
    if flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = np.asarray(_linear_colours(view, options, random))
    if options.hsv_saturation:
        values = _hsv_saturated(values, _factor(options.hsv_saturation, random))
    if random.random() < options.erase:
        values = _erased(values, random)
    return np.ascontiguousarray(values)


def _box(
    shape: float, options: AugmentOptions, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the window, as shares of the picture's sides."""
    if options.crop == "none":
        return 0.0, 0.0, 1.0, 1.0
    log_low, log_high = (math.log(ratio) for ratio in options.aspect)
    for _ in range(_TRIES):
        area = random.uniform(*options.area)
        aspect = math.exp(random.uniform(log_low, log_high))
        across, down = random.random(), random.random()
        # Of a picture of width `shape` and height 1.
        width, height = math.sqrt(area * shape * aspect) / shape, math.sqrt(area * shape / aspect)
        if width <= 1 and height <= 1:
            left, top = across * (1 - width), down * (1 - height)
            return left, top, min(left + width, 1.0), min(top + height, 1.0)
    return 0.0, 0.0, 1.0, 1.0


def _factor(strength: float, random: np.random.Generator) -> float:
    return float(random.uniform(1 - strength, 1 + strength))


def _linear_colours(view: Image, options: AugmentOptions, random: np.random.Generator) -> Image:
    """Brightness, contrast and saturation as one matrix, clipped once."""
    brightness = _factor(options.brightness, random)
    shift = float(random.uniform(-options.shift, options.shift)) * 255
    contrast = _factor(options.contrast, random)
    saturation = _factor(options.saturation, random)
    if random.random() < options.grayscale:
        saturation = 0.0
    if (brightness, shift, contrast, saturation) == (1.0, 0.0, 1.0, 1.0):
        return view
    mean = np.array(view.reduce(view.size).getpixel((0, 0)), np.float32)
    middle = float(mean @ _LUMA) * brightness + shift
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    offset = np.full((3, 1), shift * contrast + middle * (1 - contrast))
    return view.convert("RGB", tuple(np.hstack([matrix, offset]).ravel().tolist()))


def _hsv_saturated(pixels: Pixels, factor: float) -> Pixels:
    """HSV's saturation, (max - min) / max, times a factor, at most 1."""
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    high = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    low = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    most = high / np.maximum(high - low, 1e-6)
    planes = high - (high - planes) * np.minimum(factor, most)
    saturated: Pixels = np.rint(planes).astype(np.uint8).transpose(1, 2, 0)
    return saturated


def _erased(pixels: Pixels, random: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    rows = max(round(height * random.uniform(0.1, 0.5)), 1)
    columns = max(round(width * random.uniform(0.1, 0.5)), 1)
    top = int(random.integers(0, height - rows + 1))
    left = int(random.integers(0, width - columns + 1))
    erased = pixels.copy()
    noise = random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    erased[top : top + rows, left : left + columns] = noise
    return erased
