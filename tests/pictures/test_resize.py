from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from nasnet.pictures.resize import Kernel, bilinear, pillow_bilinear
from tests.support.pictures import pixels
from tests.support.threads import at_once

KERNELS: tuple[Kernel, ...] = get_args(Kernel)


def by_definition(image: np.ndarray[Any, Any], wanted: tuple[int, int], kernel: Kernel) -> Any:
    """Bilinear resampling pixel by pixel, in float64."""

    def position(index: int, size: int, count: int) -> float:
        if kernel == "legacy":
            return index * size / count
        return (index + 0.5) * size / count - 0.5

    found = np.zeros((*wanted, image.shape[2]))
    for row in range(wanted[0]):
        for column in range(wanted[1]):
            y = position(row, image.shape[0], wanted[0])
            x = position(column, image.shape[1], wanted[1])
            top, left = int(np.floor(y)), int(np.floor(x))
            rows = np.clip([top, top + 1], 0, image.shape[0] - 1)
            columns = np.clip([left, left + 1], 0, image.shape[1] - 1)
            corners = image[np.ix_(rows, columns)] / 255
            lines = corners[:, 0] * (1 - (x - left)) + corners[:, 1] * (x - left)
            found[row, column] = lines[0] * (1 - (y - top)) + lines[1] * (y - top)
    return found


sides = st.integers(1, 40)


@given(height=sides, width=sides, wanted=st.tuples(sides, sides), kernel=st.sampled_from(KERNELS))
@settings(max_examples=40, deadline=None)
def test_bilinear_is_what_its_definition_says(
    height: int, width: int, wanted: tuple[int, int], kernel: Kernel
) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    found = bilinear(image, *wanted, kernel=kernel)
    assert found.dtype == np.float32
    assert found.shape == (*wanted, 3)
    np.testing.assert_allclose(found, by_definition(image, wanted, kernel), atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_size_only_scales_to_unit_range_by_multiplying(kernel: Kernel) -> None:
    image = pixels(37, 41)
    expected = image.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(bilinear(image, 37, 41, kernel=kernel), expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_views_and_other_numbers_of_channels_are_taken(kernel: Kernel) -> None:
    image = pixels(80, 90)
    view = image[3:-4, 5:-6]
    expected = bilinear(np.ascontiguousarray(view), 32, 33, kernel=kernel)
    np.testing.assert_array_equal(bilinear(view, 32, 33, kernel=kernel), expected)
    one = bilinear(view[..., 1:2], 32, 33, kernel=kernel)
    np.testing.assert_array_equal(one, expected[..., 1:2])


def test_threads_share_the_tables() -> None:
    images = [pixels(50 + 7 * seed, 60, seed=seed) for seed in range(6)]
    expected = [bilinear(image, 32, 32, kernel="legacy") for image in images]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(30):
            for index, image in enumerate(images):
                found = bilinear(image, 32, 32, kernel="legacy")
                if not np.array_equal(found, expected[index]):
                    wrong.append(index)

    at_once(*[work] * 4)
    assert not wrong


def test_pillow_bilinear_is_pillows() -> None:
    picture = Image.fromarray(pixels(90, 70))
    expected = np.asarray(picture.resize((30, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pillow_bilinear(pixels(90, 70), 20, 30), expected)
