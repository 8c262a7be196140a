"""Exports that are weight files of `conversion`: written there, run by this package's engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nasnet.compute import engine
from nasnet.exporting.request import Request
from nasnet.exporting.running import Arrays, Run
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import open_path


def writer_of(key: str) -> Callable[[Request, Path], None]:
    """The writer of a format of `conversion.FORMATS`."""

    def write(request: Request, path: Path) -> None:
        FORMATS[key].write(request.weights, path)

    return write


def run_weights(request: Request, path: Path) -> Run:
    """Read the file again and compute with it here."""
    made = engine.create(open_path(path).weights)

    def run(images: Arrays) -> dict[str, Arrays]:
        return engine.run(made, images, request.endpoints)

    return Run(f"read back, {made.name}", run)
