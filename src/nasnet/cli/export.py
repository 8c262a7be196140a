"""`nasnet export`: the network for another runtime, compared with that runtime's own numbers.

Called by the command line only.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import click

from nasnet.cli.options import SIZE, Size, averages_option
from nasnet.cli.progress import download_progress
from nasnet.exporting.export import Exported, ExportOptions, export
from nasnet.exporting.request import OUTPUTS, PIXELS, PRECISIONS, Output, Pixels, Precision
from nasnet.exporting.targets import TARGETS
from nasnet.exporting.verifying import Agreement
from nasnet.network.plan import PADDINGS, Borders
from nasnet.weights.opening import Averages

__all__ = ["command"]

_TABLE = "\n".join(
    f"    {key:<12} {row.suffix or '(folder)':<13} {row.title}" for key, row in TARGETS.items()
)


@click.command("export", epilog=f"\b\nTargets:\n{_TABLE}")
@click.argument("weights", metavar="WEIGHTS")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(TARGETS)), help="The target; told by OUT's ending.")
@click.option(
    "--output",
    "what",
    type=click.Choice(OUTPUTS),
    help="The feature vector, the classifier (logits and probabilities), or all endpoints. "
    "[default: what the module is for]",
)
@click.option("--size", type=SIZE, help="Of the pictures (224, or HEIGHTxWIDTH).")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Of the numbers in the file. [default: f32]",
)
@click.option(
    "--pixels",
    type=click.Choice(PIXELS),
    help="What the input takes: float32 in [0, 1], or uint8. [default: float32]",
)
@click.option("--batch", type=click.IntRange(min=1), help="Fix the batch size.")
@click.option("--padding", type=click.Choice(PADDINGS), help="Whose border pixels.")
@click.option(
    "--calibrate",
    "calibration",
    default="samples:",
    show_default=True,
    metavar="SOURCE",
    help="Pictures for int16x8 and int8: a hundred of your own kind.",
)
@click.option(
    "--pictures",
    default="samples:",
    show_default=True,
    metavar="SOURCE",
    help="Pictures to compare on.",
)
@click.option("--verify/--no-verify", default=True, help="Run it by its own runtime and compare.")
@averages_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON, for programs.")
def command(
    weights: str,
    output: Path,
    to: str | None,
    what: Output | None,
    size: Size | None,
    precision: Precision | None,
    pixels: Pixels | None,
    batch: int | None,
    padding: Borders | None,
    calibration: str,
    pictures: str,
    verify: bool,
    averages: Averages,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Export WEIGHTS to OUT for another runtime, run it there, and compare.

    WEIGHTS is a handle, a file or folder of weights, builtin or seeded:N, as everywhere.

    \b
    nasnet export builtin nasnet.onnx
    nasnet export builtin nasnet.tflite --precision int16x8 --calibrate photos/
    nasnet export builtin module --to savedmodel --output classifier
    """  # noqa: D301 - click wants the character itself
    # TensorFlow tells of its kernels on standard error, from C++, unless it is asked not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = ExportOptions(
        to=to,
        output=what,
        size=size,
        precision=precision,
        pixels=pixels,
        batch=batch,
        padding=padding,
        calibration=calibration,
        verify=verify,
        pictures=pictures,
        averages=averages,
        overwrite=overwrite,
    )
    shows = sys.stderr.isatty()
    with download_progress() as on_download:
        done = export(
            weights,
            output,
            options=options,
            on_fetch=on_download,
            on_step=(lambda text: click.echo(f"{text} ...", err=True)) if shows else None,
        )
    if as_json:
        click.echo(json.dumps(_report(done)))
    else:
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
        "batch": request.batch,
        "endpoints": list(request.endpoints),
        "runtime": done.runtime,
        "agreements": [_row(one) for one in done.agreements],
        "notes": list(done.notes),
    }


def _show(done: Exported) -> None:
    request = done.request
    lines = {
        "written": f"{done.output}: {TARGETS[done.to].title}, {done.bytes / 1e6:.1f} MB",
        "weights": f"{request.weights.source} ({request.weights.status}), "
        f"nasnet_{request.weights.spec}",
        "input": f"[{request.batch or 'any'}, {request.height}, {request.width}, 3] "
        f"{request.metadata()['pixels']}, {request.precision}",
    }
    for key, value in lines.items():
        click.echo(f"{key:<10} {value}")
    for note in done.notes:
        click.echo(f"{'note':<10} {note}")
    if not done.agreements:
        click.echo(f"{'verified':<10} no")
        return
    click.echo(f"{'verified':<10} {done.runtime}, against this package in float32")
    click.echo(f"\n{'endpoint':<18} {'values':>10} {'cosine':>10} {'error':>9} {'allowed':>9}")
    for one in done.agreements:
        allowed = f"{one.limit.error:.0e}" if math.isfinite(one.limit.error) else "-"
        values = math.prod(one.shape)
        click.echo(
            f"{one.endpoint:<18} {values:>10,} {one.cosine:>10.7f} {one.error:>9.1e} {allowed:>9}"
        )
