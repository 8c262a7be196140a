"""`nasnet export`: the network for another runtime, compared with that runtime's own numbers."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import Quiet, command
from nasnet.cli.terminal import download_progress, note, say, say_json, watched
from nasnet.exporting.export import Exported, ExportOptions, export as export_network
from nasnet.exporting.targets import TARGETS
from nasnet.exporting.verifying import Agreement
from nasnet.text import display_name


@command
def export(
    weights: str,
    output: Path,
    /,
    *,
    to: Annotated[str | None, Parameter(choices=tuple(TARGETS))] = None,
    json: bool = False,
    quiet: Quiet = False,
    options: ExportOptions,
) -> None:
    """Export WEIGHTS to OUTPUT for another runtime, run it there, and compare.

    WEIGHTS is a handle, a file or folder of weights, builtin or seeded:N, as everywhere.

        nasnet export builtin nasnet.onnx
        nasnet export builtin nasnet.xml --precision int8
        nasnet export builtin nasnet.tflite --precision int16x8 --calibrate photos/
        nasnet export builtin module --to savedmodel --task classifier

    Args:
        weights: the weights to read.
        output: the file or folder to write.
        to: the target; taken from the ending of OUTPUT if not given.
        json: the summary as JSON, for programs.
        quiet: no progress and no summary.
        options: how to export.
    """
    # TensorFlow tells of its kernels on standard error, from C++, unless it is asked not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    shows = watched() and not quiet
    with download_progress() as on_download:
        done = export_network(
            weights,
            output,
            options=replace(options, to=to),
            on_fetch=on_download,
            on_step=(lambda text: note(f"{text} ...")) if shows else None,
        )
    if json:
        say_json(_report(done))
    elif not quiet:
        _show(done)


def _row(one: Agreement) -> dict[str, object]:
    error = one.error if math.isfinite(one.error) else None
    return {
        "endpoint": one.endpoint,
        "shape": list(one.shape),
        "cosine": one.cosine,
        "largest_error": error,
    }


def _report(done: Exported) -> dict[str, object]:
    request = done.request
    return {
        "written": str(done.output),
        "target": done.to,
        "bytes": done.bytes,
        **request.metadata(),
        "batch": request.batch_size,
        "endpoints": list(request.endpoints),
        "runtime": done.runtime,
        "agreements": [_row(one) for one in done.agreements],
        "notes": list(done.notes),
    }


def _show(done: Exported) -> None:
    request = done.request
    lines = {
        "written": f"{done.output}: {TARGETS[done.to].title}, {done.bytes / 1e6:.1f} MB",
        "weights": f"{request.weights.described}, {request.weights.network}",
        "input": f"[{request.batch_size or 'any'}, {request.height}, {request.width}, 3] "
        f"{request.metadata()['pixels']}, {request.precision}",
    }
    for key, value in lines.items():
        say(f"{key:<10} {display_name(value)}")
    for text in done.notes:
        say(f"{'note':<10} {display_name(text)}")
    if not done.agreements:
        say(f"{'verified':<10} no")
        return
    say(f"{'verified':<10} {done.runtime}, against this package in float32")
    say(f"\n{'endpoint':<18} {'values':>10} {'cosine':>10} {'error':>9} {'allowed':>9}")
    for one in done.agreements:
        allowed = f"{one.limit.error:.0e}" if math.isfinite(one.limit.error) else "-"
        values = math.prod(one.shape)
        say(f"{one.endpoint:<18} {values:>10,} {one.cosine:>10.7f} {one.error:>9.1e} {allowed:>9}")
