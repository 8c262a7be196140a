"""What the training commands share: options about data, and live progress.

Called by `train`, `finetune` and `evaluate` of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import click

from nasnet.cli.progress import Progress

if TYPE_CHECKING:
    from nasnet.pictures.labelled import DatasetOptions
    from nasnet.train.distill import AnswersEvent
    from nasnet.train.finetune_options import FinetuneEvent
    from nasnet.train.loop import TrainEvent

__all__ = ["TrainingProgress", "data_options", "dataset_options"]

Command = TypeVar("Command", bound=Callable[..., object])


def data_options(command: Command) -> Command:
    """The options about data, for a command's decorators."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of the split."),
        click.option(
            "--validation-fraction",
            default=0.2,
            show_default=True,
            help="Share of each class kept for validation, where the data bring no split.",
        ),
        click.option("--validation", help="Another folder or table to validate on."),
        click.option("--column", help="In a table: the column with the pictures."),
        click.option(
            "--label-column",
            default="label",
            show_default=True,
            help="In a table: the column with the labels.",
        ),
    ):
        command = option(command)
    return command


def dataset_options(
    label_column: str,
    column: str | None,
    validation: str | None,
    validation_fraction: float,
    seed: int,
) -> DatasetOptions:
    """The options about data as the library takes them."""
    from nasnet.pictures.labelled import DatasetOptions

    return DatasetOptions(
        label_column=label_column,
        column=column,
        validation=validation,
        validation_fraction=validation_fraction,
        seed=seed,
    )


class TrainingProgress:
    """A bar an epoch, with loss and accuracy, and a line after each; lives as long as the run."""

    def __init__(self, shows: bool) -> None:
        self._shows = shows
        self._bar: Progress | None = None
        self._what = ""
        self._begun = 0

    def __enter__(self) -> TrainingProgress:
        """Use it in a `with` statement to have the bar taken away."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def on_event(self, event: TrainEvent) -> None:
        """Show how far a training is."""
        if not self._shows:
            return
        if event.kind == "note":
            self._note(f"note: {event.text}")
        elif event.kind == "epoch":
            self._close()
            self._note(f"epoch {event.epoch} of {event.epochs}: {_numbers(event.row)}")
        else:
            self._update(
                f"epoch {event.epoch + 1}/{event.epochs}",
                "steps",
                event.step,
                event.steps,
                _numbers(event.row),
            )

    def on_answers(self, event: AnswersEvent) -> None:
        """Show how far a teacher is."""
        if self._shows:
            self._update("teacher", "pictures", event.done, event.total, "")
            if event.done == event.total:
                self._close()

    def on_finetune(self, event: FinetuneEvent) -> None:
        """Show how far the features of a fine-tuning are."""
        if not self._shows:
            return
        if event.text:
            self._note(f"{event.what}: {event.text}")
        else:
            self.on_done(event.what, event.done, event.total)

    def on_done(self, what: str, done: int, total: int) -> None:
        """Show how many pictures are done."""
        if self._shows:
            self._update(what, "pictures", done, total, "")
            if done == total:
                self._close()

    def _update(self, what: str, unit: str, done: int, total: int, extra: str) -> None:
        if self._bar is None or what != self._what:
            self._close()
            self._what = what
            self._bar = Progress(what, unit)
            self._bar.begin(done)
        self._bar.update(done, total, extra)

    def _note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.note(text)
        else:
            click.echo(text, err=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _numbers(row: Mapping[str, float]) -> str:
    shown = {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
