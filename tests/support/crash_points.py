"""Commands ended at every call that changes the disk: the old or the new is whole, nothing stays.

    python -m tests.support.crash_points SCENARIO SHARE FOLDER

Prints one JSON line: how many calls there were, how many different states of the disk they leave,
how many of these were tried (SHARE of them, drawn by a seed), and what went wrong, if anything.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - all that is imported here is imported once, before the forks
import onnx  # noqa: F401
import openvino  # noqa: F401
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet  # noqa: F401

import nasnet
import nasnet.cli
from nasnet.cli import run
from nasnet.features.store import open_sink
from nasnet.weights.module_folder import is_module_folder
from nasnet.weights.opening import open_path
from nasnet.weights.weights import fingerprint
from tests.support import disk_calls
from tests.support.killed_sink import in_child
from tests.support.pictures import jpeg
from tests.support.sink_rows import DIMENSIONS, META, rows

MODULE = "seeded:7@cifar"
# What a command imports as it goes, by its first word.
IMPORTED = {
    "embed": ("simplejpeg", "nasnet.compute.openvino_engine", "nasnet.features.cluster"),
    "merge": ("nasnet.compute.engine",),
    "index": ("pandas", "nasnet.compute.engine"),
    "convert": ("nasnet.exporting.convert", "nasnet.weights.initial"),
    "export": ("huggingface_hub", "nasnet.compute.torch.model", "nasnet.compute.onnx_model"),
    "finetune": (
        "simplejpeg", "nasnet.compute.openvino_engine", "scipy.optimize", "sklearn.linear_model",
        "sklearn.model_selection", "matplotlib.backends.backend_agg", "rich.progress",
        "nasnet.train.finetune", "nasnet.train.report",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command.

    Attributes:
        command: as typed, in a folder of its own.
        before: makes what is there before, in that folder.
        seen: what a reader finds in that folder, None for nothing; an error for what is not whole.
        in_turn: several files take their names one after another: a reader may be told that they
            do not belong together.
    """

    command: str
    before: Callable[[], None]
    seen: Callable[[], object]
    in_turn: bool = False


def feature_set(file: str, start: int, end: int) -> None:
    sink = open_sink(Path(file), meta=META, dimensions=DIMENSIONS)
    sink.write(rows(start, end))
    sink.finish()


def said(*commands: str) -> None:
    for command in commands:
        assert run(command.split()) == 0, command


def photos(count: int, folder: str = "photos") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Path(folder, f"{number}.jpg").write_bytes(jpeg(32, 32, seed=number))


def classes(*names: str) -> None:
    for number, name in enumerate(names):
        Path("data", name).mkdir(parents=True)
        for seed in range(4):
            Path("data", name, f"{seed}.jpg").write_bytes(jpeg(32, 32, seed=9 * number + seed))


def features_in(file: str) -> object:
    if not Path(file).exists():
        return None
    found = nasnet.read_features(file)
    meta = dataclasses.replace(found.meta, created="")
    return found.ids, found.vectors.tobytes(), found.errors, meta


def index_in(folder: str) -> object:
    if not Path(folder).exists():
        return None
    index = nasnet.open_index(folder)
    return index.ids, index.vectors(list(range(len(index)))).tobytes()


def weights_in(file: str, taken: str = "") -> object:
    if not Path(file + taken).exists():
        return None
    return fingerprint(open_path(Path(file)).weights)


def module_in(folder: str) -> object:
    if not is_module_folder(Path(folder)):
        return None
    weights = open_path(Path(folder)).weights
    return fingerprint(weights), weights.labels


def content_of(path: str) -> object:
    if not Path(path).exists():
        return None
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).rglob("*"))
    return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def each(*steps: Callable[[], None]) -> Callable[[], None]:
    def all_of_them() -> None:
        for step in steps:
            step()

    return all_of_them


EMBED = f"embed photos -o f.parquet -w {MODULE} -q"
FINETUNE = f"finetune data -o out -w {MODULE} -q"
TWO_SETS = each(
    partial(feature_set, "a.parquet", 0, 9),
    partial(feature_set, "b.parquet", 9, 20),
)
SCENARIOS = {
    "embed": Scenario(
        command=EMBED, before=partial(photos, 3), seen=partial(features_in, "f.parquet")
    ),
    "embed --append": Scenario(
        command=f"{EMBED} --append",
        before=each(partial(photos, 2), partial(said, EMBED), partial(photos, 4)),
        seen=partial(features_in, "f.parquet"),
    ),
    "embed --overwrite": Scenario(
        command=f"{EMBED} --overwrite",
        before=each(partial(photos, 2), partial(said, EMBED), partial(photos, 3)),
        seen=partial(features_in, "f.parquet"),
    ),
    "merge": Scenario(
        command="merge a.parquet b.parquet -o c.parquet -q",
        before=TWO_SETS,
        seen=partial(features_in, "c.parquet"),
    ),
    "merge --overwrite": Scenario(
        command="merge a.parquet b.parquet -o c.parquet -q --overwrite",
        before=each(TWO_SETS, partial(feature_set, "c.parquet", 0, 4)),
        seen=partial(features_in, "c.parquet"),
    ),
    "merge --overwrite, three files": Scenario(
        command="merge a.parquet b.parquet -o c.npy -q --overwrite",
        before=each(TWO_SETS, partial(feature_set, "c.npy", 30, 50)),
        seen=partial(features_in, "c.npy"),
        in_turn=True,
    ),
    "index": Scenario(command="index a.parquet -o i", before=TWO_SETS, seen=partial(index_in, "i")),
    "index --append": Scenario(
        command="index b.parquet -o i --append",
        before=each(TWO_SETS, partial(said, "index a.parquet -o i")),
        seen=partial(index_in, "i"),
    ),
    "index --overwrite": Scenario(
        command="index b.parquet -o i --overwrite",
        before=each(TWO_SETS, partial(said, "index a.parquet -o i")),
        seen=partial(index_in, "i"),
    ),
    "convert": Scenario(
        command=f"convert {MODULE} w.safetensors",
        before=lambda: None,
        seen=partial(weights_in, "w.safetensors"),
    ),
    "convert --overwrite": Scenario(
        command=f"convert {MODULE} w.safetensors --overwrite",
        before=partial(said, "convert seeded:8@cifar w.safetensors"),
        seen=partial(weights_in, "w.safetensors"),
    ),
    "convert, two files": Scenario(
        command=f"convert {MODULE} w.ckpt",
        before=lambda: None,
        seen=partial(weights_in, "w.ckpt", ".index"),
    ),
    "convert --overwrite, two files": Scenario(
        command=f"convert {MODULE} w.ckpt --overwrite",
        before=partial(said, "convert seeded:8@cifar w.ckpt"),
        seen=partial(weights_in, "w.ckpt", ".index"),
        in_turn=True,
    ),
    "export": Scenario(
        command=f"export {MODULE} m.onnx --no-verify",
        before=lambda: None,
        seen=partial(content_of, "m.onnx"),
    ),
    "export --overwrite": Scenario(
        command=f"export {MODULE} hf --to huggingface --no-verify --overwrite",
        before=partial(said, "export seeded:8@cifar hf --to huggingface --no-verify"),
        seen=partial(content_of, "hf"),
    ),
    "finetune": Scenario(
        command=FINETUNE,
        before=partial(classes, "a", "b"),
        seen=partial(module_in, "out"),
    ),
    "finetune --overwrite": Scenario(
        command=f"{FINETUNE} --overwrite",
        before=each(partial(classes, "a", "b"), partial(said, FINETUNE), partial(classes, "c")),
        seen=partial(module_in, "out"),
    ),
}


def inside(folder: Path, work: Callable[[], object]) -> Any:
    """Do work in a folder; temporary files of everybody go there too."""
    os.chdir(folder)
    os.environ["TMPDIR"] = os.fspath(folder)
    return work()


def command(scenario: Scenario) -> str:
    """Run it; what it says is not shown, for it may refuse what is there already."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    return str(run(scenario.command.split()))


def digest(scenario: Scenario) -> str:
    return hashlib.sha256(repr(scenario.seen()).encode()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(
        disk_calls.plain(os.fspath(path.relative_to(folder))) for path in folder.rglob("*")
    )


def main(name: str, share: str, place: str) -> None:
    scenario, folder = SCENARIOS[name], Path(place)
    first = scenario.command.split()[0]
    for module in ("PIL.Image", f"nasnet.cli.{first}", *IMPORTED[first]):
        importlib.import_module(module)
    before, whole, keep = folder / "before", folder / "whole", folder / "states"
    for one in (before, keep):
        one.mkdir(parents=True)

    def done(where: Path, work: Callable[[], object]) -> str:
        status, text = in_child(lambda: inside(where, work))
        return text if status == 0 else f"error {status}: {text}"

    text = done(before, scenario.before)
    assert not text.startswith("error"), text
    old = done(before, partial(digest, scenario))
    shutil.copytree(before, whole)
    found, calls, status = disk_calls.states(
        lambda: inside(whole, partial(command, scenario)), whole, keep
    )
    assert status == 0, status
    new, ends_as = done(whole, partial(digest, scenario)), names(whole)
    assert new != old, "the command changes nothing"
    chance = random.Random(name)
    tried = [one for one in found if chance.random() < float(share)]
    wrong = []
    for state in tried:
        there = done(state.folder, partial(digest, scenario))
        refused = scenario.in_turn and ("does not fit" in there or "do not match" in there)
        if there not in (old, new) and not refused:
            wrong.append(f"{state.call}: neither the old nor the new is there: {there}")
        ended = done(state.folder, partial(command, scenario))
        after = done(state.folder, partial(digest, scenario))
        # It may refuse: the one that was killed has done it, or had only to be moved into place.
        if after != new:
            wrong.append(f"{state.call}: the next run ended with {ended}: {after}")
        if names(state.folder) != ends_as:
            left = sorted(set(names(state.folder)) ^ set(ends_as))
            wrong.append(f"{state.call}: {left} are left or lacking")
        shutil.rmtree(state.folder)
    told = {"calls": calls, "states": len(found), "tried": len(tried), "wrong": wrong}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
