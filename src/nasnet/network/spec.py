"""The networks as tables: genotypes of the cells and the presets of the family."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from nasnet.errors import InputError, check_ranges
from nasnet.text import check_known

# The thirteen operations of Zoph et al. 2018, section 3, under the names of TF-Slim and, where it
# has none, of the same authors' AmoebaNet code; `build` says what each is.
CellOperation = Literal[
    "none",  # identity
    "1x3_3x1",
    "1x7_7x1",
    "dilated_3x3_rate_2",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "1x1",
    "3x3",
    "separable_3x3_2",
    "separable_5x5_2",
    "separable_7x7_2",
]
OPERATIONS: tuple[CellOperation, ...] = get_args(CellOperation)
Combination = Literal["add", "concat"]
_MOST_BLOCKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Genotype:
    """One searched cell (Zoph et al. 2018, section 3; TF-Slim `NasNetANormalCell` and its twin).

    State 0 is the cell's projected input, state 1 the adjusted input of the cell before; block `i`
    combines its pair of operations (left, right) to state `i + 2`.

    Attributes:
        operations: left and right operation of each of the blocks, flattened.
        hiddenstate_indices: the state each operation reads, in the same order.
        used_hiddenstates: 1 for a state that is left out of the output's concatenation. It is
            carried over from TF-Slim, not derived: the trained weights depend on it. `genotype`
            derives it as the paper does.
        combine: how each block combines its two, `add` (elementwise) or `concat` (side by side,
            twice as wide); empty for `add` in all.
    """

    operations: tuple[CellOperation, ...]
    hiddenstate_indices: tuple[int, ...]
    used_hiddenstates: tuple[int, ...]
    combine: tuple[Combination, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a row that no cell can be built from, or parts of which nothing would read."""
        count = len(self.operations) // 2
        if len(self.operations) % 2 or len(self.hiddenstate_indices) != len(self.operations):
            raise InputError(
                f"a genotype needs two operations and two state indices per pair, found "
                f"{len(self.operations)} operations and {len(self.hiddenstate_indices)} indices"
            )
        if count > _MOST_BLOCKS:
            raise InputError(f"a genotype has at most {_MOST_BLOCKS} pairs, found {count}")
        for operation in self.operations:
            check_known("operation", operation, OPERATIONS)
        if len(self.used_hiddenstates) != count + 2:
            raise InputError(
                f"a genotype of {count} pairs has {count + 2} states, "
                f"used_hiddenstates names {len(self.used_hiddenstates)}"
            )
        for position, index in enumerate(self.hiddenstate_indices):
            if not 0 <= index < position // 2 + 2:
                raise InputError(
                    f"block {position // 2} of a genotype reads state {index}, which is not made "
                    f"yet: it may read 0 to {position // 2 + 1}"
                )
        combine = self.combine or ("add",) * count
        if len(combine) != count or not {*combine} <= {"add", "concat"}:
            raise InputError(
                f"a genotype of {count} pairs needs as many of add or concat, found {combine}"
            )
        object.__setattr__(self, "combine", combine)
        if all(self.used_hiddenstates):
            raise InputError("a genotype whose states are all used has an empty output")
        read = {*self.hiddenstate_indices, *self.output}
        if 0 not in read:
            raise InputError("no block of a genotype reads state 0, the cell's input")
        for block in range(count):
            if block + 2 not in read:
                raise InputError(
                    f"block {block} of a genotype is dead: nothing reads state {block + 2}, and "
                    "it is not in the output"
                )

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, in order."""
        sides = tuple(zip(self.operations, self.hiddenstate_indices, strict=True))
        rows = zip(sides[::2], sides[1::2], self.combine, strict=True)
        return tuple(Block(left=left, right=right, combine=how) for left, right, how in rows)

    @property
    def output(self) -> tuple[int, ...]:
        """The states that the output concatenates."""
        return tuple(i for i, used in enumerate(self.used_hiddenstates) if not used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Two operations with the states they read, and how their results are combined."""

    left: tuple[CellOperation, int]
    right: tuple[CellOperation, int]
    combine: Combination = "add"

    @property
    def sides(self) -> tuple[tuple[CellOperation, int], tuple[CellOperation, int]]:
        """Both operations, the left one first."""
        return self.left, self.right


def genotype(blocks: Iterable[Block], output: Iterable[int] | None = None) -> Genotype:
    """The genotype of these blocks.

    The blocks come in an order in which each reads only earlier states. The output concatenates all
    states that no block reads, as in the paper's cells, if it is not given.

    Raises:
        InputError: no cell can be built from it; the text says which block.
    """
    rows = list(blocks)
    sides = [side for block in rows for side in block.sides]
    read = {state for _, state in sides}
    states = range(len(rows) + 2)
    chosen = {i for i in states if i not in read} if output is None else {*output}
    unknown = sorted(chosen - {*states})
    if unknown:
        raise InputError(f"the output of a genotype names state {unknown[0]}, which no block makes")
    if output is None and rows:
        # The paper's rule is for what the cell makes; an input that nothing reads is left out.
        chosen -= {0, 1}
    return Genotype(
        operations=tuple(operation for operation, _ in sides),
        hiddenstate_indices=tuple(state for _, state in sides),
        used_hiddenstates=tuple(int(i not in chosen) for i in states),
        combine=tuple(block.combine for block in rows),
    )


NORMAL_A = Genotype(
    operations=(
        *("separable_5x5_2", "separable_3x3_2"),
        *("separable_5x5_2", "separable_3x3_2"),
        *("avg_pool_3x3", "none"),
        *("avg_pool_3x3", "avg_pool_3x3"),
        *("separable_3x3_2", "none"),
    ),
    hiddenstate_indices=(0, 1, 1, 1, 0, 1, 1, 1, 0, 0),
    used_hiddenstates=(1, 0, 0, 0, 0, 0, 0),
)

REDUCTION_A = Genotype(
    operations=(
        *("separable_5x5_2", "separable_7x7_2"),
        *("max_pool_3x3", "separable_7x7_2"),
        *("avg_pool_3x3", "separable_5x5_2"),
        *("none", "avg_pool_3x3"),
        *("separable_3x3_2", "max_pool_3x3"),
    ),
    hiddenstate_indices=(0, 1, 0, 1, 0, 1, 3, 2, 2, 0),
    used_hiddenstates=(1, 1, 1, 0, 0, 0, 0),
)


# Least and most of a spec's values. A code may come with a stranger's file: what it asks for is
# kept to what a machine can hold.
_RANGES = {
    "stem_filters": "[1, 4096]",
    "num_conv_filters": "[4, 4096]",
    "num_cells": "[1, 200]",
    "num_reduction_layers": "[0, 8]",
    "filter_scaling_rate": "[1, 4]",
    "drop_path_keep_prob": "[0.01, 1]",
    "dense_dropout_keep_prob": "[0.01, 1]",
    "total_training_steps": "[1, 1e12]",
    "batch_norm_decay": "[0, 1]",
    "batch_norm_epsilon": "[1e-12, 1]",
    "weight_decay": "[0, 1]",
    "image_size": "[32, 4096]",
    "num_classes": "[0, 1e6]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One network of the family: TF-Slim's hyper-parameters under TF-Slim's names.

    Attributes:
        name: the preset's name, `mobile`, `large` or `cifar`, or one of your own: letters, digits,
            `_` and `-`.
        stem: `imagenet` (strided convolution, two reduction cells) or `cifar` (one convolution).
        stem_filters: output channels of the stem's convolution (`int(32 * stem_multiplier)`).
        num_conv_filters: filters of the first normal cells.
        num_cells: normal cells; reduction cells come on top.
        num_reduction_layers: reduction cells between them.
        filter_scaling_rate: factor on the filters at each reduction cell.
        skip_reduction_layer_input: whether the normal cell after a reduction takes its previous
            input from before the reduction's own input.
        drop_path_keep_prob: keep probability of the last cell at the end of training.
        dense_dropout_keep_prob: keep probability in front of the classifier, in training.
        total_training_steps: where the path dropout's ramp ends.
        batch_norm_decay: TF-Slim's decay of the moving averages.
        batch_norm_epsilon: as configured; TensorFlow's fused kernel uses at least 1.001e-5.
        weight_decay: L2 factor of TF-Slim's arg scope.
        image_size: default height and width in pixels.
        num_classes: classes of the published classifier, background included.
        normal: the normal cell.
        reduction: the reduction cell.
    """

    name: str
    stem: Literal["imagenet", "cifar"]
    stem_filters: int
    num_conv_filters: int
    num_cells: int
    num_reduction_layers: int = 2
    filter_scaling_rate: float = 2.0
    skip_reduction_layer_input: bool
    drop_path_keep_prob: float
    dense_dropout_keep_prob: float
    total_training_steps: int
    batch_norm_decay: float
    batch_norm_epsilon: float
    weight_decay: float
    image_size: int
    num_classes: int
    normal: Genotype = NORMAL_A
    reduction: Genotype = REDUCTION_A

    def __post_init__(self) -> None:
        """Refuse a name that does not fit a code, a file or a scope, and what is out of range."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise InputError(f"a network's name has letters, digits, _ and -; found {self.name!r}")
        check_ranges(self, _RANGES)
        check_known("stem", self.stem, ("imagenet", "cifar"))

    @property
    def reduction_indices(self) -> tuple[int, ...]:
        """The normal cells that a reduction cell precedes (`calc_reduction_layers` of TF-Slim)."""
        layers = self.num_reduction_layers
        return tuple(int(i / (layers + 1) * self.num_cells) for i in range(1, layers + 1))

    @property
    def total_num_cells(self) -> int:
        """Cells that path dropout counts, those of the stem included."""
        stem_cells = 2 if self.stem == "imagenet" else 0
        return self.num_cells + self.num_reduction_layers + stem_cells


MOBILE = Spec(
    name="mobile",
    stem="imagenet",
    stem_filters=32,
    num_conv_filters=44,
    num_cells=12,
    skip_reduction_layer_input=False,
    drop_path_keep_prob=1.0,
    dense_dropout_keep_prob=0.5,
    total_training_steps=250_000,
    batch_norm_decay=0.9997,
    batch_norm_epsilon=1e-3,
    weight_decay=4e-5,
    image_size=224,
    num_classes=1001,
)

LARGE = Spec(
    name="large",
    stem="imagenet",
    stem_filters=96,
    num_conv_filters=168,
    num_cells=18,
    skip_reduction_layer_input=True,
    drop_path_keep_prob=0.7,
    dense_dropout_keep_prob=0.5,
    total_training_steps=250_000,
    batch_norm_decay=0.9997,
    batch_norm_epsilon=1e-3,
    weight_decay=5e-5,
    image_size=331,
    num_classes=1001,
)

CIFAR = Spec(
    name="cifar",
    stem="cifar",
    stem_filters=96,
    num_conv_filters=32,
    num_cells=18,
    skip_reduction_layer_input=False,
    drop_path_keep_prob=0.6,
    dense_dropout_keep_prob=1.0,
    total_training_steps=937_500,
    batch_norm_decay=0.9,
    batch_norm_epsilon=1e-5,
    weight_decay=5e-4,
    image_size=32,
    num_classes=10,
)

PRESETS: dict[str, Spec] = {spec.name: spec for spec in (MOBILE, LARGE, CIFAR)}


def preset(name: str) -> Spec:
    """The preset of that name; `nasnet_mobile` and `mobile` are the same.

    Raises:
        InputError: there is no such preset; the text lists them.
    """
    known = name.removeprefix("nasnet_")
    check_known("preset", known, PRESETS)
    return PRESETS[known]
