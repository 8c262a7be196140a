"""Runs a sink and kills it: at any line of its code, in processes of their own.

    python -m tests.support.killed_sink SUFFIX SCENARIO SEED KILLS FOLDER

Prints one JSON line: how many lines there were to die at, and what went wrong, if anything. Every
run is a forked process that ends by `os._exit`, so nothing is cleaned up after a death.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import filelock  # noqa: F401 - imported before the forks, once for all of them
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet  # noqa: F401

import nasnet.features.store
from nasnet.errors import OutputError
from nasnet.features.feature_set import read_features
from nasnet.features.store import Batch, SinkOptions, open_sink
from nasnet.pictures.sources import Item
from tests.support.sink_rows import DIMENSIONS, META, rows

ROWS = 30
OLD = 12  # rows of the file that is there before
GONE, CHANGED = 2, 4  # of them, to synchronise: so many at the beginning, and this one
ROOM = str(Path(nasnet.features.store.__file__).parent)
KILLED = 9


def source(scenario: str) -> Batch:
    """What the run is to write: in what was there before, failures are repaired.

    To synchronise, the first rows are gone, and one is another picture.
    """
    batch = rows(0, ROWS)
    if scenario not in ("append", "sync"):
        return batch
    errors = [None if index < OLD else error for index, error in enumerate(batch.errors)]
    if scenario == "sync":
        batch.vectors[CHANGED] += 0.5
        sizes = [size + (index == CHANGED) for index, size in enumerate(batch.file_bytes)]
        return cut(replace(batch, errors=errors, file_bytes=sizes), list(range(GONE, ROWS)))
    return Batch(
        ids=batch.ids,
        vectors=batch.vectors,
        widths=batch.widths,
        heights=batch.heights,
        errors=errors,
        file_bytes=batch.file_bytes,
        signatures=batch.signatures,
    )


def cut(batch: Batch, places: list[int]) -> Batch:
    return Batch(
        ids=[batch.ids[place] for place in places],
        vectors=batch.vectors[places],
        widths=batch.widths[places],
        heights=batch.heights[places],
        errors=[batch.errors[place] for place in places],
        file_bytes=[batch.file_bytes[place] for place in places],
        signatures=[batch.signatures[place] for place in places],
    )


def prepare(output: Path, scenario: str) -> None:
    """The finished file that is there before, in scenarios that have one."""
    if scenario != "new":
        sink = open_sink(output, meta=META, dimensions=DIMENSIONS)
        sink.write(rows(0, OLD))
        sink.finish()


def run(output: Path, scenario: str, mode: str) -> None:
    """The run itself, as `embedding` does it."""
    options = SinkOptions(mode=mode, part_rows=5)  # type: ignore[arg-type]
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=options)
    try:
        batch = source(scenario)
        if sink.synced is not None:
            items = zip(batch.ids, batch.file_bytes, strict=True)
            wanted = [sink.synced.wants(Item(id, partial(bytes, size))) for id, size in items]
            places = [place for place, one in enumerate(wanted) if one]
        else:
            places = [place for place, id in enumerate(batch.ids) if sink.wants(id)]
        before = [id for id, _ in sink.committed()] if sink.synced is None else []
        assert before == [batch.ids[place] for place in places[: len(before)]]
        places = places[len(before) :]
        for start in range(0, len(places), 3):
            sink.write(cut(batch, places[start : start + 3]))
        sink.finish()
    finally:
        sink.close()


def in_child(work: Callable[[], Any]) -> tuple[int, str]:
    """Exit status and the text of what was raised, if anything."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            text = work()
            os.write(write, str(text).encode())
            os._exit(0)
        except OutputError as error:
            os.write(write, str(error).encode())
            os._exit(1)
        except BaseException as error:
            os.write(write, repr(error).encode())
            os._exit(2)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), text


def dying(work: Callable[[], None], last: int) -> int:
    """Run, but die at the given line of the room's code; returns how many lines there were."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            seen += 1
            if seen == last:
                os._exit(KILLED)
        return trace

    sys.settrace(trace)
    work()
    sys.settrace(None)
    return seen


def complaint(output: Path, scenario: str, moments: list[int]) -> str:
    """Kill a run at each of the moments in turn, run it once more, and look at the outcome."""
    in_child(lambda: prepare(output, scenario))
    first = "resume" if scenario == "new" else scenario
    for number, moment in enumerate(moments):
        mode = first if number == 0 or scenario in ("append", "sync") else "resume"
        in_child(partial(dying, partial(run, output, scenario, mode), moment))
    again = scenario if scenario in ("append", "sync") else "resume"
    parts = output.with_name(output.name + ".parts")
    status, text = in_child(lambda: run(output, scenario, again))
    done = "is there already" in text
    if scenario == "overwrite" and done and len(read_features(output).ids) == OLD:
        # It died before anything was begun: the old file is untouched, the command is given again.
        status, text = in_child(lambda: run(output, scenario, "overwrite"))
    if status != 0 and not done:
        return f"the last run ended with {status}: {text}"
    if parts.exists():
        return f"{sorted(path.name for path in parts.iterdir())} are left"
    found, expected = read_features(output), source(scenario)
    if found.ids != expected.ids:
        return f"ids are {found.ids}"
    if found.errors != expected.errors:
        return f"errors are {found.errors}"
    good = [error is None for error in expected.errors]
    if not (found.vectors[good] == expected.vectors[good]).all():
        return "vectors differ"
    return ""


def main(suffix: str, scenario: str, seed: str, kills: str, folder: str) -> None:
    output = Path(folder) / f"whole{suffix}"
    in_child(lambda: prepare(output, scenario))
    mode = {"new": "resume"}.get(scenario, scenario)
    status, text = in_child(lambda: dying(lambda: run(output, scenario, mode), -1))
    assert status == 0, text
    lines = int(text)
    chance = random.Random(f"{suffix} {scenario} {seed}")
    wrong = []
    for number in range(int(kills)):
        # Half of the deaths fall into the last fifth, where files are published.
        moments = [
            chance.choice([chance.randint(1, lines), chance.randint(lines * 4 // 5, lines)])
            for _ in range(chance.choice([1, 1, 2, 3]))
        ]
        found = complaint(Path(folder) / f"{number}{suffix}", scenario, moments)
        if found:
            wrong.append(f"killed at lines {moments} of {lines}: {found}")
    sys.stdout.write(json.dumps({"lines": lines, "wrong": wrong}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
