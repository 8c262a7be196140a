"""Lines of trials.jsonl: they come back as they were, and what is none is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nasnet.errors import InputError
from nasnet.train.discover.records import Record, columns, parsed

RECORD = Record(
    code="mobile-44-abc",
    key="abc",
    fidelity=1,
    seed=3,
    arms=("random", "guided"),
    asked_by="best quarter",
    score=0.25,
    curve=(0.1, 0.25),
    multiply_adds=4_000_000,
    filters=20,
    seconds=12.5,
)


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, score=None, curve=(), error="killed")])
def test_a_record_is_one_line(record: Record) -> None:
    line = record.line()
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert parsed(line, "line 1") == record


@pytest.mark.parametrize("change", [{"seconds": float("inf")}, {"curve": [None]}, {"more": 1}])
def test_what_is_no_record(change: dict[str, object]) -> None:
    row = json.loads(RECORD.line()) | change
    for line in (json.dumps(row), RECORD.line()[:-9], "[]", "3"):
        with pytest.raises(InputError, match=r"^line 7 of trials.jsonl is not a result"):
            parsed(line, "line 7 of trials.jsonl")


def test_columns_hold_every_field() -> None:
    table = columns([RECORD, RECORD])
    assert table["score"] == [0.25, 0.25]
    assert table["arms"] == [("random", "guided")] * 2
    assert len(table) == 14
