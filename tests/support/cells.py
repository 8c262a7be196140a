"""Random cells of the whole space, and small networks of them."""

from __future__ import annotations

import random
from dataclasses import replace

from nasnet.errors import InputError
from nasnet.network.spec import (
    OPERATIONS,
    PRESETS,
    Block,
    Combination,
    Genotype,
    Spec,
    genotype,
)

# A network whose vectors take milliseconds.
SMALL = replace(PRESETS["cifar"], name="small", num_cells=3, num_conv_filters=8, stem_filters=8)
_HOW: tuple[Combination, ...] = ("add", "concat")


def random_cell(chance: random.Random, blocks: int = 5) -> Genotype:
    """A cell of the space; drawn again where nothing would read its input."""
    while True:
        rows = [
            Block(
                left=(chance.choice(OPERATIONS), chance.randrange(number + 2)),
                right=(chance.choice(OPERATIONS), chance.randrange(number + 2)),
                combine=chance.choice(_HOW),
            )
            for number in range(blocks)
        ]
        try:
            return genotype(rows)
        except InputError:
            continue


def random_spec(seed: int, **values: object) -> Spec:
    """A small network of two random cells, on the skeletons in turn."""
    chance = random.Random(seed)
    return replace(
        list(PRESETS.values())[seed % len(PRESETS)],
        name="random",
        **{  # type: ignore[arg-type]
            "stem_filters": 6,
            "num_conv_filters": 9,
            "num_cells": 3,
            "num_classes": 5,
            "image_size": 32,
            **values,
        },
        normal=random_cell(chance),
        reduction=random_cell(chance),
    )


def all_kinds() -> Spec:
    """A small network in whose cells each operation and each combination stands."""
    halves = OPERATIONS[:7], (*OPERATIONS[7:], "none")
    cells = [
        genotype(
            [
                Block(
                    left=(operation, number % (number // 2 + 2)),
                    right=(operations[-1 - number], 0),
                    combine=_HOW[number % 2],
                )
                for number, operation in enumerate(operations)
            ]
        )
        for operations in halves
    ]
    return replace(random_spec(0), name="kinds", normal=cells[0], reduction=cells[1])
