"""Logs of a training run: one CSV row an epoch, and TensorBoard events where it is installed.

The library prints nothing.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nasnet.pictures.batch_processes import Batches
from nasnet.system import write_whole
from nasnet.train.loop.loop import Trainer, Validate
from nasnet.train.loop.options import History, TrainEvent, TrainResult
from nasnet.train.run_files import LOG

_STEP_EVERY = 10  # steps between two TensorBoard points within an epoch


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
        writer = csv.DictWriter(text, fieldnames=_columns(self._rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._file, text.getvalue().encode())


def _columns(rows: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def run_logged(
    trainer: Trainer, loader: Callable[[int], Batches], validate: Validate | None
) -> TrainResult:
    """Continue the run in the trainer's folder, or begin one, and keep its log beside it.

    Args:
        trainer: made, but not yet resumed.
        loader: see `Trainer.fit`.
        validate: see `Trainer.fit`.

    Raises:
        TrainingError: see `Trainer.resume` and `Trainer.fit`.
        OutputError: a checkpoint or the log cannot be written.
    """
    resumed = trainer.resume()
    if not trainer.replicas.writes:
        return trainer.fit(loader, validate)
    with closing(Logs(trainer.folder)) as logs:
        if resumed:
            logs.rewrite(trainer.history)
        # Before all others: a log has an epoch already when somebody hears of it.
        trainer.listeners.insert(0, logs)
        return trainer.fit(loader, validate)
