"""A network as text: a code of one line for metadata, and a short file for people.

    best:mobile,filters=16,cells=3:s5.0+s3.1_a3.0~id.1=2.3:s7.1+m3.0=2

is the network `best`: the skeleton of `mobile` with other filters and fewer cells, its normal and
its reduction cell. A block is two operations with the states they read, added up (`+`) or side by
side (`~`); behind `=` stand the states of the output. A preset's code is its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from nasnet.errors import InputError
from nasnet.network.spec import (
    OPERATIONS,
    PRESETS,
    Block,
    CellOperation,
    Combination,
    Genotype,
    Spec,
    genotype,
    preset,
)

_SHORT: dict[CellOperation, str] = {
    "none": "id",
    "1x3_3x1": "r3",
    "1x7_7x1": "r7",
    "dilated_3x3_rate_2": "d3",
    "avg_pool_3x3": "a3",
    "max_pool_3x3": "m3",
    "max_pool_5x5": "m5",
    "max_pool_7x7": "m7",
    "1x1": "c1",
    "3x3": "c3",
    "separable_3x3_2": "s3",
    "separable_5x5_2": "s5",
    "separable_7x7_2": "s7",
}
_LONG = {short: operation for operation, short in _SHORT.items()}
_BETWEEN: dict[Combination, str] = {"add": "+", "concat": "~"}
_BLOCK = re.compile(r"(\w+)\.(\d{1,2})([+~])(\w+)\.(\d{1,2})")
# Fields of a spec that have a shorter name in codes and files.
_NAMES = {"num_conv_filters": "filters", "num_cells": "cells"}
_CELLS = ("normal", "reduction")
_NOT_COMPUTING = (
    *("name", "image_size", "num_classes", "weight_decay", "batch_norm_decay"),
    *("drop_path_keep_prob", "dense_dropout_keep_prob", "total_training_steps"),
)
_VALUES = tuple(f.name for f in fields(Spec) if f.name not in ("name", "stem", *_CELLS))


def encode(spec: Spec) -> str:
    """The code of a network: a preset's name, or all of it in one line without spaces.

    What is called like a preset and computes the same is that preset, however it trains.

    Raises:
        InputError: it is called like a preset, and is another network.
    """
    if spec.name in PRESETS:
        if same_vectors(spec, PRESETS[spec.name]):
            return spec.name
        raise InputError(f"{spec.name} is a preset's name: give a network of your own another one")
    skeleton = skeleton_of(spec)
    values = [f"{key}={_text(value)}" for key, value in _differences(spec, skeleton).items()]
    cells = [encode_cell(cell) for cell in (spec.normal, spec.reduction)]
    return ":".join([spec.name, ",".join([skeleton.name, *values]), *cells])


def decode(text: str) -> Spec:
    """The network of a preset's name (`mobile` and `nasnet_mobile` are the same) or of a code.

    Raises:
        InputError: it is neither; the text says what is wrong with it.
    """
    if ":" not in text:
        return preset(text)
    parts = text.split(":")
    where = f"code {text[:60]!r}{'...' if len(text) > 60 else ''}"
    if len(parts) != 4:
        raise InputError(
            f"{where} has {len(parts)} parts, expected NAME:SKELETON,filters=N,...:NORMAL:REDUCTION"
        )
    name, settings, *cells = parts
    skeleton, *pairs = settings.split(",")
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{where}: {pair!r} is not a setting, expected KEY=VALUE")
        table[key] = _number(value)
    found = [
        _decoded(cell, f"{where}, {part} cell") for part, cell in zip(_CELLS, cells, strict=True)
    ]
    normal, reduction = found
    return _spec(name, skeleton, table, normal, reduction, where)


def same_vectors(one: Spec, other: Spec) -> bool:
    """Whether two networks compute the same of the same arrays; names and training do not count."""
    return _computing(one) == _computing(other)


def _computing(spec: Spec) -> tuple[Any, ...]:
    return tuple(getattr(spec, f.name) for f in fields(Spec) if f.name not in _NOT_COMPUTING)


def network_name(text: str) -> str:
    """What people and graphs call the network of a preset's name or a code: `nasnet_mobile`."""
    return f"nasnet_{text.partition(':')[0]}"


def is_code(text: str) -> bool:
    """Whether a text names a preset or looks like a code, rather than like a file's name."""
    return text.removeprefix("nasnet_") in PRESETS or text.count(":") == 3


def skeleton_of(spec: Spec) -> Spec:
    """The preset from whose settings a network differs least."""
    candidates = [row for row in PRESETS.values() if row.stem == spec.stem]
    return min(candidates, key=lambda row: len(_differences(spec, row)))


def encode_cell(cell: Genotype) -> str:
    """A cell as in a code."""
    blocks = [
        _BETWEEN[block.combine].join(f"{_SHORT[op]}.{state}" for op, state in block.sides)
        for block in cell.blocks
    ]
    return f"{'_'.join(blocks)}={'.'.join(map(str, cell.output))}"


def decode_cell(text: str) -> Genotype:
    """The cell of `encode_cell`'s text.

    Raises:
        InputError: it is none; the text names the block.
    """
    return _decoded(text, f"cell {text[:60]!r}")


def _decoded(text: str, where: str) -> Genotype:
    body, equals, output = text.partition("=")
    if not equals or not re.fullmatch(r"\d{1,2}(\.\d{1,2})*", output):
        raise InputError(f"{where}: the states of the output must stand at its end, as in =2.3")
    blocks = []
    for number, block in enumerate(body.split("_")):
        match = _BLOCK.fullmatch(block)
        if match is None:
            raise InputError(f"{where}: block {number}, {block!r}, is not like s5.0+s3.1")
        left, right = _long(match[1], where), _long(match[4], where)
        how: Combination = "add" if match[3] == "+" else "concat"
        blocks.append(Block(left=(left, int(match[2])), right=(right, int(match[5])), combine=how))
    return _cell(blocks, [int(state) for state in output.split(".")], where)


def _long(short: str, where: str) -> CellOperation:
    if short not in _LONG:
        raise InputError(f"{where}: no operation {short!r}; there are {', '.join(_LONG)}")
    return _LONG[short]


# -- a file for people

_LINE = re.compile(r"\s*(\w+)\((\d{1,2})\)\s*(\+|~)\s*(\w+)\((\d{1,2})\)\s*")


def to_toml(spec: Spec, *, origin: str = "") -> str:
    """The readable file of a network; its origin, for people, is kept in the file alone."""
    skeleton = skeleton_of(spec)
    lines = [
        "# A network for `nasnet train --network` and wherever a network's name is taken.",
        "# A block combines two operations on states, by + (added up) or ~ (side by side).",
        "# States: 0 the cell's input, 1 that of the cell before, 2 the first block's result, ...",
        f"name = {_quoted(spec.name)}",
        f"skeleton = {_quoted(skeleton.name)}",
    ]
    values = {"filters": spec.num_conv_filters, "cells": spec.num_cells}
    for key, value in (values | _differences(spec, skeleton)).items():
        lines.append(f"{key} = {_text(value)}")
    lines.append(f"origin = {_quoted(origin)}")
    for part, cell in zip(_CELLS, (spec.normal, spec.reduction), strict=True):
        lines += ["", f"[{part}]", "blocks = ["]
        lines += [f'    "{line}",' for line in cell_lines(cell)]
        lines += ["]", f"output = {list(cell.output)}"]
    return "\n".join(lines) + "\n"


def cell_lines(cell: Genotype) -> list[str]:
    """The blocks of a cell as the file has them, `separable_5x5_2(0) + none(1)`."""
    return [
        f" {_BETWEEN[block.combine]} ".join(f"{op}({state})" for op, state in block.sides)
        for block in cell.blocks
    ]


def from_table(table: Mapping[str, Any], where: str) -> tuple[Spec, str]:
    """The network of a readable file, as its TOML says it, and its origin.

    Raises:
        InputError: it is no such file; the text names `where` and the place.
    """
    settings = dict(table)
    given: dict[str, str] = {}
    for key in ("name", "skeleton", "origin"):
        value = settings.pop(key, "" if key == "origin" else None)
        if not isinstance(value, str):
            raise InputError(f'{where}: {key} must be a text, as in {key} = "mobile"')
        given[key] = value
    normal, reduction = (
        _cell_of(settings.pop(part, None), f"{where}, [{part}]") for part in _CELLS
    )
    spec = _spec(given["name"], given["skeleton"], settings, normal, reduction, where)
    return spec, given["origin"]


def _cell_of(table: object, where: str) -> Genotype:
    if not isinstance(table, dict) or not {"blocks"} <= table.keys() <= {"blocks", "output"}:
        raise InputError(f"{where} must be a table with blocks and output, no more")
    lines, output = table["blocks"], table.get("output", "unused")
    if not isinstance(lines, list) or not lines:
        raise InputError(f"{where}: blocks must be a list of texts")
    blocks = []
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line) if isinstance(line, str) else None
        if match is None:
            raise InputError(
                f"{where}: block {number}, {line!r}, is not like separable_5x5_2(0) + none(1)"
            )
        for operation in (match[1], match[4]):
            if operation not in OPERATIONS:
                raise InputError(
                    f"{where}: block {number}: no operation {operation!r}; there are "
                    f"{', '.join(OPERATIONS)}"
                )
        left, right = _SIDES[match[1]], _SIDES[match[4]]
        how: Combination = "add" if match[3] == "+" else "concat"
        blocks.append(Block(left=(left, int(match[2])), right=(right, int(match[5])), combine=how))
    if output == "unused":
        return _cell(blocks, None, where)
    if not isinstance(output, list) or not all(type(state) is int for state in output):
        raise InputError(f'{where}: output must be a list of states, or "unused"')
    return _cell(blocks, output, where)


_SIDES: dict[str, CellOperation] = {operation: operation for operation in OPERATIONS}


# -- what both share


def _cell(blocks: list[Block], output: list[int] | None, where: str) -> Genotype:
    try:
        return genotype(blocks, output)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _spec(
    name: str,
    skeleton: str,
    table: Mapping[str, Any],
    normal: Genotype,
    reduction: Genotype,
    where: str,
) -> Spec:
    """The skeleton with these settings and cells."""
    full = {short: name for name, short in _NAMES.items()}
    unknown = [key for key in table if full.get(key, key) not in _VALUES or key in _NAMES]
    if unknown:
        known = ", ".join(_NAMES.get(name, name) for name in _VALUES)
        raise InputError(f"{where}: no setting {unknown[0]!r}; there are {known}")
    try:
        row = preset(skeleton)
        values = {full.get(key, key): value for key, value in table.items()}
        for key, value in values.items():
            kind = type(getattr(row, key))
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise InputError(f"{_NAMES.get(key, key)} must be {kind.__name__}, found {value!r}")
            values[key] = kind(value)
        spec = replace(row, name=name, **values, normal=normal, reduction=reduction)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if name in PRESETS and spec != PRESETS[name]:
        raise InputError(f"{where}: {name} is a preset's name: give this network another one")
    return spec


def _differences(spec: Spec, skeleton: Spec) -> dict[str, Any]:
    pairs = ((name, getattr(spec, name), getattr(skeleton, name)) for name in _VALUES)
    return {_NAMES.get(name, name): value for name, value, usual in pairs if value != usual}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _number(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _quoted(text: str) -> str:
    # A basic string of TOML has JSON's escapes.
    return json.dumps(text, ensure_ascii=False)
