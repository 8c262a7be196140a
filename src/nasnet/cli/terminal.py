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
from types import ModuleType
from typing import TYPE_CHECKING

from nasnet.text import printable

if TYPE_CHECKING:
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


class _Lines:
    """A line every ten seconds."""

    def __init__(self, what: str, unit: str, first: int) -> None:
        self._what, self._unit, self._first = what, unit, first
        self._started = self._printed = time.monotonic()

    def update(self, done: int, total: int | None, extra: str) -> None:
        now = time.monotonic()
        if now - self._printed < _LINE_EVERY_S:
            return
        self._printed = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        text = f"{self._what}: {done:,}"
        if total is not None:
            text += f" of {total:,}"
        text += f" {self._unit}, {_rate(rate)}"
        if total is not None and rate > 0:
            text += f", {duration((total - done) / rate)} left"
        note(text + (f", {extra}" if extra else ""))

    def note(self, text: str) -> None:
        note(text)

    def close(self) -> None:
        """There is nothing to take away."""


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
def continuable(output: Path | str, shows: bool, *, overwrite: bool) -> Iterator[None]:
    """Say of a run that is stopped which command continues it; --overwrite would start anew."""
    try:
        yield
    except KeyboardInterrupt:
        if shows:
            how = " without --overwrite" if overwrite else ""
            note(f"{output}: the same command{how} continues from here")
        raise


class Progress:
    """Shows how far a run is, one thing after another; lives as long as a `with` statement.

    On a terminal it is a bar with rate and time left; elsewhere a line every ten seconds.
    """

    def __init__(self, shows: bool = True) -> None:
        self._shows = shows
        self._shown: _Bar | _Lines | None = None
        self._what = ""

    def __enter__(self) -> Progress:
        """Nothing is shown yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        self.close()

    def update(
        self, what: str, done: int, total: int | None, *, unit: str = "pictures", extra: str = ""
    ) -> None:
        """Show how far something is; another thing has a bar of its own."""
        if not self._shows:
            return
        if self._shown is None or what != self._what:
            self.close()
            self._what = what
            # What an earlier run had done counts for no rate.
            self._shown = _Bar(what, unit) if watched() else _Lines(what, unit, done)
        self._shown.update(done, total, extra)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._shows:
            (note if self._shown is None else self._shown.note)(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def on_event(self, event: TrainEvent) -> None:
        """Show how far a training is: a bar an epoch, with loss and accuracy, a line after each."""
        if event.kind == "note":
            self.note(f"note: {event.text}")
        elif event.kind == "epoch":
            self.close()
            self.note(f"epoch {event.epoch} of {event.epochs}: {_numbers(event.row)}")
        else:
            total = round(event.done * event.steps / event.step)
            what = f"epoch {event.epoch + 1}/{event.epochs}"
            self.update(what, event.done, total, extra=_numbers(event.row))

    def on_finetune(self, event: FinetuneEvent) -> None:
        """Show how far the features of a fine-tuning are."""
        if event.text:
            self.note(f"{event.what}: {event.text}")
        else:
            self.on_done(event.what, event.done, event.total)

    def on_done(self, what: str, done: int, total: int, unit: str = "pictures") -> None:
        """Show how many pictures, or others, are done."""
        self.update(what, done, total, unit=unit)
        if done == total:
            self.close()

    def on_step(self, what: str, done: int, total: int | None) -> None:
        """Show what is being done, and how far it is where that is known."""
        if total is None and not watched():
            self.close()
            self.note(what)
        else:
            self.update(what, done, total, unit="steps")


@contextmanager
def download_progress(shows: bool = True) -> Iterator[Callable[[FetchEvent], None]]:
    """Progress of a download; it appears with the first byte, and not at all for a local path."""
    with Progress(shows) as progress:

        def on_event(event: FetchEvent) -> None:
            if event.kind == "progress":
                total = None if event.total_bytes is None else event.total_bytes // 1000
                done = event.done_bytes // 1000
                progress.update("downloading", done, total, unit="kB", extra=event.url)
            elif event.kind in ("start", "retry", "failed", "wait"):
                text = f"{event.url}: {event.text}" if event.text else f"{event.kind}: {event.url}"
                progress.note(text)
            elif event.kind == "done":
                progress.close()  # what comes next has a bar of its own

        yield on_event


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
