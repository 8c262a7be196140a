"""From TF-Slim's names to a layout's and back: the tables of `tables`, filled in for a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.network.spec import PRESETS, Spec
from nasnet.weights.layouts.tables import LAYOUTS, Axes, Layout
from nasnet.weights.weights import Array, Weights

_BRANCH = re.compile(
    r"comb_iter_(?P<n>\d)/(?P<side>left|right)/(?P<slot>separable|bn_sep)_(?P<k>\d)x\d_(?P<j>\d)"
)
_HEADS = {"final_layer/FC": "dense", "conv0": "conv0", "conv0_bn": "conv0_bn"}
_AUX = {"proj": "aux_proj", "aux_bn0": "aux_bn0", "Conv": "aux_conv", "aux_bn1": "aux_bn1"}
# The variable that every network of the family has exactly once, by the kind of its stem.
STEMS = ("conv0/weights", "l1_stem_3x3/weights")
_MOST_SCOPES = 16  # in one file
_FEWEST = 8  # names that must fit before a file is taken for a network
_WIDE = 6  # normal cells in a third of the large network, whose numbers Cadene's mobile one keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a layout keeps a variable."""

    key: str  # its name there
    axes: Axes  # axes of TF-Slim's array in the order they have there

    @property
    def back(self) -> Axes:
        """Axes of the layout's array in TF-Slim's order."""
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape there of a variable that has this shape in TF-Slim."""
        return tuple(shape[axis] for axis in self.axes)


@cache
def places(layout: str, spec: str, classes: int, *, aux_head: bool = False) -> Mapping[str, Place]:
    """TF-Slim name -> where a layout, a key of `LAYOUTS`, keeps that variable of a network.

    Empty where the layout does not know the network; without the auxiliary head's variables where
    it does not know these.
    """
    table, row = LAYOUTS[layout], decode(spec)
    if table.slots and (row.stem != "imagenet" or spec not in PRESETS):
        return {}
    plan = build_plan(row, num_classes=classes, aux_head=aux_head)
    found: dict[str, Place] = {}
    for name, shape in plan.parameters.items():
        place = _place(table, row, name, len(shape))
        if place is not None:
            found[name] = place
    return found


def arrays_in(weights: Weights, layout: str) -> dict[str, Array]:
    """The arrays of a network by the names and in the axes of a layout, a key of `LAYOUTS`.

    The auxiliary head is taken along where the weights and the layout have it.
    """
    aux_head = any(name.startswith("aux_") for name in weights.arrays)
    found = places(layout, weights.spec, weights.num_classes, aux_head=aux_head)
    return {
        place.key: np.ascontiguousarray(weights.arrays[name].transpose(place.axes))
        for name, place in found.items()
        if name in weights.arrays
    }


def _place(layout: Layout, spec: Spec, name: str, dimensions: int) -> Place | None:
    scope, leaf = name.rsplit("/", 1)
    slot, fields = _slot(scope)
    kind = "dense" if leaf == "weights" and dimensions == 2 else leaf
    axes = layout.axes.get(kind, tuple(range(dimensions)))
    if not layout.slots:
        return Place(key=name.replace("/", layout.separator), axes=axes)
    template = layout.slots.get(slot)
    if template is None:
        return None
    cell = scope.partition("/")[0]
    if cell.startswith(("cell_", "reduction_cell_")):
        part, i = _cell(cell)
        fields["kind"] = "normal" if part == "normal" else "reduction"
        fields["cell"] = layout.cells[part].format(**_cell_fields(spec, part, i))
        if "n" in fields:
            branch = (fields["kind"], int(fields["n"]), fields["side"])
            fields["number"] = layout.branches.get(branch, str(int(fields["n"]) + 1))
    key = template.format(**fields) + layout.separator + layout.leaves[leaf]
    return Place(key=key, axes=axes)


def _slot(scope: str) -> tuple[str, dict[str, str]]:
    """What holds a variable, and the numbers in its name."""
    if scope in _HEADS:
        return _HEADS[scope], {}
    cell, _, rest = scope.partition("/")
    if cell.startswith("aux_"):
        return _AUX.get(rest.removeprefix("aux_logits/"), "aux_dense"), {}
    match = _BRANCH.fullmatch(rest)
    if match is None:
        return rest, {}
    fields = {key: match[key] for key in ("n", "side", "j")}
    return match["slot"], fields | {"j0": str(int(match["j"]) - 1)}


def _cell(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("_")
    parts = {"cell_stem": "stem", "cell": "normal", "reduction_cell": "reduction"}
    return parts[stem], int(number)


def _cell_fields(spec: Spec, part: str, i: int) -> dict[str, int]:
    """The numbers by which layouts call a cell.

    `i` counts the cells of its part (`stem`, `normal` or `reduction`) from 0, as TF-Slim does, `i1`
    and `i2` from 1 and 2. Of normal cells: `keras` counts the reductions as one, `cadene` has six
    a stage, `stage1` and `unit` are the third of the network from 1, and the place there, after
    the reduction. Of reductions: `before` is the number of normal cells before it.
    """
    third = spec.num_cells // (spec.num_reduction_layers + 1)
    stage, place = divmod(i, third)
    return {
        "i": i,
        "i1": i + 1,
        "i2": i + 2,
        "before": (i + 1) * third,
        "keras": i + (stage > 0),
        "cadene": stage * _WIDE + place,
        "stage1": stage + 1,
        "unit": place + 1 + (stage > 0),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a set of names was found to be.

    Attributes:
        layout: a key of `LAYOUTS`.
        spec: the preset's name.
        scope: what stands before every name.
        stored: TF-Slim name -> the name it has in the file.
        places: TF-Slim name -> where the layout keeps it, of all that the network has.
        scopes: if there are several networks, what stands before each.
    """

    layout: str
    spec: str
    scope: str
    stored: Mapping[str, str]
    places: Mapping[str, Place]
    scopes: tuple[str, ...]


def recognise(keys: Iterable[str]) -> Recognised | None:
    """The layout and network that most names of a file fit, or None if hardly any fits one.

    A scope before all of them (a user's graph, `module.` of torch's DataParallel) and `:0` behind
    them do not matter; of Keras' names the last two parts count, the layer's and the variable's.
    """
    names = {key.removesuffix(":0"): key for key in keys}
    best: Recognised | None = None
    for layout, table in LAYOUTS.items():
        if layout == "keras":
            short = {"/".join(name.split("/")[-2:]): key for name, key in names.items()}
            candidates: dict[str, dict[str, str]] = {"": short}
        else:
            candidates = {
                scope: {
                    name.removeprefix(scope): key
                    for name, key in names.items()
                    if name.startswith(scope)
                }
                for scope in _scopes(layout, table.separator, names)
            }
        for spec in PRESETS:
            known = places(layout, spec, 1, aux_head=True)
            for scope, stored in candidates.items():
                fits = {name: stored[p.key] for name, p in known.items() if p.key in stored}
                # More names that fit; where two networks fit equally, the smaller one.
                if len(fits) < _FEWEST or (
                    best is not None
                    and (len(fits), -len(known)) <= (len(best.stored), -len(best.places))
                ):
                    continue
                best = Recognised(
                    layout=layout,
                    spec=spec,
                    scope=scope,
                    stored=fits,
                    places=known,
                    scopes=tuple(candidates),
                )
    return best


def _scopes(layout: str, separator: str, names: Iterable[str]) -> list[str]:
    """What may stand before the names: nothing, or what stands before the first layer's."""
    anchors = {
        found[anchor].key
        for spec in PRESETS
        for found in (places(layout, spec, 1, aux_head=True),)
        for anchor in STEMS
        if anchor in found
    }
    scopes = {
        name.removesuffix(anchor)
        for name in names
        for anchor in anchors
        if name == anchor or name.endswith(f"{separator}{anchor}")
    }
    # A network without a scope is the file's own, whatever else was saved beside it.
    return [""] if "" in scopes or not scopes else sorted(scopes)[:_MOST_SCOPES]
