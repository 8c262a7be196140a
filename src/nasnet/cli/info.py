"""`nasnet info`: the network in numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from nasnet.cli.flags import Size, check_file, command
from nasnet.cli.terminal import say, say_json
from nasnet.network.build import build_plan
from nasnet.network.code import cell_lines, encode, encode_cell
from nasnet.network.drawing import cell_svg, stacked
from nasnet.network.spec import PRESETS
from nasnet.network.summary import Block, summarise
from nasnet.system import write_whole
from nasnet.weights.networks import network_of


@command
def info(
    name: str = "mobile",
    /,
    *,
    size: Size | None = None,
    classes: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    json: bool = False,
    picture: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Print a network: cells, shapes, parameters, multiply-adds.

    Args:
        name: mobile (the default), large or cifar, or a network of your own: its file (best.toml)
            or its code.
        size: input size, HEIGHTxWIDTH or one number; the network's own if not given.
        classes: classes, background included; 0: none.
        json: as JSON, for programs.
        picture: draw the cells into this .svg file.
        overwrite: replace a drawing that is there.
    """
    check_file(picture, overwrite=overwrite, endings=(".svg",))
    height, width = size or (None, None)
    spec = network_of(name)
    plan = build_plan(spec, height=height, width=width, num_classes=classes)
    summary = summarise(plan)
    cells = {"normal": spec.normal, "reduction": spec.reduction}
    if picture is not None:
        drawn = [cell_svg(cell, f"{spec.name}, {part} cell") for part, cell in cells.items()]
        write_whole(picture, stacked(drawn).encode())
    if json:
        table: dict[str, object] = {"name": spec.name, "code": encode(spec)}
        table |= {"height": plan.height, "width": plan.width}
        table |= {"cells": {part: encode_cell(cell) for part, cell in cells.items()}}
        table |= {"endpoints": {end: list(plan.endpoint(end).shape) for end in plan.endpoints}}
        say_json({**table, **asdict(summary)})
        return
    say(f"nasnet_{spec.name}, pictures of {plan.height}x{plan.width} px\n")
    if spec.name not in PRESETS:
        for part, cell in cells.items():
            say(f"{part} cell")
            for number, line in enumerate(cell_lines(cell)):
                say(f"  {number + 2} = {line}")
            say(f"  output: {', '.join(map(str, cell.output))}\n")
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
    if spec.name not in PRESETS:
        say(f"code: {encode(spec)}")


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
