"""Numbers of options: what lies outside its interval is refused in one line."""

from __future__ import annotations

import math

import pytest

from nasnet.errors import InputError, check_range


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (0, "[0, inf)"),
        (1, "[0, 1]"),
        (0.5, "(0, 0.5]"),
        (math.inf, "[0, inf]"),
        (None, "[1, inf)"),
        ((1, None, 3), "[1, inf)"),
    ],
)
def test_what_lies_within_passes(value: float | None, interval: str) -> None:
    check_range("count", value, interval)


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0, "[1, inf)", "count starts at 1, found 0"),
        (0, "(0, inf)", "count is above 0, found 0"),
        (math.nan, "[0, inf)", "count starts at 0, found nan"),
        (math.inf, "[0, inf)", "count starts at 0, found inf"),
        (1.0, "[0, 1)", "count lies in [0, 1), found 1.0"),
        (0, "(0, 1]", "count lies in (0, 1], found 0"),
        ((224, 0), "[1, inf)", "count starts at 1, found (224, 0)"),
    ],
)
def test_what_lies_outside_is_refused_in_one_line(value: float, interval: str, text: str) -> None:
    with pytest.raises(InputError) as refused:
        check_range("count", value, interval)
    assert str(refused.value) == text
