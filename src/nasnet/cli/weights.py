"""`nasnet weights inspect`: what a weight file holds, and whether it is genuine.

Called by the command line only.
"""

from __future__ import annotations

import json
import math
from typing import get_args

import click

from nasnet.load import Averages, Opened, open_weights
from nasnet.weights import fingerprint

__all__ = ["command"]


@click.group("weights")
def command() -> None:
    """Look into weight files."""


@command.command("inspect")
@click.argument("path")
@click.option(
    "--averages",
    type=click.Choice(get_args(Averages)),
    default="auto",
    help="Which set of a training checkpoint: its variables, their moving averages, or the "
    "genuine one (auto).",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def inspect(path: str, averages: Averages, as_json: bool) -> None:
    """Say what PATH holds: format, network, parameters, and whether it is genuine.

    PATH is a TensorFlow checkpoint (prefix, .index file or folder), a TF1 hub module (folder or
    .tar.gz), a safetensors file, a published handle, seeded:N, or a file of Keras, TensorFlow 2,
    PyTorch, TFLite, TF.js, TensorNets or MindSpore.

    The last line is one plain word: genuine (bit for bit the weights Google published),
    untrained or modified, or incomplete.
    """
    opened = open_weights(path, averages=averages, partial=True)
    report = _report(opened)
    if as_json:
        click.echo(json.dumps(report))
        return
    for key, value in report.items():
        if value not in ("", []):
            shown = "; ".join(value) if isinstance(value, list) else value
            click.echo(f"{key.replace('_', ' '):<20} {shown}")
    click.echo(opened.verdict.word)


def _report(opened: Opened) -> dict[str, str | list[str]]:
    weights, verdict = opened.weights, opened.verdict
    names = [name for name in weights.arrays if not name.startswith("aux_")]
    values = sum(weights.arrays[name].size for name in names)
    moving = sum(math.prod(weights.arrays[n].shape) for n in names if "/moving_" in n)
    head = f"{weights.num_classes} classes" if weights.num_classes else "none"
    if verdict.head_total:
        head += f", {verdict.head_matched} of {verdict.head_total} tensors published"
    return {
        "source": weights.source,
        "format": opened.format,
        "network": f"nasnet_{weights.spec}",
        "task": opened.task,
        "image_size": "x".join(str(side) for side in opened.image_size),
        "parameters": f"{values:,} in {len(names):,} tensors, {values - moving:,} trainable",
        "classifier": head,
        "auxiliary_head": "yes" if len(names) < len(weights.arrays) else "no",
        "fingerprint": fingerprint(weights),
        "padding": weights.padding,
        "published_tensors": f"{verdict.matched} of {verdict.total} match",
        "missing": list(verdict.missing),
        "status": weights.status,
        "notes": list(opened.notes),
    }
