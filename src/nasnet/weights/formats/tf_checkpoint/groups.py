"""Which tensors of a training checkpoint are weights, which their averages, which neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_AVERAGE = "/ExponentialMovingAverage"

# Last parts of names that belong to optimizers and bookkeeping; TensorFlow makes them unique by
# adding _1, _2 and so on, which also is how RMSProp and Adam call their second slot.
_IGNORED_LEAVES = (
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Ftrl",
    "LARSOptimizer",
    "Momentum",
    "RMSProp",
    "beta1_power",
    "beta2_power",
    "global_step",
    "learning_rate",
    "biased",  # these two: zero-debiased moving averages
    "local_step",
)
_IGNORED_NAMES = ("_CHECKPOINTABLE_OBJECT_GRAPH",)
# TensorFlow 2's object-based names, as (start, part): both must be there.
_IGNORED_PATHS = (
    ("", "/.OPTIMIZER_SLOT/"),
    ("optimizer/", "/.ATTRIBUTES/"),
    ("save_counter/", ".ATTRIBUTES/"),
)
_IGNORED_LEAF = re.compile(rf"(?:{'|'.join(_IGNORED_LEAVES)})(?:_\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGroups:
    """The names of a checkpoint, sorted by what they are for.

    Attributes:
        plain: variables of the network, under the names they are stored by.
        averages: plain name -> the name its exponential moving average is stored by; the plain
            variable itself may be missing.
        ignored: optimizer slots, counters and other bookkeeping.
    """

    plain: tuple[str, ...]
    averages: Mapping[str, str]
    ignored: tuple[str, ...]


def group_names(names: Iterable[str]) -> NameGroups:
    """Tell the weights in a checkpoint from their averages and from an optimizer's state."""
    plain, ignored = [], []
    averages: dict[str, str] = {}
    for name in names:
        if _is_ignored(name):
            ignored.append(name)
        elif name.endswith(_AVERAGE):
            averages[name.removesuffix(_AVERAGE)] = name
        else:
            plain.append(name)
    return NameGroups(plain=tuple(plain), averages=averages, ignored=tuple(ignored))


def _is_ignored(name: str) -> bool:
    leaf = name.rpartition("/")[2]
    return (
        _IGNORED_LEAF.fullmatch(leaf) is not None
        or name in _IGNORED_NAMES
        or any(name.startswith(start) and part in name for start, part in _IGNORED_PATHS)
    )
