"""What we write as TOML is what TOML readers read."""

from __future__ import annotations

import tomllib

import pytest

from nasnet.text import toml


@pytest.mark.parametrize(
    "table",
    [
        {"found.toml": "a", "a b": 1, "": True, 'a"b\nc': 1.5, "é": [1, 2]},
        {"networks": {"mobile": "x", "run/best.toml": "y"}},
        {"a": {"b": {"c.d": 1}, "e": 2}, "f": 3},
        {"rows": [{"name": "x", "inner": {"y": 1}}, {"name": "z"}]},
    ],
)
def test_toml_reads_back(table: dict[str, object]) -> None:
    assert tomllib.loads(toml(table)) == table


def test_toml_leaves_out_none() -> None:
    assert tomllib.loads(toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}
