"""The networks as tables: genotypes of the cells and the presets of the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nasnet.errors import InputError

CellOperation = Literal[
    "separable_3x3_2", "separable_5x5_2", "separable_7x7_2", "avg_pool_3x3", "max_pool_3x3", "none"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Genotype:
    """One searched cell (Zoph et al. 2018, section 3; TF-Slim `NasNetANormalCell` and its twin).

    State 0 is the cell's projected input, state 1 the adjusted input of the cell before; pair `i`
    of operations (left, right) adds up to state `i + 2`.

    Attributes:
        operations: left and right operation of each of the pairs, flattened.
        hiddenstate_indices: the state each operation reads, in the same order.
        used_hiddenstates: 1 for a state that is left out of the output's concatenation. It is
            carried over from TF-Slim, not derived: the trained weights depend on it.
    """

    operations: tuple[CellOperation, ...]
    hiddenstate_indices: tuple[int, ...]
    used_hiddenstates: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a row that no cell can be built from."""
        pairs = len(self.operations) // 2
        if len(self.operations) % 2 or len(self.hiddenstate_indices) != len(self.operations):
            raise InputError(
                f"a genotype needs two operations and two state indices per pair, found "
                f"{len(self.operations)} operations and {len(self.hiddenstate_indices)} indices"
            )
        if len(self.used_hiddenstates) != pairs + 2:
            raise InputError(
                f"a genotype of {pairs} pairs has {pairs + 2} states, "
                f"used_hiddenstates names {len(self.used_hiddenstates)}"
            )
        for position, index in enumerate(self.hiddenstate_indices):
            if not 0 <= index < position // 2 + 2:
                raise InputError(
                    f"operation {position} of a genotype reads state {index}, which is not made yet"
                )
        if all(self.used_hiddenstates):
            raise InputError("a genotype whose states are all used has an empty output")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One network of the family: TF-Slim's hyper-parameters under TF-Slim's names.

    Attributes:
        name: the preset's name, `mobile`, `large` or `cifar`, or one of your own.
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
    spec = PRESETS.get(name.removeprefix("nasnet_"))
    if spec is None:
        raise InputError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return spec
