"""The exceptions of the package, and the helpers that raise them.

It imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

# Names out of files stand in messages; a hostile one may be as long as its file.
_LONGEST = 2000


class NasnetError(Exception):
    """Base of all errors this package raises on purpose: one clear line, fit to be shown."""

    def __str__(self) -> str:
        """The line, whatever a file put into it."""
        return _line(super().__str__())


def _line(text: str) -> str:
    """One line: no control characters, not without end."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(NasnetError, TypeError, ValueError):
    """An argument or array does not fit the call: wrong names, shape, dtype or value range.

    It is a `TypeError` because `tensorflow_hub.Module` raised that one for the same mistakes.
    """


class SignatureError(NasnetError, ValueError):
    """A signature, tag set or endpoint that this module does not have."""


class WeightsError(NasnetError, ValueError):
    """A weight file that cannot be read, is damaged, or does not fit the network."""


class FetchError(NasnetError, OSError):
    """A handle that cannot be turned into a verified local folder; lists what was tried."""

    def __str__(self) -> str:
        """A line for each source that was tried."""
        return "\n".join(_line(line) for line in Exception.__str__(self).split("\n"))


class SourceError(NasnetError, ValueError):
    """A source of pictures that cannot be opened or listed."""


class OutputError(NasnetError, ValueError):
    """A feature set that cannot be written, continued or read."""


class ClusterError(NasnetError, RuntimeError):
    """A cluster that cannot do the work: no machine that fits, or workers that end every time."""


class PictureError(NasnetError, ValueError):
    """One picture that cannot be decoded; bulk work records its text as the row's reason."""


class TrainingError(NasnetError, RuntimeError):
    """A training run that cannot go on: a loss that is no number, data or options that changed."""


class UnsupportedError(NasnetError, RuntimeError):
    """Something the original offers that this installation cannot do (yet)."""


class MissingExtraError(NasnetError, ImportError):
    """An optional package is missing or broken; the text names the line that installs it."""


def needs(module: str, *, extra: str) -> ModuleType:
    """Import an optional package by its import name; `extra` is the extra of ours that brings it.

    Raises:
        MissingExtraError: it is not installed, or broken.
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # what a broken package raises while it is imported is its own
        if isinstance(error, ModuleNotFoundError) and (error.name or top).partition(".")[0] == top:
            raise MissingExtraError(
                f"{top} is not installed; it comes with: pip install 'nasnet[{extra}]'"
            ) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MissingExtraError(
            f"{top} is installed, but cannot be imported ({reason}); it comes anew with: "
            f"pip install --force-reinstall 'nasnet[{extra}]'"
        ) from error


def check_range(name: str, value: float | tuple[float, ...] | None, interval: str) -> None:
    """Refuse a number, or one of several, that lies outside an interval; None passes.

    A square bracket takes the bound in, a round one leaves it out: `[1, inf)`, `(0, 0.5]`. NaN lies
    in no interval.

    Raises:
        InputError: it lies outside; the text says what may be.
    """
    low, high = (part.strip() for part in interval[1:-1].split(","))
    least, most = float(low), float(high)
    for one in value if isinstance(value, tuple) else (value,):
        if one is None:
            continue
        over = one >= least if interval[0] == "[" else one > least
        under = one <= most if interval[-1] == "]" else one < most
        if not (over and under):
            start = f"starts at {low}" if interval[0] == "[" else f"is above {low}"
            rule = start if high == "inf" else f"lies in {interval}"
            raise InputError(f"{name} {rule}, found {value}")


def check_ranges(options: object, intervals: Mapping[str, str]) -> None:
    """Refuse options of which a number lies outside its interval; see `check_range`."""
    for name, interval in intervals.items():
        check_range(name, getattr(options, name), interval)


@contextlib.contextmanager
def os_errors(kind: type[NasnetError], text: str) -> Iterator[None]:
    """What the operating system refuses becomes an error of ours: `TEXT: REASON`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NasnetError):  # as `FetchError` is
            raise
        raise kind(f"{text}: {error.strerror or error}") from error


@contextlib.contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let what is imported meanwhile believe that a module is not installed.

    An import that finds None in `sys.modules` fails with an ImportError. A module that has been
    imported already stays.
    """
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hides:
            sys.modules.pop(module, None)
