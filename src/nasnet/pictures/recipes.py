"""Preprocessing recipes: named, versioned ways from a picture to the network's input.

A recipe's name is written into every output, because any change of decoding, cropping or resizing
changes vectors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, PictureError, check_range
from nasnet.pictures.decode import MAX_PIXELS, Decoded, Decoding, decode, from_array, from_pil
from nasnet.pictures.resize import bilinear, pillow_bilinear
from nasnet.pictures.signature import signature
from nasnet.text import meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way from bytes to input.

    Attributes:
        name: with its version, `photo/1`; a version never changes once released.
        summary: one line for people.
        decoding: how bytes become pixels.
        crop: `whole` picture, its sides brought to size each for itself; `central`: the middle
            87.5 % of both sides, brought to size the same way; `square`: the shorter side brought
            to size / 0.875 and the longer in proportion, then the middle.
        resize: `legacy` and `half_pixel` are TensorFlow's, `pillow` is antialiased.
    """

    name: str
    summary: str
    decoding: Decoding
    crop: Literal["whole", "central", "square"]
    resize: Literal["legacy", "half_pixel", "pillow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Network input.

    Attributes:
        pixels: [height, width, 3], uint8 or float32 in [0, 1].
        width: in pixels, of the original, upright picture.
        height: of the same, in pixels.
        file_bytes: size of the encoded picture; 0 where it came as pixels, or nobody asked.
        signature: of the whole picture, see `pictures.signature`; None where nobody asked.
    """

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    width: int
    height: int
    file_bytes: int = 0
    signature: bytes | None = None


# TensorFlow's decode_jpeg and decode_image: the fast integer DCT, no EXIF, alpha dropped.
_TENSORFLOW = Decoding(dct="fast", upright=False, alpha="drop")
# PIL.Image.open(...).convert("RGB")
_PILLOW = Decoding(upright=False, alpha="drop")

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="photo/1",
            summary="default: upright, whole picture, antialiased; large JPEG decoded reduced",
            decoding=Decoding(shrink=2),
            crop="whole",
            resize="pillow",
        ),
        Recipe(
            name="tf1-hub/1",
            summary="TF1 with TF-Hub: decode_jpeg, convert_image_dtype, resize_images",
            decoding=_TENSORFLOW,
            crop="whole",
            resize="legacy",
        ),
        Recipe(
            name="tf2-hub/1",
            summary="TF2: decode_image, tf.image.resize; also Keras' image_dataset_from_directory",
            decoding=_TENSORFLOW,
            crop="whole",
            resize="half_pixel",
        ),
        Recipe(
            name="slim-eval/1",
            summary="TF-Slim's evaluation: middle 87.5 % of both sides, resize_bilinear",
            decoding=_TENSORFLOW,
            crop="central",
            resize="legacy",
        ),
        Recipe(
            name="cadene-eval/1",
            summary="pretrainedmodels (PyTorch): shorter side to 256 of 224, middle, antialiased",
            decoding=_PILLOW,
            crop="square",
            resize="pillow",
        ),
    )
}
DEFAULT = "photo/1"


def get_recipe(name: str, *, picture_pixels: int | None = None) -> Recipe:
    """The recipe of that name; without a version, the latest.

    `picture_pixels` of a picture may be unpacked; the usual limit if not given.

    Raises:
        InputError: there is none; the text lists them. Or a limit that lets no picture through.
    """
    if picture_pixels is not None:
        check_range("picture_pixels", picture_pixels, "[1, inf)")
        recipe = get_recipe(name)
        return replace(recipe, decoding=replace(recipe.decoding, most=picture_pixels))
    if name in RECIPES:
        return RECIPES[name]
    versions = [known for known in RECIPES if known.split("/")[0] == name]
    if not versions:
        near = meant(name, [known.split("/")[0] for known in RECIPES])
        raise InputError(f"no recipe {name!r}; there are {', '.join(RECIPES)}{near}")
    return RECIPES[max(versions, key=lambda known: int(known.split("/")[1]))]


def describe(recipe: Recipe) -> str:
    """A recipe in full, in one line: what is written into outputs beside its name."""
    settings = {**asdict(recipe.decoding), "crop": recipe.crop, "resize": recipe.resize}
    del settings["most"]  # a limit of this run, which changes no vector
    return " ".join(f"{key}={value}" for key, value in settings.items())


def prepare(
    picture: Any,  # noqa: ANN401
    recipe: Recipe,
    height: int,
    width: int,
    *,
    signed: bool = False,
) -> Prepared:
    """Bring a picture to the network's input.

    Args:
        picture: encoded bytes, the path of a file, a PIL image, or a uint8 array
            [height, width, 3] or [height, width]; arrays and images are decoded already, so of
            the recipe's decoding only what is left applies (alpha; orientation of opened files).
        recipe: how.
        height: wanted, in pixels.
        width: wanted, in pixels.
        signed: give its signature and its size in bytes as well.

    Raises:
        PictureError: it cannot be read or decoded; a short reason.
    """
    if isinstance(picture, str | os.PathLike):
        picture = _read(picture)
    decoded = open_picture(picture, recipe.decoding, target=(height, width))
    pixels = _shape(decoded, recipe, height, width)
    prepared = Prepared(pixels=pixels, width=decoded.width, height=decoded.height)
    if not signed:
        return prepared
    data = bytes(picture) if isinstance(picture, bytes | bytearray | memoryview) else None
    # What is cut off or sampled without averaging is no small picture of the whole.
    averaged = recipe.crop == "whole" and recipe.resize == "pillow"
    small = cast("npt.NDArray[np.uint8]", pixels) if averaged else None
    return replace(
        prepared,
        file_bytes=len(data or b""),
        signature=signature(decoded.pixels, data, small),
    )


def open_picture(picture: Any, decoding: Decoding, *, target: tuple[int, int]) -> Decoded:  # noqa: ANN401
    """Pixels of whatever a source gives; see `prepare`.

    `target` is the height and width it will be brought to, in pixels.

    Raises:
        PictureError: it cannot be read or decoded; a short reason.
    """
    if isinstance(picture, str | os.PathLike):
        picture = _read(picture)
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode(bytes(picture), decoding, target=target)
    if isinstance(picture, np.ndarray):
        return from_array(picture)
    if hasattr(picture, "getexif"):
        return from_pil(picture, decoding)
    raise PictureError(f"{type(picture).__name__} is neither bytes, a path, an image nor an array")


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from None


def _shape(
    decoded: Decoded, recipe: Recipe, height: int, width: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    pixels = decoded.pixels
    if recipe.crop == "central":
        # int((n - n * 0.875) / 2) rows go on each side (tf.image.central_crop)
        rows, columns = (int((size - size * 0.875) / 2) for size in pixels.shape[:2])
        pixels = pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns]
    if recipe.crop == "square":
        return _middle(pixels, height, width)
    if recipe.resize == "pillow":
        return pillow_bilinear(pixels, height, width)
    return bilinear(pixels, height, width, kernel=recipe.resize)


def _middle(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Torchvision's Resize(shorter side) and CenterCrop on PIL images, roundings included."""
    found_height, found_width = pixels.shape[:2]
    shorter = int(max(height, width) / 0.875)  # for other shapes than square as Cadene: max
    if found_width <= found_height:
        size = int(shorter * found_height / found_width), shorter
    else:
        size = shorter, int(shorter * found_width / found_height)
    if size[0] * size[1] > MAX_PIXELS:
        raise PictureError(
            f"too long and thin for this recipe: {found_width}x{found_height} would become "
            f"{size[1]}x{size[0]}"
        )
    resized = pillow_bilinear(pixels, *size)
    top, left = round((size[0] - height) / 2.0), round((size[1] - width) / 2.0)
    return np.ascontiguousarray(resized[top : top + height, left : left + width])
