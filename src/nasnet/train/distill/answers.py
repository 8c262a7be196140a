"""A teacher's answers to fixed views of all pictures, computed once and stored.

The student sees the same views (the same crops, flips and colours), so that a stored answer is the
answer to what it sees.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError, TrainingError
from nasnet.pictures.augment import Augmentation
from nasnet.pictures.batch_processes import Batches, open_loader
from nasnet.pictures.batches import Example, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sampling import spread_evenly
from nasnet.pictures.sources import Example as Labelled
from nasnet.system import staged, write_whole
from nasnet.text import read_json
from nasnet.train.distill.teachers import Teacher, feature_width, open_teacher
from nasnet.train.loop.checkpoint import check_identity
from nasnet.weights.formats.npy import map_npy

Half = npt.NDArray[np.float16]
_CHUNK = 128  # pictures between two reports
_SAMPLE = 8192  # rows the mean and deviation of features are taken over
_REMEDY = "name another folder, or start anew with --overwrite"
_DESCRIPTION = "answers.json"
_WHAT = ("logits", "features")
_CLASSES = 1000
_SEEN = 12  # difference of a grey level that is not rounding: it is another view


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersEvent:
    """How far it is.

    Attributes:
        done: pictures answered, over all views.
        total: of them.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a teacher said, by view and picture.

    Attributes:
        rows: id of a picture -> its row.
        logits: per view, float16 [rows, 1000], mapped from disk.
        features: per view, float16 [rows, width]; 1280 a teacher.
    """

    rows: Mapping[str, int]
    logits: tuple[Half, ...]
    features: tuple[Half, ...]

    def sample(self, student: object) -> tuple[npt.NDArray[np.float32], None]:
        """Features of pictures spread evenly, float32 [n, 1280]; see `Teaching`."""
        stored = self.features[0]
        return np.asarray(stored[spread_evenly(len(stored), _SAMPLE)], np.float32), None

    def targets(self, batch: TrainBatch) -> Mapping[str, Half]:
        """The answers to the view that a batch's pictures are seen in."""
        logits, features = self.of(batch.epoch % len(self.logits), batch.ids)
        return {"logits": logits, "features": features}

    def answers(self, images: Any, targets: Mapping[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401
        """Those answers, on the training device."""
        return targets["logits"], targets["features"]

    def of(self, view: int, ids: Sequence[str]) -> tuple[Half, Half]:
        """Logits and features of pictures as they look in a view."""
        rows = [self.rows[id] for id in ids]
        return np.asarray(self.logits[view][rows]), np.asarray(self.features[view][rows])


def open_answers(
    examples: Sequence[Example],
    folder: Path,
    *,
    teacher: str,
    views: int,
    augment: Augmentation,
    seed: int,
    identity: str,
    precision: Literal["f32", "bf16"] = "f32",
    device: str = "cpu",
    workers: int = 0,
    cache_bytes: int = 0,
    overwrite: bool = False,
    on_event: Callable[[AnswersEvent], None] | None = None,
) -> Answers:
    """The answers from a folder; what is missing there is computed first, view by view.

    About 4.6 kB are stored a picture and view; unreadable pictures have no answer and are never
    asked for. The student's loader must have the same seed; `identity` is the fingerprint of the
    examples, `precision` the teacher's, `f32` or `bf16`. The `workers` (see `open_loader`) keep
    `cache_bytes` of decoded pictures for the next view; `overwrite` throws away answers of another
    teacher, to other views or pictures.

    Raises:
        TrainingError: the folder has answers of another teacher, to other views or pictures, or
            they are damaged.
        OutputError: they cannot be stored.
        MissingExtraError: the teacher is not installed.
    """
    widths = {"logits": _CLASSES, "features": feature_width(teacher)}
    description = {
        "teacher": teacher,
        "augment": asdict(augment),
        "seed": seed,
        "pictures": identity,
        "precision": precision,
        "probe": _probe(augment, seed),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite and not _fits(folder, description):
            for file in folder.glob("view-*.npy"):
                file.unlink()
            (folder / _DESCRIPTION).unlink(missing_ok=True)
        _check(folder, description)
        report = on_event or (lambda event: None)
        total = views * len(examples)
        missing = [
            view
            for view in range(views)
            if not all(_file(folder, view, what).exists() for what in _WHAT)
        ]
        if missing:
            done = (views - len(missing)) * len(examples)

            def told(count: int) -> None:
                nonlocal done
                done += count
                report(AnswersEvent(done=done, total=total))

            asked = open_teacher(teacher, precision=precision, device=device)
            options = LoaderOptions(
                size=(asked.size, asked.size),
                seed=seed,
                augment=augment,
                views=views,
                shuffle=False,
                cache_bytes=cache_bytes,
            )
            with _loaders(examples, options, workers) as loaders:
                for view in missing:
                    with _rooms(folder, view, len(examples), widths) as stored:
                        _compute(asked, stored, view, loaders, told)
    except (OSError, OutputError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        raise OutputError(
            f"{folder}: a teacher's answers cannot be stored: "
            f"{getattr(reason, 'strerror', None) or error}"
        ) from error
    report(AnswersEvent(done=total, total=total))

    def mapped(what: str) -> tuple[Half, ...]:
        shape = (len(examples), widths[what])
        return tuple(_map(_file(folder, view, what), shape) for view in range(views))

    return Answers(
        rows={example.id: row for row, example in enumerate(examples)},
        logits=mapped("logits"),
        features=mapped("features"),
    )


def _file(folder: Path, view: int, what: str) -> Path:
    return folder / f"view-{view:03d}.{what}.npy"


def _map(file: Path, shape: tuple[int, int]) -> Half:
    try:
        mapped: Half = map_npy(file)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} is damaged, remove it: {error}") from error
    if mapped.shape != shape or mapped.dtype != np.float16:
        raise TrainingError(
            f"{file} is damaged, remove it: float16 {list(shape)} expected, found "
            f"{mapped.dtype} {list(mapped.shape)}"
        )
    return mapped


def _probe(augment: Augmentation, seed: int) -> list[int]:
    """What a picture of our own looks like in its first views: other views give other numbers.

    Answers are only good for the very views they were asked about, and those may change with the
    version of this package, whatever the options are called.
    """
    rows, columns = np.mgrid[:64, :96]
    picture = np.stack([rows * 3, columns * 2, 255 - rows - columns], axis=2).astype(np.uint8)
    options = LoaderOptions(
        batch_size=1, size=(32, 32), seed=seed, augment=augment, views=4, shuffle=False, threads=1
    )
    with Loader([Labelled("probe", 0, lambda: picture)], options) as loader:
        views = [next(iter(loader.epoch(view))).images[0] for view in range(4)]
    blocks = np.stack(views).reshape(4, 2, 16, 2, 16, 3).mean(axis=(2, 4))
    return [int(level) for level in np.rint(blocks).ravel()]


def _check(folder: Path, description: Mapping[str, Any]) -> None:
    """Make sure that the answers in a folder are to this; note it where there are none yet."""
    file = folder / _DESCRIPTION
    if not file.exists():
        write_whole(file, json.dumps(description, indent=1).encode())
        return
    stored = read_json(file, TrainingError, _REMEDY)
    try:
        apart = np.abs(np.subtract(stored.pop("probe"), description["probe"])).max()
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{file}: no answers of this version: {error}; {_REMEDY}") from error
    check_identity(stored, description, folder)
    if apart > _SEEN:
        raise TrainingError(
            f"{folder} has answers to views that this version does not make any more: {_REMEDY}"
        )


def _fits(folder: Path, description: Mapping[str, Any]) -> bool:
    try:
        _check(folder, description)
    except TrainingError:
        return False
    return True


@contextlib.contextmanager
def _rooms(
    folder: Path, view: int, rows: int, widths: Mapping[str, int]
) -> Iterator[dict[str, Half]]:
    """Where the answers to one view go; their files appear complete or not at all."""
    names = {what: _file(folder, view, what).name for what in widths}
    with staged(folder / names["logits"]) as place:
        stored = {
            what: _room(place.with_name(names[what]), (rows, width))
            for what, width in widths.items()
        }
        yield dict(stored)
        for array in stored.values():
            array.flush()


def _room(file: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.float16]]:
    """A file of that shape, mapped; its blocks are taken now, while a full disk is an error yet."""
    room = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    return room


def _compute(
    teacher: Teacher,
    stored: Mapping[str, Half],
    view: int,
    loaders: Sequence[tuple[int, Batches]],
    told: Callable[[int], None],
) -> None:
    """Answer all pictures in one view."""
    for first, loader in loaders:
        for batch in loader.epoch(view):
            found = teacher(batch.images)
            stored["logits"][first + batch.rows] = found.logits.astype(np.float16)
            stored["features"][first + batch.rows] = found.features.astype(np.float16)
            told(len(batch.rows))


@contextlib.contextmanager
def _loaders(
    examples: Sequence[Example], options: LoaderOptions, workers: int
) -> Iterator[tuple[tuple[int, Batches], ...]]:
    """Where each one's examples begin, and it: workers take whole batches."""
    chunk = _CHUNK * max(workers, 1)
    whole = len(examples) // chunk * chunk if workers > 1 else 0
    with contextlib.ExitStack() as stack:
        made: list[tuple[int, Batches]] = []
        for first, last, processes in ((0, whole, workers), (whole, len(examples), 0)):
            if first < last:
                some = replace(options, batch_size=chunk, drop_last=processes > 1)
                loader = open_loader(examples[first:last], some, processes=processes)
                stack.enter_context(contextlib.closing(loader))
                made.append((first, loader))
        yield tuple(made)
