"""Whose names are these? The layout and the network that a file's names belong to.

Private to `names`, offered by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nasnet.network.spec import PRESETS
from nasnet.weights.layouts.layouts import LAYOUTS
from nasnet.weights.layouts.places import Place, places

# The variable that every network of the family has exactly once, by the kind of its stem.
STEMS = ("conv0/weights", "l1_stem_3x3/weights")
_MOST_SCOPES = 16  # networks in one file that are told from each other
_FEWEST = 8  # names that must fit before a file is taken for a network


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
    """Tell which layout and network names belong to.

    A scope before all of them (a user's graph, `module.` of torch's DataParallel) and `:0` behind
    them do not matter; of Keras' names the last two parts count, the layer's and the variable's.

    Args:
        keys: all names of a file.

    Returns:
        The layout and network that most of them fit, or None if hardly any fits one.
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
                # More names that fit; of two networks alike, the smaller one.
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
    return sorted(scopes)[:_MOST_SCOPES] or [""]
