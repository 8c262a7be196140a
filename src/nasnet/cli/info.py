"""`nasnet info`: the network in numbers.

Called by the command line only.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from nasnet.cli.options import SIZE, Size
from nasnet.network.build import build_plan
from nasnet.network.spec import PRESETS, preset
from nasnet.network.summary import Block, summarise

__all__ = ["command"]


@click.command("info")
@click.argument("name", default="mobile", type=click.Choice(list(PRESETS)))
@click.option(
    "--size", type=SIZE, help="Input size, HEIGHTxWIDTH or one number; the network's own if left."
)
@click.option("--classes", type=click.IntRange(0), help="Classes, background included; 0: none.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(name: str, size: Size | None, classes: int | None, as_json: bool) -> None:
    """Print a network of the family: cells, shapes, parameters, multiply-adds.

    NAME is mobile (the default), large or cifar.
    """
    height, width = size or (None, None)
    plan = build_plan(preset(name), height=height, width=width, num_classes=classes)
    summary = summarise(plan)
    if as_json:
        endpoints = {end: list(plan.endpoint(end).shape) for end in plan.endpoints}
        size_of_input = {"name": name, "height": plan.height, "width": plan.width}
        click.echo(json.dumps({**size_of_input, "endpoints": endpoints, **asdict(summary)}))
        return
    click.echo(f"nasnet_{name}, pictures of {plan.height}x{plan.width} px\n")
    row = "{:<17} {:<11} {:>14} {:>12} {:>9} {:>9}  {}"
    head = ("scope", "previous", "output", "parameters", "M mult.", "up to", "endpoint")
    click.echo(row.format(*head))
    for block in summary.blocks:
        click.echo(row.format(*_cells(block)))
    click.echo(
        f"\n{summary.parameters:,} parameters, {summary.trainable:,} of them trainable; "
        f"{summary.multiply_adds / 1e6:,.1f} M multiply-adds a picture; "
        f"features: {plan.num_features}"
    )


def _cells(block: Block) -> tuple[str, ...]:
    return (
        block.name,
        block.previous,
        "x".join(str(side) for side in block.shape),
        f"{block.parameters:,}",
        f"{block.multiply_adds / 1e6:.1f}",
        f"{block.total_multiply_adds / 1e6:.1f}",
        block.endpoint,
    )
