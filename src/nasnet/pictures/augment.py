"""Augmentation: random crops, flips and colours of training pictures, as one table of options.

NumPy and Pillow only, all randomness from the generator handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_range, check_ranges
from nasnet.text import check_known

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
_Box = tuple[float, float, float, float]  # left, top, right, bottom

_CROPS = ("random", "slim", "none")
_RANGES: Mapping[str, str] = {
    "brightness": "[0, 1]",
    "shift": "[0, 1]",
    "contrast": "[0, 1]",
    "saturation": "[0, 1]",
    "hsv_saturation": "[0, 1]",
    "hue": "[0, 0.5]",
    "grayscale": "[0, 1]",
    "blur": "[0, 1]",
    "erase": "[0, 1]",
    "shrink": "[0, 1]",
    "flat": "[0, 1]",
}
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's "L"
_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # NTSC 1953
_TRIES = 10  # of a random crop's shape, before the whole picture is taken
# distorted_bounding_box_crop of TF-Slim's inception preprocessing, the box being the whole picture
_SLIM_TRIES, _SLIM_COVERED = 100, 0.1
_SHIFT_FIRST = 0.25  # only one of its four orders of colour changes shifts before it saturates


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How a training picture is varied.

    Attributes:
        crop: `random`: a window of random area and shape (Szegedy et al. 2015), resized
            bilinearly; `slim`: the same, but drawn as `tf.image.sample_distorted_bounding_box`
            does for TF-Slim; `none`: the whole picture.
        area: smallest and largest share of the picture a window has.
        aspect: smallest and largest ratio of its width to its height.
        flip: left and right are swapped in every second picture.
        brightness: factor on all values, uniform in [1 - b, 1 + b].
        shift: added to all values, uniform in [-s, s] of the full range
            (`tf.image.random_brightness`).
        contrast: range of a factor on the distance to the mean grey.
        saturation: range of a factor on the distance of each pixel to its own grey.
        hsv_saturation: factor on HSV's saturation, uniform in [1 - h, 1 + h]
            (`tf.image.random_saturation`).
        hue: colours are turned about grey by up to so many turns, at most 0.5; luma stays.
        grayscale: probability of a grey picture.
        blur: probability of a Gaussian blur, radius up to 1 % of the longer side.
        erase: probability that a rectangle of up to a quarter of the area is filled with noise.
        shrink: probability that the window is first reduced to a fifth to a half of the size
            wanted and brought back: pictures seen small and unsharp.
        flat: probability of a picture of one colour in place of this one. No photograph shows a
            network what it has to say of such a picture, and what it then says can be of any size.

    Raises:
        InputError: a number is out of its range.
    """

    crop: Literal["random", "slim", "none"] = "random"
    area: tuple[float, float] = (0.35, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    brightness: float = 0.2
    shift: float = 0.0
    contrast: float = 0.2
    saturation: float = 0.2
    hsv_saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    shrink: float = 0.0
    flat: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_known("crop", self.crop, _CROPS)
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise InputError(f"{name} is a range from above 0, found {low} to {high}")
        if self.area[1] > 1:
            raise InputError(f"area is a share of the picture, found {self.area[1]}")
        check_ranges(self, _RANGES)


PRESETS: Mapping[str, Augmentation] = {
    "none": Augmentation(crop="none", flip=False, brightness=0, contrast=0, saturation=0),
    "light": Augmentation(area=(0.6, 1.0), brightness=0.1, contrast=0.1, saturation=0.1),
    "default": Augmentation(),
    "strong": Augmentation(
        area=(0.15, 1.0),
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.03,
        grayscale=0.1,
        blur=0.1,
        erase=0.1,
        shrink=0.1,
    ),
    # TF-Slim's inception preprocessing for training, fast mode.
    "slim": Augmentation(
        crop="slim",
        area=(0.05, 1.0),
        aspect=(3 / 4, 1.33),
        brightness=0,
        shift=32 / 255,
        contrast=0,
        saturation=0,
        hsv_saturation=0.5,
    ),
}


def preset(name: str) -> Augmentation:
    """The options of that name.

    Raises:
        InputError: there are none.
    """
    check_known("augmentation", name, PRESETS)
    return PRESETS[name]


def augment(
    pixels: Pixels, *, size: tuple[int, int], options: Augmentation, random: np.random.Generator
) -> Pixels:
    """One random view of a picture; safe in many threads at once.

    What is drawn depends on the generator and on the picture's shape (width to height) only, not
    on its resolution or on `size`: a small view and a large one show the same, but for the noise
    in an erased rectangle.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        size: height and width wanted, in pixels.
        options: how.
        random: source of all randomness.

    Returns:
        uint8 [*size, 3], contiguous, in memory of its own.

    Raises:
        InputError: the array is of another kind, or the size is not positive.
    """
    from PIL import Image, ImageFilter

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"expected uint8 [height, width, 3], found {pixels.dtype} {list(pixels.shape)}"
        )
    check_range("size", size, "[1, inf)")
    box = _box(pixels.shape[1] / pixels.shape[0], options, random)
    flip = options.flip and random.random() < 0.5
    less = random.uniform(0.2, 0.5) if random.random() < options.shrink else 1.0
    view = _resized(pixels, box, size, less)
    if random.random() < options.blur:
        radius = random.uniform(0.2, 1.0) * 0.01 * max(size)
        view = view.filter(ImageFilter.GaussianBlur(radius))
    if flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = np.array(_linear_colours(view, options, random))
    if options.shift or options.hsv_saturation:
        _slim_colours(values, options, random)
    if random.random() < options.erase:
        _erase(values, random)
    # Drawn last, and only where it is wanted: the other draws stay what they were without it.
    if options.flat and random.random() < options.flat:
        values[:] = random.integers(0, 256, 3, dtype=np.uint8)
    return values


def _box(shape: float, options: Augmentation, random: np.random.Generator) -> _Box:
    """The window, as shares of the picture's sides; the whole picture where none fits."""
    if options.crop != "none":
        draw, tries = (_window, _TRIES) if options.crop == "random" else (_slim_window, _SLIM_TRIES)
        for _ in range(tries):
            width, height = draw(shape, options, random)
            if 0 < width <= 1 and 0 < height <= 1:
                left, top = random.random() * (1 - width), random.random() * (1 - height)
                return left, top, min(left + width, 1.0), min(top + height, 1.0)
    return 0.0, 0.0, 1.0, 1.0


def _window(
    shape: float, options: Augmentation, random: np.random.Generator
) -> tuple[float, float]:
    """Width and height as shares of the sides: area and logarithm of the aspect are uniform."""
    area = random.uniform(*options.area)
    aspect = math.exp(random.uniform(math.log(options.aspect[0]), math.log(options.aspect[1])))
    return math.sqrt(area * aspect / shape), math.sqrt(area * shape / aspect)


def _slim_window(
    shape: float, options: Augmentation, random: np.random.Generator
) -> tuple[float, float]:
    """Width and height as shares of the sides, (0, 0) for a window that is refused.

    TensorFlow's `SampleDistortedBoundingBox` but for its rounding to pixels: the aspect is
    uniform, and so is the height, among those that have an allowed area and fit.
    """
    aspect = random.uniform(*options.aspect)
    low, high = (math.sqrt(area * shape / aspect) for area in options.area)
    high = min(high, 1.0, shape / aspect)
    height = random.uniform(low, high) if low < high else high
    width = height * aspect / shape
    enough = max(options.area[0], _SLIM_COVERED) <= width * height
    return (width, height) if enough else (0.0, 0.0)


def _resized(pixels: Pixels, box: _Box, size: tuple[int, int], less: float) -> Image:
    """The window at the size wanted, or at a share of it first; antialiased."""
    from PIL import Image

    rows, columns = pixels.shape[:2]
    left, top, right, bottom = box[0] * columns, box[1] * rows, box[2] * columns, box[3] * rows
    x, y = int(left), int(top)
    # Pillow copies what it is given: the rest of the picture stays here.
    part = Image.fromarray(pixels[y : math.ceil(bottom), x : math.ceil(right)])
    window: _Box | None = (left - x, top - y, right - x, bottom - y)
    height, width = size
    if less < 1:
        smaller = max(round(width * less), 1), max(round(height * less), 1)
        part = part.resize(smaller, Image.Resampling.BILINEAR, box=window, reducing_gap=2.0)
        window = None
    return part.resize((width, height), Image.Resampling.BILINEAR, box=window, reducing_gap=2.0)


def _factor(strength: float, random: np.random.Generator) -> float:
    return float(random.uniform(1 - strength, 1 + strength))


def _linear_colours(view: Image, options: Augmentation, random: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and hue as one matrix, clipped once."""
    brightness = _factor(options.brightness, random)
    contrast = _factor(options.contrast, random)
    saturation = _factor(options.saturation, random)
    turns = float(random.uniform(-options.hue, options.hue))
    if random.random() < options.grayscale:
        saturation = 0.0
    if (brightness, contrast, saturation, turns) == (1.0, 1.0, 1.0, 0.0):
        return view
    matrix = saturation * np.eye(3) + (1 - saturation) * _LUMA
    if turns and saturation:
        matrix = matrix @ _turn(turns)
    mean = np.array(view.reduce(view.size).getpixel((0, 0)))
    middle = float(mean @ _LUMA) * brightness
    rows = np.empty((3, 4))
    rows[:, :3] = brightness * contrast * matrix
    rows[:, 3] = middle * (1 - contrast)
    return view.convert("RGB", tuple(rows.ravel().tolist()))


def _turn(turns: float) -> npt.NDArray[np.float64]:
    """Rotation of RGB about grey, in the plane of YIQ's chroma."""
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    turned: npt.NDArray[np.float64] = np.linalg.inv(_TO_YIQ) @ rotation @ _TO_YIQ
    return turned


def _slim_colours(values: Pixels, options: Augmentation, random: np.random.Generator) -> None:
    """TF-Slim's `distort_color`, fast mode, in place: shift and saturation, clipped at the end."""
    shift = np.float32(random.uniform(-options.shift, options.shift) * 255)
    factor = np.float32(_factor(options.hsv_saturation, random))
    shift_first = random.random() < _SHIFT_FIRST
    # One plane a channel: NumPy is faster along long axes than along one of three.
    planes = values.transpose(2, 0, 1).astype(np.float32, order="C")
    if shift_first:
        planes += shift
    high = planes.max(axis=0)
    spread = high - planes.min(axis=0)
    # HSV's saturation, (high - low) / high, is at most 1; value and hue stay.
    most = high / np.maximum(spread, np.float32(1e-6))
    planes -= high
    planes *= np.minimum(most, factor)
    planes += high
    if not shift_first:
        planes += shift
    np.clip(np.rint(planes, out=planes), 0, 255, out=planes)
    for channel, plane in enumerate(planes):
        values[..., channel] = plane


def _erase(values: Pixels, random: np.random.Generator) -> None:
    height, width = values.shape[:2]
    rows = max(round(height * random.uniform(0.1, 0.5)), 1)
    columns = max(round(width * random.uniform(0.1, 0.5)), 1)
    top, left = round((height - rows) * random.random()), round((width - columns) * random.random())
    noise = random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    values[top : top + rows, left : left + columns] = noise


def mix(
    one: Pixels, two: Pixels, *, mixup: float, cutmix: float, random: np.random.Generator
) -> tuple[Pixels, Pixels, float]:
    """A pair of pictures mixed with each other, both ways round; one coin if both are asked for.

    Args:
        one: uint8 [height, width, 3].
        two: of the same shape.
        mixup: alpha of Beta(alpha, alpha), from which the weight is drawn (Zhang et al. 2018).
        cutmix: alpha of Beta(alpha, alpha), from which the share is drawn that a rectangle leaves
            of the picture (Yun et al. 2019).
        random: source of all randomness.

    Returns:
        `one` with something of `two` in it, `two` with something of `one`, and the weight that
        the first one's own label has in the first, and the second one's in the second.
    """
    if cutmix > 0 and (mixup == 0 or random.random() < 0.5):
        return _pasted(one, two, float(random.beta(cutmix, cutmix)), random)
    share = float(np.float32(random.beta(mixup, mixup)))
    first, second = one.astype(np.float32), two.astype(np.float32)
    blend = np.rint(share * first + (1 - share) * second)
    other = np.rint(share * second + (1 - share) * first)
    return blend.astype(np.uint8), other.astype(np.uint8), share


def _pasted(
    one: Pixels, two: Pixels, share: float, random: np.random.Generator
) -> tuple[Pixels, Pixels, float]:
    height, width = one.shape[:2]
    side = math.sqrt(1 - share) / 2
    down, across = random.random(), random.random()
    top, bottom = (min(max(round((down + s) * height), 0), height) for s in (-side, side))
    left, right = (min(max(round((across + s) * width), 0), width) for s in (-side, side))
    first, second = one.copy(), two.copy()
    first[top:bottom, left:right] = two[top:bottom, left:right]
    second[top:bottom, left:right] = one[top:bottom, left:right]
    return first, second, 1 - (bottom - top) * (right - left) / (height * width)
