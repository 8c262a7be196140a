"""What a training run tells: its events, its result, and its log.

The log is one CSV row an epoch, and TensorBoard events where tensorboardX is installed. The library
prints nothing.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasnet.system import write_whole
from nasnet.train.run_files import LOG
from nasnet.weights.weights import Weights

History = list[dict[str, float]]
_STEP_EVERY = 10  # steps between two TensorBoard points within an epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEvent:
    """How far a run is.

    Attributes:
        kind: `step`, `epoch` (its row of the history is in `row`), or `note`.
        epoch: the epoch under way, from 0.
        epochs: how many there are to be.
        step: steps of this epoch done.
        steps: of this epoch in all.
        done: pictures of this epoch done, by all processes.
        row: numbers told: loss, accuracy, learning rate; of an epoch, its row of the history.
        text: of a note.
    """

    kind: Literal["step", "epoch", "note"]
    epoch: int
    epochs: int
    step: int = 0
    steps: int = 0
    done: int = 0
    row: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to.

    Attributes:
        weights: of the best epoch by validation accuracy, else of the last.
        history: one row an epoch.
        best_epoch: whose weights they are, from 1.
        stopped_early: patience ran out.
        seconds: time in training, earlier parts of the run included.
    """

    weights: Weights
    history: History
    best_epoch: int
    stopped_early: bool
    seconds: float


class Logs:
    """Writes what a trainer tells into a folder; lives as long as the run."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / LOG
        self._rows: History = []
        self._steps = 0
        self._writer: Any = None
        if importlib.util.find_spec("tensorboardX") is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(logdir=str(folder / "tensorboard"))

    def __call__(self, event: TrainEvent) -> None:
        """Take an event of the run."""
        if event.kind == "epoch":
            self._rows.append(dict(event.row))
            self._write()
        if self._writer is None:
            return
        if event.kind == "step":
            self._steps += 1
            if event.step % _STEP_EVERY == 0:
                place = event.epoch * max(event.steps, 1) + event.step
                for name, value in event.row.items():
                    self._writer.add_scalar(f"step/{name}", value, place)
        elif event.kind == "epoch":
            for name, value in event.row.items():
                if name != "epoch":
                    self._writer.add_scalar(f"epoch/{name}", value, int(event.row["epoch"]))

    def rewrite(self, history: History) -> None:
        """Make the log what a resumed run's history says, whatever stood there."""
        self._rows = [dict(row) for row in history]
        self._write()

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._file, text.getvalue().encode())
