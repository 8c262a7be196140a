"""The order in which Keras lists the layers of its NASNet: what a `.weights.h5` is numbered by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.network.plan import IMAGES, Operation, Plan
from nasnet.weights import layouts

# Operation -> layers that Keras makes of it, one behind the other; 1 if it is not here. A strided
# depthwise convolution is padded by a layer, and so is a strided pool; a factorized reduction
# picks its pixels by pools of one pixel, the second time from a padded and cropped map.
_LAYERS: Mapping[str, int] = {"rescale": 0, "shift": 2, "dropout": 0, "drop_path": 0}
_CLASSES = {"conv": "conv2d", "batch_norm": "batch_normalization", "dense": "dense"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A layer of Keras, or several that stand for one operation."""

    inputs: tuple[str, ...]  # names of the nodes it reads
    length: int  # layers from its inputs to its result
    kind: str  # the class that Keras numbers it by, empty if it has no weights
    layer: str  # its name in Keras


def keras_layers(spec: str, *, classes: int) -> dict[str, str]:
    """The layers with weights, by the names that Keras 3 stores them under.

    Keras sorts layers by depth, the longest way to the output, and those of one depth by when a
    walk back from the output first meets them (`map_graph` of its functional models); in a file
    each is called by its class and how many of that class came before.

    Args:
        spec: `mobile` or `large`.
        classes: 0 for a file without the top.

    Returns:
        Name in the file (`separable_conv2d_7`) -> layer (`separable_conv_1_normal_left1_0`).
    """
    plan = build_plan(decode(spec), num_classes=classes, padding="keras")
    nodes = _nodes(plan, spec, classes)
    last = plan.endpoints["Predictions" if classes else "global_pool"]
    walk = _walk(nodes, last)
    depths = dict.fromkeys(walk, 0)
    for name in reversed([op.name for op in plan.operations if op.name in depths]):
        for source in nodes[name].inputs:
            depths[source] = max(depths[source], depths[name] + nodes[name].length)
    position = {name: number for number, name in enumerate(walk)}
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in sorted(walk, key=lambda name: (-depths[name], position[name])):
        node = nodes[name]
        if node.kind:
            number = counts.get(node.kind, 0)
            counts[node.kind] = number + 1
            found[f"{node.kind}_{number}" if number else node.kind] = node.layer
    return found


def _nodes(plan: Plan, spec: str, classes: int) -> dict[str, _Node]:
    places = layouts.places("keras", spec, classes)
    nodes: dict[str, _Node] = {}
    pointwise: set[str] = set()
    for op in plan.operations:
        layer = places[op.parameters[0]].key.split("/")[0] if op.parameters else ""
        kind = _CLASSES.get(op.kind, "") if op.parameters else ""
        if op.kind == "depthwise":  # with the pointwise one behind it, one layer
            kind = "separable_conv2d"
            pointwise.add(op.name)
        if op.inputs and op.inputs[0] in pointwise:
            nodes[op.name] = _Node(inputs=op.inputs, length=0, kind="", layer="")
            continue
        inputs = tuple(name for name in op.inputs if name != IMAGES)
        nodes[op.name] = _Node(inputs=inputs, length=_length(op), kind=kind, layer=layer)
    return nodes


def _length(op: Operation) -> int:
    strided = op.stride > 1 and op.kind in ("depthwise", "avg_pool", "max_pool")
    picked = op.stride > 1 and op.kind == "conv" and op.kernel == (1, 1)
    return _LAYERS.get(op.kind, 1) + int(strided or picked)


def _walk(nodes: Mapping[str, _Node], end: str) -> list[str]:
    """Nodes as a walk back from the end first meets them, each before what it reads."""
    found: dict[str, None] = {}
    ahead = [end]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = None
            ahead.extend(reversed(nodes[name].inputs))
    return list(found)
