"""Each recipe beside its original: the real TensorFlow, Keras and Pillow on the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasnet.pictures.decode import decode
from nasnet.pictures.recipes import RECIPES, prepare
from tests.support.pictures import encoded, jpeg, pixels, png

pytestmark = pytest.mark.interop

SIZE = 224
# Two roundings of float32 in [0, 1]: TensorFlow's kernels may fuse a multiplication and addition.
ULPS = 2.5e-7
_CLEAR = b"tRNS", bytes(range(6, 12))


def pictures() -> dict[str, bytes]:
    found = {
        "4:2:0": jpeg(375, 500),
        "4:4:4": jpeg(500, 333, subsampling=0),
        "4:2:2, odd": jpeg(301, 455, subsampling=1),
        "progressive": jpeg(240, 320, progressive=True),
        "small": jpeg(60, 80),
        "grey": encoded(Image.fromarray(pixels(200, 300)).convert("L")),
        "png": encoded(pixels(375, 500), "PNG"),
    }
    skimage = pytest.importorskip("skimage.data")
    folder = Path(str(skimage.__file__)).parent
    return found | {name: (folder / name).read_bytes() for name in ("rocket.jpg", "astronaut.png")}


def kinds() -> dict[str, bytes]:
    clear = np.dstack([pixels(), pixels(seed=3)[..., 0]])
    deep = np.linspace(0, 65_535, 4800).reshape(60, 80).astype(np.uint16)
    palette = Image.fromarray(pixels()).quantize(16)
    return {
        "cmyk.jpg": encoded(Image.fromarray(pixels()).convert("CMYK")),
        "alpha.png": encoded(clear, "PNG"),
        "grey and alpha.png": encoded(Image.fromarray(clear).convert("LA"), "PNG"),
        "16 bits.png": encoded(deep, "PNG"),
        "1 bit.png": encoded(Image.fromarray(pixels()).convert("1"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette with a clear colour.png": encoded(palette, "PNG", transparency=3),
        "palette.gif": encoded(palette, "GIF"),
        "animated.gif": encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "plain.bmp": encoded(pixels(), "BMP"),
        "32 bits.bmp": encoded(clear, "BMP"),
        "4 bits with a clear grey.png": png([bytes(range(8))] * 3, 16, 4, 0, (b"tRNS", b"\0\3")),
        "16 bits with a clear colour.png": png([bytes(range(96))] * 3, 16, 16, 2, _CLEAR),
        "16 bits with a clear grey.png": png([bytes(range(32))] * 3, 16, 16, 0, (b"tRNS", b"\4\5")),
    }


@pytest.mark.parametrize("name", pictures() | kinds())
def test_decoded_pixels_are_tensorflows_to_the_bit(name: str) -> None:
    tf = pytest.importorskip("tensorflow")
    data = (pictures() | kinds())[name]
    expected = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    found = decode(data, RECIPES["tf1-hub/1"].decoding, target=(SIZE, SIZE)).pixels
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("recipe", ["tf1-hub/1", "tf2-hub/1", "slim-eval/1"])
def test_tensorflows_recipes_are_tensorflows(name: str, recipe: str) -> None:
    tf = pytest.importorskip("tensorflow")
    data = pictures()[name]
    image = tf.image.decode_image(data, channels=3, expand_animations=False)
    image = tf.image.convert_image_dtype(image, tf.float32)
    if recipe == "slim-eval/1":
        image = tf.image.central_crop(image, 0.875)
    if recipe == "tf2-hub/1":
        expected = tf.image.resize(image, [SIZE, SIZE])
    else:
        expected = tf.compat.v1.image.resize_bilinear(image[None], [SIZE, SIZE])[0]
    found = prepare(data, RECIPES[recipe], SIZE, SIZE).pixels
    assert np.abs(found - expected.numpy()).max() <= ULPS


def test_tf2_hub_is_keras_image_dataset_from_directory(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    files = {name: data for name, data in pictures().items() if not name.endswith("png")}
    for number, data in enumerate(files.values()):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    batches = keras.utils.image_dataset_from_directory(
        str(tmp_path), labels=None, image_size=(SIZE, SIZE), shuffle=False, verbose=False
    )
    theirs = np.concatenate([batch.numpy() for batch in batches]) / 255
    for expected, data in zip(theirs, files.values(), strict=True):
        found = prepare(data, RECIPES["tf2-hub/1"], SIZE, SIZE).pixels
        assert np.abs(found - expected).max() <= 2 * ULPS


@pytest.mark.parametrize("name", pictures())
def test_cadene_eval_is_what_torchvision_does_with_pil_images(name: str) -> None:
    """torchvision's Resize and CenterCrop in PIL's own calls; torchvision itself is not here."""
    data = pictures()[name]
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = picture.size
    shorter = 256
    size = (
        (shorter, int(shorter * height / width))
        if width <= height
        else (int(shorter * width / height), shorter)
    )
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - SIZE) / 2.0), round((size[1] - SIZE) / 2.0)
    expected: Any = np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)), np.int16)
    found = prepare(data, RECIPES["cadene-eval/1"], SIZE, SIZE).pixels
    # Pillow bundles the same decoder; some builds differ by a level
    assert np.abs(found - expected).max() <= 1
