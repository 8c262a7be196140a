"""Pickles are read as data: the same values as the real ones, and nothing is ever run."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nasnet.weights.formats.pickles import Name, PickleError, load_pickle

NUMBERS = st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
# How Python writes bytes before protocol 3.
BYTES: dict[str, Any] = {
    "_codecs encode": lambda text, encoding: text.encode(encoding),
    "__builtin__ bytes": bytes,
}


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(2, 5))
def test_containers_come_as_they_were(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert load_pickle(io.BytesIO(data), allowed=BYTES) == value


def test_the_file_is_left_behind_the_pickle() -> None:
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps({"a": 2}) + b"rest")
    assert load_pickle(file, allowed={}) == [1]
    assert load_pickle(file, allowed={}) == {"a": 2}
    assert file.read() == b"rest"


def test_shared_things_stay_shared() -> None:
    one: list[Any] = [1]
    first, second = load_pickle(io.BytesIO(pickle.dumps((one, one))), allowed={})
    assert first is second


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise AssertionError('it ran')",)


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_not_allowed_is_refused_by_name(protocol: int) -> None:
    data = pickle.dumps(Evil(), protocol)
    with pytest.raises(PickleError, match=r"it asks for '(builtins|__builtin__) exec'"):
        load_pickle(io.BytesIO(data), allowed={})


@pytest.mark.parametrize("value", [np.arange(3), np.float32(1), OrderedDict(a=1), {1, 2}, range(3)])
def test_not_even_harmless_things_are_made_unasked(value: Any) -> None:
    with pytest.raises(PickleError):
        load_pickle(io.BytesIO(pickle.dumps(value)), allowed={})


def test_what_is_named_stands_for_itself_and_is_not_called() -> None:
    allowed: dict[str, Any] = {"builtins exec": None}
    assert load_pickle(io.BytesIO(pickle.dumps(exec)), allowed=allowed) == Name("builtins exec")
    with pytest.raises(PickleError, match="it calls 'builtins exec', which is not allowed"):
        load_pickle(io.BytesIO(pickle.dumps(Evil())), allowed=allowed)


def test_what_is_allowed_is_ours() -> None:
    data = pickle.dumps(OrderedDict(a=1))
    found = load_pickle(io.BytesIO(data), allowed={"collections OrderedDict": dict})
    assert type(found) is dict
    assert found == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b".", b"N", b"NN.", b"(.", b"a.", b"s.", b"u.", b"R.", b"b.", b"Q.", b"h\x05."),
        *(b"\x80\x04\x93.", b"]Nb.", b"Na.", b"NNNs.", b"(NNNu.", b"\x8b\xff\xff\xff\x7f.", b"2."),
        *(b"I1\n.x"[:3], b"cos\n", b"\x85.", b"]]\x86R."),
    ],
)
def test_a_damaged_one_says_so(data: bytes) -> None:
    with pytest.raises(PickleError):
        load_pickle(io.BytesIO(data), allowed={})


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_noise_ends_in_a_value_or_a_reason(noise: bytes) -> None:
    try:
        load_pickle(io.BytesIO(noise), allowed={})
    except PickleError:
        return


def test_a_small_pickle_does_not_grow_without_end() -> None:
    """Lists of lists of lists share what they hold: they stay as small as the pickle."""
    value: list[Any] = []
    for _ in range(200):
        value = [value, value]
    found = load_pickle(io.BytesIO(pickle.dumps(value)), allowed={})
    assert found[0] is found[1]
