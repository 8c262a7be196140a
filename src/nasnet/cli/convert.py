"""`nasnet convert`: weights of one format become a file of another.

Called by the command line only.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nasnet.cli.options import averages_option
from nasnet.cli.progress import download_progress
from nasnet.exporting.convert import Conversion, ConvertOptions, convert
from nasnet.network.plan import PADDINGS, Borders
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import Averages

__all__ = ["command"]

_TABLE = "\n".join(
    f"    {key:<19} {row.suffixes[0] if row.suffixes else '':<13} {row.title}"
    for key, row in FORMATS.items()
)


@click.command("convert", epilog=f"\b\nFormats of OUT:\n{_TABLE}")
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(FORMATS)), help="The format; told from OUT's ending.")
@click.option(
    "--classes",
    type=click.Choice(["0", "1000", "1001"]),
    help="0 leaves the classifier out; 1000 drops ImageNet's background class, index 0; 1001 puts "
    "one in that never wins. What readers of the format expect, if not given.",
)
@click.option(
    "--padding",
    type=click.Choice(PADDINGS),
    help="Whose border pixels to note in the file (safetensors only).",
)
@averages_option
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON, for programs.")
def command(
    source: str,
    output: Path,
    to: str | None,
    classes: str | None,
    padding: Borders | None,
    averages: Averages,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Convert the weights IN into the file OUT, read it back and compare every value.

    IN is whatever --weights takes: a published handle, a TensorFlow checkpoint, hub module,
    SavedModel or frozen graph; a file of Keras (.h5, .weights.h5, .keras), PyTorch (Cadene, timm,
    pytorchcv), TFLite, TF.js, TensorNets or MindSpore; safetensors; seeded:N. Its format is told
    by its content. No pickle in it is run.

    \b
    nasnet convert nasnetamobile.pth nasnet.safetensors
    nasnet convert model.ckpt NASNet-mobile.h5
    """  # noqa: D301 - click wants the character itself
    options = ConvertOptions(
        to=to,
        classes=None if classes is None else int(classes),
        padding=padding,
        averages=averages,
        overwrite=overwrite,
    )
    with download_progress() as on_download:
        done = convert(source, output, options=options, on_fetch=on_download)
    report = _report(done)
    if as_json:
        click.echo(json.dumps(report))
        return
    for key, value in report.items():
        for line in value if isinstance(value, list) else [value]:
            click.echo(f"{key.replace('_', ' '):<12} {line}")


def _report(done: Conversion) -> dict[str, str | list[str]]:
    weights = done.weights
    head = f"{weights.num_classes} classes" if weights.num_classes else "no classifier"
    return {
        "read": f"{done.opened.weights.source}: {done.format}",
        "network": f"nasnet_{weights.spec}, {head}, {done.tensors:,} tensors",
        "status": done.opened.verdict.word,
        "written": f"{done.output}: {done.to}, {FORMATS[done.to].title}",
        "read_back": "every value is equal, bit for bit",
        "fingerprint": done.fingerprint,
        "note": list(done.notes),
    }
