"""A teacher's answers to fixed views of all pictures, computed once and stored.

Called by distillation; the student sees the same views (the same crops, flips and colours), so
that a stored answer is the answer to what it sees.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.augment import AugmentOptions
from nasnet.distill.teachers import open_teacher
from nasnet.loader import Example, Loader, LoaderOptions
from nasnet.training.identity import check_identity

__all__ = ["Answers", "AnswersEvent", "open_answers"]

Half = npt.NDArray[np.float16]
_CHUNK = 128  # pictures between two reports


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
        features: per view, float16 [rows, 1280], alike.
    """

    rows: Mapping[str, int]
    logits: tuple[Half, ...]
    features: tuple[Half, ...]

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
    augment: AugmentOptions,
    seed: int,
    identity: str,
    precision: str = "f32",
    on_event: Callable[[AnswersEvent], None] | None = None,
) -> Answers:
    """The answers from a folder; what is missing there is computed first, view by view.

    Args:
        examples: the pictures; unreadable ones have no answer and are never asked for.
        folder: where they are stored; about 4.6 kB a picture and view.
        teacher: see `teachers.TEACHERS`.
        views: how many views of each picture.
        augment: what makes a view.
        seed: of the views; the student's loader must have the same.
        identity: fingerprint of the examples.
        precision: the teacher's, `f32` or `bf16`.
        on_event: told how far it is.

    Raises:
        TrainingError: the folder has answers of another teacher, to other views or pictures.
        MissingExtraError: the teacher is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "teacher": teacher,
        "augment": asdict(augment),
        "seed": seed,
        "pictures": identity,
        "precision": precision,
    }
    _check(folder / "answers.json", description)
    report = on_event or (lambda event: None)
    total = views * len(examples)
    for view in range(views):
        if not _complete(folder, view):
            _compute(examples, folder, view, description, total, report)
    report(AnswersEvent(done=total, total=total))
    return Answers(
        rows={example.id: row for row, example in enumerate(examples)},
        logits=tuple(_map(folder, view, "logits") for view in range(views)),
        features=tuple(_map(folder, view, "features") for view in range(views)),
    )


def _file(folder: Path, view: int, what: str) -> Path:
    return folder / f"view-{view:03d}.{what}.npy"


def _complete(folder: Path, view: int) -> bool:
    return all(_file(folder, view, what).exists() for what in ("logits", "features"))


def _map(folder: Path, view: int, what: str) -> Half:
    mapped: Half = np.load(_file(folder, view, what), mmap_mode="r", allow_pickle=False)
    return mapped


def _check(file: Path, description: Mapping[str, Any]) -> None:
    if file.exists():
        check_identity(json.loads(file.read_text(encoding="utf-8")), description, file.parent)
        return
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")
    temporary.replace(file)


def _compute(
    examples: Sequence[Example],
    folder: Path,
    view: int,
    description: Mapping[str, Any],
    total: int,
    report: Callable[[AnswersEvent], None],
) -> None:
    """Answer all pictures in one view; its files appear complete or not at all."""
    precision = description["precision"]
    teacher = open_teacher(description["teacher"], precision=precision)
    options = LoaderOptions(
        batch=_CHUNK,
        size=(teacher.size, teacher.size),
        seed=description["seed"],
        augment=AugmentOptions(**_tuples(description["augment"])),
        views=view + 1,
        shuffle=False,
        drop_last=False,
        cache_bytes=0,
    )
    files = {what: _file(folder, view, what) for what in ("logits", "features")}
    partial = {what: file.with_suffix(".tmp") for what, file in files.items()}
    shapes = {"logits": (len(examples), 1000), "features": (len(examples), 1280)}
    done = view * len(examples)
    try:
        stored = {
            what: np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shapes[what])
            for what, file in partial.items()
        }
        with Loader(examples, options) as loader:
            for batch in loader.epoch(view):
                found = teacher(batch.images)
                stored["logits"][batch.rows] = found.logits.astype(np.float16)
                stored["features"][batch.rows] = found.features.astype(np.float16)
                done += len(batch.rows)
                report(AnswersEvent(done=done, total=total))
        for what, array in stored.items():
            array.flush()
            partial[what].replace(files[what])
    finally:
        for file in partial.values():
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
