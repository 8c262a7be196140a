"""`nasnet info`: the network in numbers."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated

from cyclopts import Parameter, validators

from nasnet.cli.flags import Size, command
from nasnet.cli.terminal import say
from nasnet.network.build import build_plan
from nasnet.network.spec import preset
from nasnet.network.summary import Block, summarise


@command
def info(
    name: str = "mobile",
    /,
    *,
    size: Size | None = None,
    classes: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    json: bool = False,
) -> None:
    """Print a network of the family: cells, shapes, parameters, multiply-adds.

    Args:
        name: mobile (the default), large or cifar.
        size: input size, HEIGHTxWIDTH or one number; the network's own if not given.
        classes: classes, background included; 0: none.
        json: as JSON, for programs.
    """
    height, width = size or (None, None)
    plan = build_plan(preset(name), height=height, width=width, num_classes=classes)
    summary = summarise(plan)
    if json:
        endpoints = {end: list(plan.endpoint(end).shape) for end in plan.endpoints}
        size_of_input = {"name": name, "height": plan.height, "width": plan.width}
        say(dumps({**size_of_input, "endpoints": endpoints, **asdict(summary)}))
        return
    say(f"nasnet_{name}, pictures of {plan.height}x{plan.width} px\n")
    row = "{:<17} {:<11} {:>14} {:>12} {:>9} {:>9}  {}"
    head = ("scope", "previous", "output", "parameters", "M mult.", "up to", "endpoint")
    say(row.format(*head))
    for block in summary.blocks:
        say(row.format(*_cells(block)))
    say(
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
