"""Conditions on columns: what they find, and that each mistake is one clear line."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from nasnet.errors import InputError
from nasnet.features.index.where import matching

DAYS = [datetime.datetime(2024, 1, day) for day in (1, 2, 3, 4)]
TABLE = pa.table(
    {
        "id": ["a/0.jpg", "a/1.jpg", "b/2.jpg", "c.jpg"],
        "price": [1.5, 20, None, 30],
        "n": pa.array([1, 2, 3, 4], pa.int32()),
        "brand": ["Ac", "Bx", None, "it's"],
        "ok": [True, False, None, True],
        "when": pa.array(DAYS, pa.timestamp("us", "UTC")),
        "day": pa.array([moment.date() for moment in DAYS]),
        "tags": [["r", "g"], [], None, ["g"]],
        "cents": [Decimal("1.50"), Decimal("2.00"), None, None],
        "a b": [1, 3, 3, 3],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    {
        "price < 20": [0],
        "price <= 20 or n = 4": [0, 1, 3],
        "n=4 or n=1 and price > 100": [3],  # and binds closer
        "(n=4 or n=1) and price < 100": [0, 3],
        "not price < 20": [1, 3],  # nothing is known of a null
        "not (not price < 20)": [0],
        "price > -1e3": [0, 1, 3],
        "n < 2.5": [0, 1],
        "n in (1, 3)": [0, 2],
        "n NOT IN (1, 3)": [1, 3],
        "price between 1.5 and 20": [0, 1],
        "brand = 'it''s'": [3],
        'brand == "Ac"': [0],
        "brand <> 'Ac'": [1, 3],
        "brand is null": [2],
        "brand is not null and not ok": [1],
        "ok": [0, 3],
        "ok = false": [1],
        "brand like 'A%'": [0],
        "brand not like 'A%'": [1, 3],
        "brand ilike '_X'": [1],
        "brand contains 't'": [3],
        "tags contains 'g'": [0, 3],
        "tags not contains 'g'": [1],
        "when >= '2024-01-03'": [2, 3],
        "when < '2024-01-02T01:00:00+02:00'": [0],
        "day = '2024-01-02'": [1],
        "cents = 1.5": [0],
        "price < '20'": [0],
        "n < price": [0, 1, 3],
        "`a b` = n": [0, 2],
        '"a b" > 2': [1, 2, 3],
        "folder = 'a'": [0, 1],
        "id like '%.jpg' and folder != ''": [0, 1, 2],
    }.items(),
)
def test_a_condition_finds_what_it_is_true_of(where: str, rows: list[int]) -> None:
    assert matching(TABLE, where).tolist() == rows


@pytest.mark.parametrize(
    ("where", "why"),
    {
        "": "it is empty; there are id .string., price .double.",
        "prize < 2": r"no column 'prize'; there are id \(string\), price \(double\), .*, folder",
        "brand = Acme": "no column 'Acme'; a text stands in quotes: 'Acme'; there are",
        "price <": "a value is missing at the end",
        "price 20": "price is double: write one of =, !=",
        "brand": "brand is string: write one of",
        "brand = 5": "brand is text: write '5'",
        "n = 'x'": "n is int32, and 'x' is none",
        "when > 'soon'": "when is timestamp.*, and 'soon' is none",
        "price < 20 foo": "and, or, or nothing more follows here, found 'foo'",
        "price < 20; drop": "cannot be read from '; drop' on",
        "__import__('os')": "no column '__import__'",
        "(price < 2": r"a \) is missing",
        "price = null": "write price is null",
        "1 < price": "a column stands on the left, found '1'",
        "price like 'a'": "price cannot be compared so",
        "n in 1": r"in \(a, b\): the \( is missing",
        "n in (1": r"in \(a, b\): the \) is missing",
        "n between 1 or 2": "the and is missing",
        "n is 3": "null is missing",
        "n = 99999999999999999999999": "n cannot be compared so",
        "(" * 100: "more than 50 levels deep",
        "not " * 100 + "ok": "more than 50 levels deep",
        "n = 1 or " * 2000: "longer than 10,000 characters",
    }.items(),
)
def test_a_mistake_is_one_line(where: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as error:
        matching(TABLE, where)
    assert "\n" not in str(error.value)


def test_expressions_of_pyarrow_do_too() -> None:
    import pyarrow.compute as pc

    assert matching(TABLE, pc.field("price") < 20).tolist() == [0]
    assert matching(TABLE, pc.field("folder") == "a").tolist() == [0, 1]
    with pytest.raises(InputError, match=r"FieldRef.Name.prize.*; there are id"):
        matching(TABLE, pc.field("prize") < 20)
    with pytest.raises(InputError, match="such as 'price < 20' or an expression of pyarrow"):
        matching(TABLE, 20)
