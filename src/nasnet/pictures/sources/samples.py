"""`samples:`, a small collection to try things on: real photographs, and views made of them.

The photographs lie in the wheels of scikit-image and scikit-learn, and none is shipped here. Most
collections hold pictures that are like each other, and these few are not; so each scene is also
seen from nearer, turned, and as the copies that people have of their pictures.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nasnet.errors import needs
from nasnet.pictures.sources.files import paths_source
from nasnet.pictures.sources.item import Item, Source

if TYPE_CHECKING:
    from PIL import Image

COLLECTION = "samples:"
PHOTOGRAPHS = "samples:photographs"  # scikit-image's, as they are

_SCIKIT_IMAGE = ("skimage.data", "")
_SCIKIT_LEARN = ("sklearn.datasets", "images")
_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
# Scene -> where its photograph lies.
_SCENES: Mapping[str, tuple[tuple[str, str], str]] = {
    "astronaut": (_SCIKIT_IMAGE, "astronaut.png"),
    "bricks": (_SCIKIT_IMAGE, "brick.png"),
    "cat": (_SCIKIT_IMAGE, "chelsea.png"),
    "coffee": (_SCIKIT_IMAGE, "coffee.png"),
    "coins": (_SCIKIT_IMAGE, "coins.png"),
    "flower": (_SCIKIT_LEARN, "flower.jpg"),
    "galaxies": (_SCIKIT_IMAGE, "hubble_deep_field.jpg"),
    "grass": (_SCIKIT_IMAGE, "grass.png"),
    "moon": (_SCIKIT_IMAGE, "moon.png"),
    "motorcycle": (_SCIKIT_IMAGE, "motorcycle_left.png"),
    "photographer": (_SCIKIT_IMAGE, "camera.png"),
    "retina": (_SCIKIT_IMAGE, "retina.jpg"),
    "rocket": (_SCIKIT_IMAGE, "rocket.jpg"),
    "temple": (_SCIKIT_LEARN, "china.jpg"),
}
_LONGEST = 512  # pixels a side of a view: larger ones only take longer
_QUALITY = 92


def samples_source(name: str) -> Source:
    """The collection, or scikit-image's photographs alone.

    Raises:
        MissingExtraError: the packages that bring the photographs are not installed.
    """
    if name == PHOTOGRAPHS:
        folder = _folder(*_SCIKIT_IMAGE)
        names = [file for file in _PHOTOGRAPHS if (folder / file).is_file()]
        return paths_source(name, "samples", names, os.fspath(folder), {})
    views = list(_views())
    return Source(name=name, kind="samples", count=len(views), start=lambda: iter(views))


def _views() -> Iterator[Item]:
    """All photographs first, so that the first few items are as unlike as can be."""
    scenes = [(scene, _folder(*where) / file) for scene, (where, file) in _SCENES.items()]
    for scene, path in scenes:
        yield Item(f"{scene}/photograph{path.suffix}", path.read_bytes)
    for number, (scene, path) in enumerate(scenes):
        copies = [_COPIES[(number + step) % len(_COPIES)] for step in range(2)]
        for view in ["left", "right", "turned", *copies]:
            yield Item(f"{scene}/{view}.jpg", partial(_made, path, view))


def _folder(package: str, below: str) -> Path:
    """Where a package's pictures lie, found without importing it: scikit-learn takes a second."""
    top, _, inner = package.partition(".")
    spec = importlib.util.find_spec(top) or needs(top, extra="samples").__spec__
    assert spec is not None
    return Path(str(spec.origin)).parent / inner / below


def _made(path: Path, view: str) -> bytes:
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    _VIEWS[view](image).save(buffer, "JPEG", quality=40 if view == "recompressed" else _QUALITY)
    return buffer.getvalue()


def _cut(
    left: float, top: float, right: float, bottom: float
) -> Callable[[Image.Image], Image.Image]:
    """Takes a part of a picture, given by shares of its sides."""

    def cut(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (left * width, top * height, right * width, bottom * height)
        return image.crop(tuple(round(edge) for edge in box))  # type: ignore[arg-type]

    return cut


def _turned(image: Image.Image) -> Image.Image:
    """By eight degrees, without the corners that lie outside the picture then."""
    from PIL import Image

    return _cut(0.12, 0.12, 0.88, 0.88)(image.rotate(8, Image.Resampling.BICUBIC))


def _mirrored(image: Image.Image) -> Image.Image:
    from PIL import Image

    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


_VIEWS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "left": _cut(0, 0.1, 0.7, 0.9),
    "right": _cut(0.3, 0.1, 1, 0.9),
    "turned": _turned,
    "small": lambda image: image.reduce(2),
    "recompressed": lambda image: image,
    "mirrored": _mirrored,
    "dimmed": lambda image: image.point(lambda value: round(value * 0.6)),
}
_COPIES = ("small", "recompressed", "mirrored", "dimmed")  # two of them for each scene
