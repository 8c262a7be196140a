from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasnet.errors import InputError
from nasnet.pictures.arrays import check_images

GOOD = np.random.default_rng(0).random((2, 32, 40, 3), dtype=np.float32)


def check(images: Any) -> Any:
    return check_images(images, height=32, width=40)


class OnlyDlpack:
    def __dlpack__(self, **options: Any) -> Any:
        return GOOD.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return GOOD.__dlpack_device__()


class OnlyArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(GOOD, dtype=dtype)


@pytest.mark.parametrize(
    "images",
    [GOOD, GOOD.astype(np.float64), GOOD.tolist(), OnlyDlpack(), OnlyArray(), GOOD[:, ::1]],
    ids=["float32", "float64", "lists", "dlpack", "array", "view"],
)
def test_anything_that_is_an_array_is_taken(images: Any) -> None:
    found = check(images)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, GOOD, rtol=1e-6)


def test_torch_tensors_are_taken_even_with_gradients() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(check(torch.tensor(GOOD, requires_grad=True)), GOOD)


def test_uint8_stays_uint8_and_an_empty_batch_is_fine() -> None:
    assert check(np.zeros((2, 32, 40, 3), np.uint8)).dtype == np.uint8
    assert check(np.zeros((0, 32, 40, 3), np.float32)).shape == (0, 32, 40, 3)


def test_a_little_overshoot_from_resizing_passes() -> None:
    check(GOOD * 1.1 - 0.05)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD[..., :1], r"looks like grey: np.repeat\(images, 3, axis=-1\)"),
        (np.concatenate([GOOD, GOOD[..., :1]], -1), r"looks like RGBA: images\[..., :3\]"),
        # As torchvision normalizes: dividing that by 255 would pass, and give useless vectors.
        ((GOOD - 0.45) / 0.225, "a mean subtracted, as other networks take them.*leave that step"),
        ((GOOD * 0.5 - 0.45) / 0.225, "a mean subtracted"),
        (GOOD * 255 - 117, "a mean subtracted"),
        (GOOD[0], r"add a batch axis, images\[None\]"),
        (GOOD[0, 0], r"has shape \[40, 3\], expected \[batch, 32, 40, 3\]"),
        (GOOD.transpose(0, 3, 1, 2), r"channels first.*transpose\(0, 2, 3, 1\)"),
        (GOOD[:, :30], r"has shape \[2, 30, 40, 3\].*resize"),
        (GOOD * 255, "looks like 0..255"),
        (GOOD * 2 - 1, r"looks like \[-1, 1\]"),
        ((GOOD * 255).astype(np.int32), "dtype int32"),
        (np.where(np.arange(2)[:, None, None, None], np.nan, GOOD), r"images\[1\] holds a value"),
        (GOOD.astype(np.float64) * 1e300, r"images\[0\] holds a value"),
        ("photo.jpg", "has shape"),
    ],
)
def test_what_does_not_fit_is_a_type_error_with_the_remedy(images: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        check(images)


def test_the_range_check_can_be_switched_off() -> None:
    check_images(GOOD * 255, height=32, width=40, check_range=False)


def test_any_size_can_be_allowed() -> None:
    assert check_images(GOOD, height=None, width=None).shape == GOOD.shape
    assert issubclass(InputError, ValueError)
    with pytest.raises(InputError, match="start at 32x32"):
        check_images(GOOD[:, :31], height=None, width=None)
