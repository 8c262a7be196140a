from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nasnet.errors import InputError
from nasnet.pictures.augment import PRESETS, Augmentation, _slim_window, augment, mix, preset
from tests.support.pictures import pixels
from tests.support.threads import at_once

EVERYTHING = Augmentation(
    area=(0.05, 1.0),
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    hsv_saturation=0.5,
    shift=0.2,
    hue=0.3,
    grayscale=0.3,
    blur=0.6,
    erase=0.6,
    shrink=0.6,
)
STILL = PRESETS["none"]
side = st.integers(1, 400)


def view(
    picture: np.ndarray, options: Augmentation, *, seed: int = 0, size: tuple[int, int] = (48, 64)
) -> np.ndarray:
    return augment(picture, size=size, options=options, random=np.random.default_rng(seed))


def only(**options: object) -> Augmentation:
    return dataclasses.replace(STILL, **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    height=side,
    width=side,
    size=st.tuples(side, side),
    seed=st.integers(0, 2**32 - 1),
    options=st.sampled_from([*PRESETS.values(), EVERYTHING]),
)
def test_any_picture_becomes_any_size(
    height: int, width: int, size: tuple[int, int], seed: int, options: Augmentation
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    before = picture.copy()
    found = view(picture, options, seed=seed, size=size)
    assert found.shape == (*size, 3)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert not np.shares_memory(found, picture)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (1, 1), (2, 300)])
def test_pictures_of_one_pixel_width_are_taken_whole(shape: tuple[int, int]) -> None:
    picture = pixels(*shape)
    for seed in range(20):
        assert view(picture, EVERYTHING, seed=seed, size=(7, 9)).shape == (7, 9, 3)


@pytest.mark.parametrize("options", [*PRESETS.values(), EVERYTHING])
def test_a_state_of_the_generator_gives_one_picture(options: Augmentation) -> None:
    picture = pixels()
    np.testing.assert_array_equal(view(picture, options, seed=3), view(picture, options, seed=3))
    assert (options == STILL) == np.array_equal(
        view(picture, options, seed=3), view(picture, options, seed=4)
    )


def test_threads_do_not_disturb_each_other() -> None:
    picture = pixels()
    alone = [view(picture, EVERYTHING, seed=seed) for seed in range(12)]
    together: dict[int, np.ndarray] = {}

    def work(first: int) -> None:
        for seed in range(first, 12, 3):
            together[seed] = view(picture, EVERYTHING, seed=seed)

    at_once(*(lambda first=first: work(first) for first in range(3)))
    for seed, expected in enumerate(alone):
        np.testing.assert_array_equal(together[seed], expected)


def test_none_only_resizes() -> None:
    picture = pixels(48, 64)
    np.testing.assert_array_equal(view(picture, STILL), picture)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_small_and_a_large_view_show_the_same(name: str) -> None:
    # Smooth colours: what remains is resampling.
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], ramp[::-1, None]), axis=2)
    options = dataclasses.replace(PRESETS[name], erase=0.0)
    for seed in range(8):
        large = view(picture, options, seed=seed, size=(96, 96)).astype(int)
        small = view(picture[::2, ::2], options, seed=seed, size=(32, 32)).astype(int)
        averaged = large.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
        assert np.abs(averaged - small).mean() < 6


def test_windows_keep_to_area_and_aspect() -> None:
    # Red and green tell a window's sides apart: each is the position along one axis.
    ramp = np.arange(256, dtype=np.uint8)
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[..., 0], picture[..., 1] = ramp[None, :], ramp[:, None]
    options = only(crop="random", area=(0.2, 0.5), aspect=(0.5, 2.0))
    areas, aspects = [], []
    for seed in range(200):
        found = view(picture, options, seed=seed, size=(64, 64)).astype(float)
        width = (found[:, -1, 0].mean() - found[:, 0, 0].mean()) * 64 / 63 / 256
        height = (found[-1, :, 1].mean() - found[0, :, 1].mean()) * 64 / 63 / 256
        areas.append(width * height)
        aspects.append(width / height)
    assert 0.18 < min(areas) < 0.25 < 0.45 < max(areas) < 0.52
    assert 0.47 < min(aspects) < 0.6 < 1.7 < max(aspects) < 2.1


def test_slim_windows_are_drawn_as_tensorflow_draws_them() -> None:
    random = np.random.default_rng(0)
    windows = np.array([_slim_window(4 / 3, PRESETS["slim"], random) for _ in range(4000)])
    kept = windows[windows[:, 0] > 0]
    assert 0.05 < 1 - len(kept) / len(windows) < 0.2  # refused: less than a tenth is covered
    areas = kept.prod(axis=1)
    assert areas.min() >= 0.1 - 1e-9
    assert kept.max() <= 1 + 1e-9
    aspects = kept[:, 0] * 4 / 3 / kept[:, 1]
    assert 0.75 - 1e-9 <= aspects.min() < aspects.max() <= 1.33 + 1e-9
    # Of 200,000 windows of TensorFlow 2.21's kernel for 300 x 400 pixels.
    np.testing.assert_allclose((areas.mean(), areas.std()), (0.388, 0.209), atol=0.015)
    np.testing.assert_allclose((aspects.mean(), aspects.std()), (1.043, 0.168), atol=0.015)


def test_half_of_the_pictures_are_flipped() -> None:
    picture = pixels(48, 64)
    flipped = [
        np.array_equal(view(picture, only(flip=True), seed=seed), picture[:, ::-1])
        for seed in range(100)
    ]
    assert 30 < sum(flipped) < 70


def test_shift_adds_to_all_values() -> None:
    picture = np.full((48, 64, 3), 100, np.uint8)
    steps = [int(view(picture, only(shift=0.1), seed=s)[0, 0, 0]) - 100 for s in range(100)]
    assert -26 <= min(steps) < -20 < 20 < max(steps) <= 26


@pytest.mark.parametrize("seed", range(10))
def test_hsv_saturation_keeps_value_and_hue(seed: int) -> None:
    picture = np.array([[[200, 120, 60], [30, 220, 90], [90, 90, 90], [0, 0, 0]]], np.uint8)
    found = view(picture, only(hsv_saturation=0.5), seed=seed, size=(1, 4))
    before, after = (
        np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in image[0]])
        for image in (picture, found)
    )
    np.testing.assert_allclose(after[:, 2], before[:, 2])
    np.testing.assert_allclose(after[:2, 0], before[:2, 0], atol=0.01)
    np.testing.assert_array_equal(after[2:, 1], 0)
    factor = after[0, 1] / before[0, 1]
    assert 0.49 < factor < 1 / before[0, 1] + 0.01
    if factor < 1 / before[1, 1]:
        assert after[1, 1] / before[1, 1] == pytest.approx(factor, abs=0.02)
    else:
        assert after[1, 1] == pytest.approx(1, abs=0.01)  # it has met its limit


def test_slim_colours_come_in_two_orders() -> None:
    # A red that cannot be more saturated: shifted up afterwards it is less so, and shifted up
    # before it can be saturated again.
    picture = np.zeros((1, 1, 3), np.uint8)
    picture[..., 0] = 100
    options = only(shift=0.1, hsv_saturation=0.5)
    found = [view(picture, options, seed=s, size=(1, 1))[0, 0].astype(int) for s in range(400)]
    raised = [(red, green) for red, green, _ in found if red > 110]
    again = [green < red - 100 for red, green in raised]
    assert 0.05 < np.mean(again) < 0.3


def test_hue_turns_colours_and_leaves_greys() -> None:
    grey = np.full((4, 4, 3), 77, np.uint8)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 120
    colours = set()
    for seed in range(10):
        np.testing.assert_array_equal(view(grey, only(hue=0.5), seed=seed, size=(4, 4)), grey)
        colours.add(tuple(view(red, only(hue=0.5), seed=seed, size=(4, 4))[0, 0].tolist()))
    assert len(colours) == 10


def test_grayscale_gives_equal_channels() -> None:
    found = view(pixels(), only(grayscale=1.0))
    assert np.ptp(found.astype(int), axis=2).max() <= 1


def test_contrast_keeps_the_mean_and_brightness_moves_it() -> None:
    picture = np.clip(pixels(), 60, 180)
    means = {
        name: np.array([view(picture, only(**{name: 0.3}), seed=s).mean() for s in range(40)])
        for name in ("contrast", "brightness")
    }
    assert np.ptp(means["contrast"]) < 5
    assert 0.65 < means["brightness"].min() / picture.mean() < 0.8
    assert 1.2 < means["brightness"].max() / picture.mean() < 1.35


def sharpness(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture.astype(int), axis=1)).mean())


@pytest.mark.parametrize("name", ["blur", "shrink"])
def test_blurred_and_shrunk_pictures_are_less_sharp(name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    still = view(picture, STILL, size=(200, 200))
    assert sharpness(view(picture, only(**{name: 1.0}), size=(200, 200))) < 0.7 * sharpness(still)


def test_a_rectangle_is_erased() -> None:
    picture = np.full((100, 100, 3), 128, np.uint8)
    for seed in range(20):
        found = view(picture, only(erase=1.0), seed=seed, size=(100, 100))
        assert 0.005 < (found != 128).any(axis=2).mean() <= 0.25


def test_presets_are_found_by_name() -> None:
    assert set(PRESETS) == {"none", "light", "default", "strong", "slim"}
    assert preset("default") == Augmentation()
    with pytest.raises(InputError, match="no augmentation 'extreme'; there are none, light"):
        preset("extreme")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": (0.0, 1.0)}, "area is a range from above 0"),
        ({"area": (0.5, 0.2)}, "area is a range from above 0"),
        ({"area": (0.5, 1.2)}, "area is a share"),
        ({"aspect": (1.0, float("inf"))}, "aspect is a range"),
        ({"crop": "middle"}, "no crop 'middle'; there are random, slim, none"),
        ({"brightness": -0.1}, r"brightness lies in \[0, 1\]"),
        ({"hue": 0.6}, r"hue lies in \[0, 0.5\]"),
        ({"blur": 1.5}, r"blur lies in \[0, 1\]"),
        ({"erase": float("nan")}, r"erase lies in \[0, 1\]"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**options)  # type: ignore[arg-type]


def test_other_arrays_and_sizes_are_refused() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)):
        with pytest.raises(InputError, match=r"expected uint8 \[height, width, 3\], found"):
            view(wrong, STILL)
    with pytest.raises(InputError, match=r"size starts at 1, found \(0, 8\)"):
        view(pixels(), STILL, size=(0, 8))


def test_mixup_weighs_both_ways_round() -> None:
    one, two = pixels(seed=1), pixels(seed=2)
    first, second, share = mix(one, two, mixup=0.4, cutmix=0, random=np.random.default_rng(5))
    assert 0 < share < 1
    expected = share * one.astype(np.float64) + (1 - share) * two
    np.testing.assert_allclose(first, expected, atol=0.501)
    np.testing.assert_allclose(second, one.astype(np.float64) + two - expected, atol=0.501)
    assert first.dtype == second.dtype == np.uint8


def test_mixup_weights_follow_beta() -> None:
    one, two = pixels(2, 2), pixels(2, 2)
    random = np.random.default_rng(0)
    shares = [mix(one, two, mixup=0.2, cutmix=0, random=random)[2] for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 / (2 * 0.2 + 1), rel=0.06)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 60), width=st.integers(1, 60))
def test_cutmix_exchanges_a_rectangle_of_the_share_it_tells(
    seed: int, height: int, width: int
) -> None:
    one = np.zeros((height, width, 3), np.uint8)
    two = np.ones((height, width, 3), np.uint8)
    random = np.random.default_rng(seed)
    first, second, share = mix(one, two, mixup=0, cutmix=1.0, random=random)
    assert share == pytest.approx(1 - first.mean())
    np.testing.assert_array_equal(first, 1 - second)
    rows, columns = first.any(axis=(1, 2)), first.any(axis=(0, 2))
    np.testing.assert_array_equal(first[..., 0], np.outer(rows, columns))
    assert not one.any()


def test_beside_mixup_half_of_the_pairs_are_cut() -> None:
    one, two = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 200, np.uint8)
    random = np.random.default_rng(0)
    blended = sum(
        bool(((found > 0) & (found < 200)).any())
        for found, _, _ in (mix(one, two, mixup=2, cutmix=2, random=random) for _ in range(200))
    )
    assert 70 < blended < 130


def test_flat_pictures_are_of_one_colour_and_leave_all_other_draws_alone() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (40, 60, 3), np.uint8)

    def views(flat: float) -> list[np.ndarray]:
        return [
            augment(
                picture,
                size=(8, 8),
                options=Augmentation(flat=flat),
                random=np.random.default_rng(seed),
            )
            for seed in range(40)
        ]

    plain, some = views(0.0), views(0.3)
    flat = [np.ptp(view.reshape(-1, 3), axis=0).max() == 0 for view in some]
    assert 4 < sum(flat) < 24
    assert len({tuple(view[0, 0]) for view, one in zip(some, flat, strict=True) if one}) == sum(
        flat
    )
    for view, other, one in zip(plain, some, flat, strict=True):
        assert one or np.array_equal(view, other)
