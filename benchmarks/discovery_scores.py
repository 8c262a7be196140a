"""What a short training should be judged by: a study of scores for `nasnet discover`.

    python -m benchmarks.discovery_scores DATA --out scores.jsonl --cells 40 --seeds 3
    python -m benchmarks.discovery_scores DATA --out scores.jsonl --table

Each cell is trained shortly with several seeds by its labels, shortly with as many seeds by the
answers of the distillation teacher, and once longer by its labels. A good score orders the cells
alike whatever the seed, and as the longer training does. Half of the cells are random; the others
are NASNet-A and its mutations, which a search that begins with it mostly trains.

One line a training, on the disk before the next one begins: killed, it goes on where it was. The
trainings come in rounds of all cells, and the table is made of the rounds that are whole.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nasnet.network.spec import Spec
from nasnet.train.discover.nasnet_space import NASNET_A, Cells, NasnetSpace
from nasnet.train.discover.options import DiscoverOptions, Lesson, rungs, scaled
from nasnet.train.discover.run import searchable
from nasnet.train.discover.small_pictures import array_of, opened, small_pictures
from nasnet.train.discover.statistics import Array
from nasnet.train.discover.strategies import random_cells
from nasnet.train.discover.workers import Workers

TEACHER = "efficientnet-lite0"
_FEATURES_WEIGHT = 10.0  # of the recipe `builtin`
_STEPS = 4  # mutations that a cell lies away from NASNet-A at the most
_LONG_SEED = 1000
_DRAWS = 1000  # of the bootstrap

Kind = Literal["labels", "teacher", "long"]
# Score -> training that gives it, and what it is; higher is better.
SCORES: Mapping[str, tuple[Kind, str]] = {
    "accuracy": ("labels", "held-out pictures named right"),
    "likelihood": ("labels", "mean log probability of the right class on them"),
    "speed": ("labels", "minus the mean training loss of all epochs"),
    "last loss": ("labels", "minus the training loss of the last epoch"),
    "alike": ("labels", "likeness of its features to the teacher's (linear CKA)"),
    "cosine": ("teacher", "cosine to the teacher's features"),
    "agreement": ("teacher", "minus the cross entropy to the teacher's classes"),
    "teacher speed": ("teacher", "minus the mean training loss of all epochs"),
}
TRUTH = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training."""

    cell: int
    origin: str
    key: str
    kind: Kind
    seed: int

    @property
    def id(self) -> tuple[int, str, int]:
        return self.cell, self.kind, self.seed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery_scores")
    parser.add_argument("data", help="labelled pictures; a test part stays closed")
    parser.add_argument("--out", type=Path, required=True, help="scores.jsonl, a line a training")
    parser.add_argument("--table", action="store_true", help="train nothing, tell what is known")
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3, help="short trainings of each kind")
    parser.add_argument("--pictures", type=int, default=2048, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="of a short training")
    parser.add_argument("--longer", type=int, default=4, help="times as many for a long one")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step")
    parser.add_argument("--held-out", type=int, default=2000, help="pictures to measure on")
    parser.add_argument("--size", type=int, default=64, help="of the pictures; budgets follow")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the cells")
    arguments = parser.parse_args()
    if not arguments.table:
        study(arguments)
    print(table(read(arguments.out)))


def study(arguments: argparse.Namespace) -> None:
    """Train what has no line yet."""
    place, space = prepared(arguments)
    cells = drawn(space, arguments.cells, arguments.seed)
    done = {(row["cell"], row["kind"], row["seed"]) for row in read(arguments.out)}
    left = [task for task in tasks(cells, space, arguments.seeds) if task.id not in done]
    total = len(done) + len(left)
    preload = [
        "nasnet.train.discover.children",
        "nasnet.train.discover.run",
        "nasnet.train.distill",
    ]
    with Workers[Task, dict[str, Any]](train, jobs=arguments.jobs, preload=preload) as workers:
        while left or workers.running:
            while left and len(workers.running) < workers.jobs:
                task = left.pop(0)
                spec = space.fitted(cells[task.cell][1]).spec
                times = arguments.longer if task.kind == "long" else 1
                lesson = Lesson(
                    pictures=arguments.pictures,
                    validation=arguments.held_out,
                    epochs=arguments.epochs * times,
                    batch_size=arguments.batch,
                )
                workers.start(task, spec, place, lesson, task.kind, task.seed)
            for ended in workers.wait(1.0):
                row = {name: getattr(ended.id, name) for name in Task.__slots__}
                row |= ended.answer or {"scores": {}, "error": ended.error}
                keep(arguments.out, row)
                done.add(ended.id.id)
                print(f"{len(done)} of {total}: {json.dumps(row)}", flush=True)


def prepared(arguments: argparse.Namespace) -> tuple[Path, NasnetSpace]:
    """The pictures and the teacher's answers beside the file, and the space of cells."""
    folder = arguments.out.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    data = searchable(arguments.data, None, arguments.seed)
    size, held_out = arguments.size, arguments.held_out
    small_pictures(data, folder, size, pictures=arguments.pictures, validation=held_out)
    place = array_of(folder, size)
    answer(place)
    rung = rungs(DiscoverOptions())[0]
    budget = rung.multiply_adds * size**2 // rung.size**2
    network = scaled("mobile", replace(rung, size=size), len(data.classes))
    return place, NasnetSpace(network, budget)


def drawn(space: NasnetSpace, count: int, seed: int) -> list[tuple[str, Cells]]:
    """The cells with their origin: random ones, and NASNet-A with mutations of it, in turns."""
    rng = np.random.default_rng(seed)
    found = {space.key(NASNET_A): ("known", NASNET_A)}
    while len(found) < count - count // 2:
        cell = NASNET_A
        for _ in range(int(rng.integers(1, _STEPS + 1))):
            cell = space.mutate(cell, rng)
        found.setdefault(space.key(cell), ("mutation", cell))
    random = [("random", cell) for cell in random_cells(space, seed, count // 2)]
    near = list(found.values())
    return [pair[at] for at in range(len(near)) for pair in (near, random) if at < len(pair)]


def tasks(cells: Sequence[tuple[str, Cells]], space: NasnetSpace, seeds: int) -> Iterator[Task]:
    """All trainings, those first without which nothing can be told."""
    rounds: list[tuple[Kind, int]] = [("labels", 0), ("long", _LONG_SEED), ("labels", 1)]
    rounds += [("teacher", 0), ("teacher", 1)]
    rounds += [(kind, seed) for seed in range(2, seeds) for kind in ("labels", "teacher")]
    for kind, seed in rounds:
        if seed < seeds or kind == "long":
            for at, (origin, cell) in enumerate(cells):
                yield Task(cell=at, origin=origin, key=space.key(cell), kind=kind, seed=seed)


def read(out: Path) -> list[dict[str, Any]]:
    """The lines there are; half a line is what a killed run left, and goes."""
    text = out.read_bytes() if out.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(out, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def keep(out: Path, row: Mapping[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def answer(place: Path) -> None:
    """Store what the teacher says of the small pictures, not moved; once."""
    file = place / "answers.npz"
    if file.exists():
        return
    from PIL import Image

    from nasnet.train.distill import open_teacher

    teacher = open_teacher(TEACHER, threads=1)
    images = opened(place).images
    logits, features = [], []
    for at in range(0, len(images), 64):
        large = [Image.fromarray(one).resize((teacher.size,) * 2) for one in images[at : at + 64]]
        found = teacher(np.stack([np.asarray(one) for one in large]))
        logits.append(found.logits.astype(np.float16))
        features.append(found.features.astype(np.float16))
    rest = file.with_suffix(".part.npz")
    np.savez(rest, logits=np.concatenate(logits), features=np.concatenate(features))
    rest.replace(file)


def train(spec: Spec, place: Path, lesson: Lesson, kind: Kind, seed: int) -> dict[str, Any]:
    """What a child does: one training, and all scores that it gives."""
    import torch

    from nasnet.train.discover.children import started, taught
    from nasnet.train.distill import Answers, Distillation
    from nasnet.train.loop import Classification

    began = time.process_time()
    torch.set_num_threads(1)
    pictures = opened(place)
    stored = np.load(place / "answers.npz")
    answers = Answers(
        rows={str(row): row for row in range(len(pictures.labels))},
        logits=(stored["logits"],),
        features=(stored["features"],),
    )
    objective: Classification | Distillation = Classification()
    if kind == "teacher":
        spec = replace(spec, num_classes=1001)
    network = started(spec, pictures, seed)
    if kind == "teacher":
        objective = Distillation(
            answers,
            num_features=network.num_features,
            features_weight=_FEATURES_WEIGHT,
            seed=seed,
        )
    batches = pictures.batches(lesson.pictures, lesson.batch_size, seed)
    history = taught(network, objective, batches, lesson.options(seed))
    losses = [row["train_loss"] for row in history]
    network.train(False)
    parts = []
    with torch.inference_mode():
        for images, _ in pictures.held_out(lesson.validation):
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
            found = network.compute(pixels, ("Logits", "global_pool"))
            parts.append([found[name].float() for name in ("Logits", "global_pool")])
    logits, features = (torch.cat(each) for each in zip(*parts, strict=True))
    held_out = slice(pictures.train, pictures.train + len(logits))
    theirs = torch.from_numpy(stored["features"][held_out].astype(np.float32))
    if isinstance(objective, Distillation):
        projection, mean, deviation = (each.detach() for each in objective.tensors().values())
        projected = features @ projection.T
        wanted = torch.from_numpy(stored["logits"][held_out].astype(np.float32)).softmax(1)
        scores = {
            "cosine": torch.cosine_similarity(projected, (theirs - mean) / deviation).mean(),
            "agreement": (wanted * logits.log_softmax(1)[:, 1:]).sum(1).mean(),
            "teacher speed": -np.mean(losses),
        }
    else:
        labels = torch.from_numpy(pictures.labels[held_out])
        scores = {
            "accuracy": (logits.argmax(1) == labels).float().mean(),
            "likelihood": -torch.nn.functional.cross_entropy(logits, labels),
            "speed": -np.mean(losses),
            "last loss": -losses[-1],
            "alike": _alike(features, theirs),
        }
    return {
        "scores": {name: round(float(value), 6) for name, value in scores.items()},
        "losses": losses,
        "seconds": round(time.process_time() - began, 2),
        "filters": spec.num_conv_filters,
    }


def _alike(one: Any, other: Any) -> Any:  # noqa: ANN401
    """Linear CKA of two sets of features [n, f] (Kornblith et al. 2019, arXiv 1905.00414)."""
    one, other = one - one.mean(0), other - other.mean(0)
    across = (one.T @ other).norm() ** 2
    return across / ((one.T @ one).norm() * (other.T @ other).norm())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Reliability of each score and its rank correlation with the longer training."""
    truth = {row["cell"]: row["scores"][TRUTH] for row in _of(rows, "long")}
    cells = sorted(truth)
    if len(cells) < 3:
        return f"{len(cells)} cells have a longer training: too few for a table"
    origins = {row["cell"]: row["origin"] == "random" for row in rows}
    random = np.array([origins[cell] for cell in cells])
    columns = {name: _columns(rows, name, cells) for name in SCORES}
    columns = {name: found for name, found in columns.items() if found.size}
    whole = np.column_stack([np.array([truth[cell] for cell in cells]), *columns.values()])
    rng = np.random.default_rng(0)
    draws = [told(whole[rng.integers(0, len(cells), len(cells))], columns) for _ in range(_DRAWS)]
    bands = np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0)
    here = told(whole, columns)
    halves = [told(whole[part], columns) for part in (random, ~random)]
    seconds = {kind: np.mean([r["seconds"] for r in _of(rows, kind)]) for kind in _kinds(rows)}
    lines = [
        f"{len(cells)} cells, {random.sum()} of them random; 95 % of {_DRAWS} bootstrap samples of "
        "cells; processor seconds of a training: "
        + ", ".join(f"{kind} {value:.1f}" for kind, value in seconds.items()),
        "| score | training | seeds | between seeds | with the longer training "
        "| more than accuracy | random cells | near NASNet-A |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for at, (name, found) in enumerate(columns.items()):
        between, longer, more = (
            f"{here[at, part]:.2f} ({bands[0, at, part]:.2f} to {bands[1, at, part]:.2f})"
            if np.isfinite(here[at, part])
            else ""
            for part in range(3)
        )
        within = " | ".join(f"{half[at, 1]:.2f}" for half in halves)
        lines.append(
            f"| {name} | {SCORES[name][0]} | {found.shape[1]} | {between} | {longer} | {more} "
            f"| {within} |"
        )
    return "\n".join(lines)


def _kinds(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["kind"] for row in rows))


def _of(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["kind"] == kind and row["scores"]]


def _columns(rows: Sequence[Mapping[str, Any]], name: str, cells: Sequence[int]) -> Array:
    """A score [cells, seeds], of the seeds that all cells were trained with."""
    found: dict[int, dict[int, float]] = {}
    for row in _of(rows, SCORES[name][0]):
        found.setdefault(row["seed"], {})[row["cell"]] = row["scores"][name]
    whole = [seed for seed in sorted(found) if all(cell in found[seed] for cell in cells)]
    values = [[found[seed][cell] for seed in whole] for cell in cells]
    return np.array(values).reshape(len(cells), len(whole))


def told(whole: Array, columns: Mapping[str, Array]) -> Array:
    """Of each score: rank correlation between seeds, with the truth, and that less accuracy's.

    Means over the seeds: what one training's score is worth.
    """
    from scipy.stats import rankdata

    if len(whole) < 3:
        return np.full((len(columns), 3), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        related = np.corrcoef(rankdata(whole, axis=0), rowvar=False)
    found, at = [], 1
    for each in columns.values():
        seeds = slice(at, at + each.shape[1])
        at += each.shape[1]
        pairs = related[seeds, seeds][np.triu_indices(each.shape[1], 1)]
        found.append([pairs.mean() if len(pairs) else np.nan, related[0, seeds].mean()])
    both = np.array(found)
    return np.column_stack([both, both[:, 1] - both[0, 1]])


if __name__ == "__main__":
    main()
