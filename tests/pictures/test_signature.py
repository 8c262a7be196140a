from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nasnet.pictures.recipes import RECIPES, Prepared, prepare
from nasnet.pictures.signature import SIDE, SIGNATURE_BYTES, greys_of, sums_of
from tests.support.pictures import encoded, jpeg, pixels


def signed(picture: object, recipe: str = "photo/1") -> Prepared:
    return prepare(picture, RECIPES[recipe], 224, 224, signed=True)


def greys(*prepared: Prepared) -> np.ndarray:
    whole = b"".join(one.signature or b"" for one in prepared)
    return greys_of(np.frombuffer(whole, np.uint8).reshape(-1, SIGNATURE_BYTES))


def sums(prepared: Prepared) -> tuple[int, int]:
    found = sums_of(np.frombuffer(prepared.signature or b"", np.uint8).reshape(1, -1))
    return int(found[0, 0]), int(found[0, 1])


def test_a_signature_holds_the_file_its_pixels_and_a_small_grey_picture() -> None:
    picture = pixels(300, 400)
    png = encoded(picture, "PNG")
    one = signed(png)
    assert one.file_bytes == len(png)
    assert len(one.signature or b"") == SIGNATURE_BYTES
    small = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    expected = np.asarray(small, np.float32)
    expected = (expected - expected.min()) / (expected.max() - expected.min()) * 15
    assert np.abs(greys(one)[0] - expected).max() < 1
    again = signed(encoded(picture, "PNG", compress_level=1))
    assert sums(again)[1] == sums(one)[1], "the same pixels"
    assert sums(again)[0] != sums(one)[0], "of other files"
    given = signed(picture)
    assert (given.file_bytes, *sums(given)) == (0, 0, sums(one)[1])
    assert sums(signed(encoded(picture ^ 1, "PNG")))[1] != sums(one)[1]


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_signs_the_whole_picture(recipe: str) -> None:
    picture = pixels(300, 400)
    found = greys(signed(encoded(picture, "PNG"), recipe), signed(encoded(picture, "PNG")))
    assert np.abs(found[0] - found[1]).mean() < 0.5


def test_what_nobody_asked_for_is_not_computed() -> None:
    plain = prepare(jpeg(), RECIPES["photo/1"], 224, 224)
    assert (plain.file_bytes, plain.signature) == (0, None)


def test_one_colour_has_no_picture() -> None:
    flat = signed(np.full((40, 50, 3), 7, np.uint8))
    assert not greys(flat).any()
