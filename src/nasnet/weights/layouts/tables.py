"""How published formats call the variables: tables of templates, one a layout.

Data only, read from the code bases that are named beside each table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Axes = tuple[int, ...]

_OIHW: Axes = (3, 2, 0, 1)  # from HWIO; a depthwise [k, k, C, 1] becomes [C, 1, k, k]
_TORCH_AXES: Mapping[str, Axes] = {
    "weights": _OIHW,
    "pointwise_weights": _OIHW,
    "depthwise_weights": (2, 3, 0, 1),
    "dense": (1, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way to name and to store the variables of a network.

    Templates of slots are filled with `cell` (the layout's name of the cell), `kind` (`normal` or
    `reduction`), `n` and `side` (of `comb_iter_n/side`), `number` (what the layout counts that
    branch as), `j` and `j0` (which of two stacked layers, from 1 and from 0). Templates of cells
    are filled with what `naming._cell_fields` gives.

    Attributes:
        title: what to call it.
        separator: what stands between the parts of a name.
        cells: templates of the cells' names: `stem`, `normal` and `reduction`.
        slots: what holds variables -> template of its name. Empty where names are TF-Slim's own
            but for the separator.
        leaves: last part of the TF-Slim name -> what stands after the slot's name.
        axes: last part of the TF-Slim name -> axes of TF-Slim's array in the layout's order.
        branches: (kind, n, side) -> what the layout calls that branch, where it has a rule of
            its own; (n + 1) is the number otherwise.
        mean: what the network it was trained as subtracts from pictures in [0, 1], if that is not
            0.5; with `std` it is put into the first layer.
        std: what it divides by.
        notes: what a user should know about weights that come in this layout.
    """

    title: str
    separator: str
    cells: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    leaves: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, Axes] = field(default_factory=dict)
    branches: Mapping[tuple[str, int, str], str] = field(default_factory=dict)
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()


_SAME = {name: name for name in ("beta", "gamma", "moving_mean", "moving_variance")}
_SLIM_LEAVES = {
    **_SAME,
    **{name: name for name in ("weights", "depthwise_weights", "pointwise_weights", "biases")},
}
_TORCH_NORM = {
    "beta": "bias",
    "gamma": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SLIM = Layout(title="TF-Slim", separator="/")

# keras.applications.NASNetMobile and NASNetLarge: (layer, variable). The reduction cells' fifth
# block is called the fourth there.
_KERAS = Layout(
    title="Keras",
    separator="/",
    cells={"stem": "stem_{i1}", "normal": "{keras}", "reduction": "reduce_{before}"},
    slots={
        "conv0": "stem_conv1",
        "conv0_bn": "stem_bn1",
        "1x1": "{kind}_conv_1_{cell}",
        "beginning_bn": "{kind}_bn_1_{cell}",
        "prev_1x1": "adjust_conv_projection_{cell}",
        "prev_bn": "adjust_bn_{cell}",
        "path1_conv": "adjust_conv_1_{cell}",
        "path2_conv": "adjust_conv_2_{cell}",
        "final_path_bn": "adjust_bn_{cell}",
        "separable": "separable_conv_{j}_{kind}_{side}{number}_{cell}",
        "bn_sep": "separable_conv_{j}_bn_{kind}_{side}{number}_{cell}",
        "dense": "predictions",
    },
    leaves={
        **_SAME,
        "weights": "kernel",
        "depthwise_weights": "depthwise_kernel",
        "pointwise_weights": "pointwise_kernel",
        "biases": "bias",
    },
    branches={("reduction", 4, "left"): "4"},
    notes=(
        "vectors are TF-Slim's; keras.applications itself pads otherwise: padding=keras gives its "
        "numbers",
    ),
)

# Cadene's pretrainedmodels; timm's nasnetalarge has the same keys. Cells keep the large network's
# numbers in the mobile one too.
_CADENE_CELLS = {
    "stem": "cell_stem_{i}",
    "normal": "cell_{cadene}",
    "reduction": "reduction_cell_{i}",
}
_CADENE = Layout(
    title="Cadene's pretrainedmodels",
    separator=".",
    cells=_CADENE_CELLS,
    slots={
        "conv0": "conv0.conv",
        "conv0_bn": "conv0.bn",
        "1x1": "{cell}.conv_1x1.conv",
        "beginning_bn": "{cell}.conv_1x1.bn",
        "prev_1x1": "{cell}.conv_prev_1x1.conv",
        "prev_bn": "{cell}.conv_prev_1x1.bn",
        "path1_conv": "{cell}.path_1.conv",
        "path2_conv": "{cell}.path_2.conv",
        "final_path_bn": "{cell}.final_path_bn",
        "separable": "{cell}.comb_iter_{n}_{side}.separable_{j}",
        "bn_sep": "{cell}.comb_iter_{n}_{side}.bn_sep_{j}",
        "dense": "last_linear",
    },
    leaves={
        **_TORCH_NORM,
        "weights": "weight",
        "depthwise_weights": "depthwise_conv2d.weight",
        "pointwise_weights": "pointwise_conv2d.weight",
        "biases": "bias",
    },
    axes=_TORCH_AXES,
)

# This package's own networks in PyTorch.
_TORCH = Layout(title="nasnet.torch", separator=".", axes=_TORCH_AXES)

# mindcv's nasnet_a_4x1056 (MindSpore), after Cadene's. It was trained from scratch.
_MINDCV = Layout(
    title="mindcv",
    separator=".",
    cells=_CADENE_CELLS,
    slots={
        **_CADENE.slots,
        "conv0": "conv0.0",
        "conv0_bn": "conv0.1",
        "1x1": "{cell}.conv_1x1.1",
        "beginning_bn": "{cell}.conv_1x1.2",
        "prev_1x1": "{cell}.conv_prev_1x1.1",
        "prev_bn": "{cell}.conv_prev_1x1.2",
        "path1_conv": "{cell}.path_1.1",
        "path2_conv": "{cell}.path_2.2",
        "dense": "classifier",
    },
    leaves={**_CADENE.leaves, **_SAME},
    axes=_TORCH_AXES,
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    notes=(
        "mindcv trained these weights with another padding than TF-Slim's in some reduction cells: "
        "features differ from what mindcv computes",
    ),
)

# pytorchcv's (imgclsmob's) nasnet_4a1056 and nasnet_6a4032, trained anew.
_PYTORCHCV = Layout(
    title="pytorchcv",
    separator=".",
    cells={
        "stem": "features.stem{i1}_unit",
        "normal": "features.stage{stage1}.unit{unit}",
        "reduction": "features.stage{i2}.unit1",
    },
    slots={
        "conv0": "features.init_block.conv",
        "conv0_bn": "features.init_block.bn",
        "1x1": "{cell}.conv1x1.conv",
        "beginning_bn": "{cell}.conv1x1.bn",
        "prev_1x1": "{cell}.conv1x1_prev.conv",
        "prev_bn": "{cell}.conv1x1_prev.bn",
        "path1_conv": "{cell}.path.path1.conv",
        "path2_conv": "{cell}.path.path2.conv",
        "final_path_bn": "{cell}.path.bn",
        "separable": "{cell}.comb{n}_{side}.conv{j}.conv",
        "bn_sep": "{cell}.comb{n}_{side}.conv{j}.bn",
        "dense": "output.fc",
    },
    leaves={
        **_TORCH_NORM,
        "weights": "weight",
        "depthwise_weights": "dw_conv.weight",
        "pointwise_weights": "pw_conv.weight",
        "biases": "bias",
    },
    axes=_TORCH_AXES,
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    notes=(
        "pytorchcv's weights take pictures normalized by ImageNet's mean and deviation: that was "
        "put into the first layer",
    ),
)

# TensorNets' nasnetAmobile and nasnetAlarge, below the scope of that name.
_TENSORNETS = Layout(
    title="TensorNets",
    separator="/",
    cells={"stem": "stem{i1}", "normal": "normal{i1}", "reduction": "reduction{before}"},
    slots={
        "conv0": "conv0/conv",
        "conv0_bn": "conv0/bn",
        "1x1": "{cell}/1x1/conv",
        "beginning_bn": "{cell}/1x1/bn",
        "prev_1x1": "{cell}/adjust/prev_1x1/conv",
        "prev_bn": "{cell}/adjust/prev_1x1/bn",
        "path1_conv": "{cell}/adjust/conv1",
        "path2_conv": "{cell}/adjust/conv2",
        "final_path_bn": "{cell}/adjust/bn",
        "separable": "{cell}/{number}/{j0}/sconv",
        "bn_sep": "{cell}/{number}/{j0}/bn",
        "dense": "logits",
        "aux_proj": "aux/proj/conv",
        "aux_bn0": "aux/proj/bn",
        "aux_conv": "aux/conv/conv",
        "aux_bn1": "aux/conv/bn",
        "aux_dense": "aux/logits",
    },
    leaves=_SLIM_LEAVES,
    branches={
        ("normal", 0, "left"): "right2",
        ("normal", 0, "right"): "left2",
        ("normal", 1, "left"): "left5",
        ("normal", 1, "right"): "right5",
        ("normal", 4, "left"): "left1",
        ("reduction", 0, "left"): "right1",
        ("reduction", 0, "right"): "left1",
        ("reduction", 1, "right"): "right2",
        ("reduction", 2, "right"): "right3",
        ("reduction", 4, "left"): "right4",
    },
)

LAYOUTS: Mapping[str, Layout] = {
    "slim": _SLIM,
    "keras": _KERAS,
    "cadene": _CADENE,
    "torch": _TORCH,
    "tensornets": _TENSORNETS,
    "mindcv": _MINDCV,
    "pytorchcv": _PYTORCHCV,
}
