"""`nasnet info`: the network in numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from nasnet.cli.flags import Size, UsageError, check_file, command
from nasnet.cli.terminal import say, say_json
from nasnet.features.index import meta_of_index, open_index
from nasnet.features.store import FORMATS
from nasnet.network.build import build_plan
from nasnet.network.code import cell_lines, encode, encode_cell
from nasnet.network.drawing import cell_svg, stacked
from nasnet.network.spec import PRESETS
from nasnet.network.summary import Block, summarise
from nasnet.system import write_whole
from nasnet.text import display_name
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
    """Print a network: cells, shapes, parameters, multiply-adds; or what a feature set is of.

    Args:
        name: mobile (the default), large or cifar, or a network of your own: its file (best.toml)
            or its code; or a feature set or an index: how many rows it has, and what it says about
            weights, recipe and source.
        size: input size, HEIGHTxWIDTH or one number; the network's own if not given.
        classes: classes, background included; 0: none.
        json: as JSON, for programs.
        picture: draw the cells into this .svg file.
        overwrite: replace a drawing that is there.
    """
    check_file(picture, overwrite=overwrite, endings=(".svg",))
    if Path(name).is_dir() or (Path(name).suffix in FORMATS and Path(name).exists()):
        if size is not None or classes is not None or picture is not None:
            raise UsageError(
                f"--size, --classes and --picture are for a network; {name} is a feature set"
            )
        _tell_set(Path(name), as_json=json)
        return
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


def _tell_set(place: Path, *, as_json: bool) -> None:
    """What a feature set, or an index, says about itself."""
    meta = meta_of_index(place)
    rows = FORMATS[place.suffix].rows(place) if place.is_file() else len(open_index(place))
    told: dict[str, object] = {"rows": rows, **asdict(meta)}
    if as_json:
        say_json(told)
        return
    for key, value in told.items():
        if value != "" and key != "recipe_text":
            say(f"{key.replace('_', ' '):<20} {display_name(str(value))}")


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
