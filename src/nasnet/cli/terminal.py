"""What people read: results on standard output, everything else on standard error.

The library reports events; progress bars and plain lines are drawn here alone.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from json import dumps
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from nasnet.text import printable

if TYPE_CHECKING:
    from nasnet.train.distill import AnswersEvent
    from nasnet.train.finetune_options import FinetuneEvent
    from nasnet.train.loop import TrainEvent
    from nasnet.weights.fetch import FetchEvent

_LINE_EVERY_S = 10.0  # between plain lines in a log


def say(text: str, end: str = "\n") -> None:
    """Print a line of the result; where standard output was closed, nobody wants it."""
    print(text, end=end)


def say_json(told: object, indent: int | None = None) -> None:
    """Print what was found as JSON: in ASCII where standard output cannot hold all letters."""
    told = _json_value(told)
    text = dumps(told, ensure_ascii=False, default=str, indent=indent)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = dumps(told, default=str, indent=indent)
    say(text)


def _json_value(value: object) -> object:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def note(text: str) -> None:
    """Print a line for people, beside the result."""
    if sys.stderr is None:  # closed by who started us; `print` would take standard output
        return
    # A run is not a failure because nobody can read about it.
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def watched() -> bool:
    """Whether a person looks on: standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Progress:
    """Shows one count that grows; lives while a command runs.

    On a terminal it is a bar with rate and time left; elsewhere a line every ten seconds.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what = what
        self._unit = unit
        self._started = time.monotonic()
        self._first = 0
        self._printed = self._started
        self._bar: _Bar | None = _Bar(what, unit) if watched() else None

    def begin(self, done: int) -> None:
        """Start counting at what an earlier run had done."""
        self._first = done

    def update(self, done: int, total: int | None, extra: str = "") -> None:
        """Show how far it is."""
        if self._bar is not None:
            self._bar.update(done, total, extra)
            return
        now = time.monotonic()
        if now - self._printed >= _LINE_EVERY_S:
            self._printed = now
            note(self._line(done, total, extra, now))

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.note(text)
        else:
            note(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, done: int, total: int | None, extra: str, now: float) -> str:
        rate = (done - self._first) / max(now - self._started, 1e-9)
        text = f"{self._what}: {done:,}"
        if total is not None:
            text += f" of {total:,}"
        text += f" {self._unit}, {_rate(rate)}"
        if total is not None and rate > 0:
            text += f", {duration((total - done) / rate)} left"
        return text + (f", {extra}" if extra else "")


class _Bar:
    """A bar drawn by rich."""

    def __init__(self, what: str, unit: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}  {{task.fields[rate]}}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[extra]}", markup=False),  # a URL, whatever it holds
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None, rate="", extra="")
        self._bar.start()

    def update(self, done: int, total: int | None, extra: str) -> None:
        speed = self._bar.tasks[0].speed
        rate = _rate(speed) if speed else ""
        with suppress(OSError):
            self._bar.update(
                self._task, completed=done, total=total, rate=rate, extra=printable(extra)
            )

    def note(self, text: str) -> None:
        with suppress(OSError):
            self._bar.console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        with suppress(OSError):
            self._bar.stop()


def _rate(speed: float) -> str:
    """What a second brings, in two digits where it is slow."""
    return f"{speed:,.0f}/s" if speed >= 99.5 else f"{speed:.2g}/s"


def duration(seconds: float) -> str:
    """A time as people say it: `2 h 05 min`, `3 min 10 s`, `7 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def rows_progress(what: str = "embedding", unit: str = "pictures") -> Iterator[Progress]:
    """Progress of pictures, or of their rows."""
    progress = Progress(what, unit)
    try:
        yield progress
    finally:
        progress.close()


@contextmanager
def download_progress(shows: bool = True) -> Iterator[Callable[[FetchEvent], None]]:
    """Progress of a download; it appears with the first byte, and not at all for a local path."""
    shown: list[Progress] = []

    def on_event(event: FetchEvent) -> None:
        if not shows:
            return
        if event.kind == "progress":
            if not shown:
                shown.append(Progress("downloading", "kB"))
            total = event.total_bytes
            shown[0].update(
                event.done_bytes // 1000, None if total is None else total // 1000, event.url
            )
        elif event.kind in ("start", "retry", "failed", "wait"):
            text = f"{event.url}: {event.text}" if event.text else f"{event.kind}: {event.url}"
            (shown[0].note if shown else note)(text)
        elif event.kind == "done" and shown:
            shown.pop().close()  # what comes next has a bar of its own

    try:
        yield on_event
    finally:
        for progress in shown:
            progress.close()


@contextmanager
def continuable(output: Path | str, shows: bool) -> Iterator[None]:
    """Say of a run that is stopped that the same command continues it."""
    try:
        yield
    except KeyboardInterrupt:
        if shows:
            note(f"{output}: the same command continues from here")
        raise


class TrainingProgress:
    """A bar an epoch, with loss and accuracy, and a line after each; lives as long as the run."""

    def __init__(self, shows: bool) -> None:
        self._shows = shows
        self._bar: Progress | None = None
        self._what = ""

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
            total = round(event.done * event.steps / event.step)
            what = f"epoch {event.epoch + 1}/{event.epochs}"
            self._update(what, "pictures", event.done, total, _numbers(event.row))

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

    def on_done(self, what: str, done: int, total: int, unit: str = "pictures") -> None:
        """Show how many pictures, or others, are done."""
        if self._shows:
            self._update(what, unit, done, total, "")
            if done == total:
                self._close()

    def on_step(self, what: str, done: int, total: int | None) -> None:
        """Show what is being done, and how far it is where that is known."""
        if not self._shows:
            return
        if total is None and not watched():
            self._close()
            note(what)
        else:
            self._update(what, "steps", done, total, "")

    def _update(self, what: str, unit: str, done: int, total: int | None, extra: str) -> None:
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
            note(text)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _numbers(row: Mapping[str, float]) -> str:
    shown = {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items())


def without_pandas() -> None:
    """Keep pyarrow from importing pandas, which takes half a second, if it is installed.

    pyarrow asks for it before it makes its first array, whatever that is made of; what really wants
    pandas later (`to_pandas`) asks again. Only for this program: in a library's process pandas'
    objects may come along. A version that is too old is the one answer that pyarrow takes quietly.
    """
    if "pandas" in sys.modules or importlib.util.find_spec("pandas") is None:
        return
    import pyarrow

    old = ModuleType("pandas")
    old.__version__ = "0"  # type: ignore[attr-defined]
    sys.modules["pandas"] = old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyarrow.array([])
    finally:
        del sys.modules["pandas"]
