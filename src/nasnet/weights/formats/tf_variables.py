"""TensorFlow's variables out of a V2 checkpoint, a SavedModel or a TF1 hub module.

Training checkpoints also hold optimizer slots, counters and moving averages; the names tell which
tensors are the network's. In TensorFlow 2's files the object graph gives the variables' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.weights import genuine, layouts
from nasnet.weights.formats import tf_checkpoint, tf_hub
from nasnet.weights.formats.base import Averages, Content, Stored
from nasnet.weights.formats.protobuf import MalformedError, Message
from nasnet.weights.formats.tf_checkpoint import Checkpoint
from nasnet.weights.layouts import Recognised

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
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


def read_checkpoint(path: Path, averages: Averages) -> Content:
    """Read a V2 checkpoint, given by its prefix, index file or folder.

    Raises:
        WeightsError: it is damaged, or has not the set of `averages` that was asked for.
    """
    checkpoint = tf_checkpoint.open_checkpoint(path)
    index = f"{checkpoint.prefix}.index"
    keys = _keys(checkpoint)
    groups = group_names(keys)
    plain = {name: keys[name] for name in groups.plain}
    moved = {name: keys[stored] for name, stored in groups.averages.items()}
    # Variables beside the network may have averages where it has none, and the other way round.
    found = layouts.recognise({**plain, **moved})
    if found is not None:
        names = set(found.stored.values())
        moved = {name: key for name, key in moved.items() if name in names}
        if averages == "plain" and names.isdisjoint(plain):
            raise WeightsError(f"{index}: has moving averages only, no plain variables")
    if averages == "average" and not moved:
        raise WeightsError(f"{index}: has no moving averages (names .../ExponentialMovingAverage)")
    chosen = {**plain, **moved}
    # A tie, usually of no matches at all, goes to the averages: they are what training is run for.
    if averages == "plain" or (
        averages == "auto"
        and found is not None
        and moved
        and _matches(checkpoint, found, plain) > _matches(checkpoint, found, chosen)
    ):
        chosen = plain
    averaged = bool(moved) and chosen is not plain
    notes: tuple[str, ...] = ()
    if moved:
        which = "their moving averages" if averaged else "the plain variables"
        notes = (f"{len(moved)} variables have moving averages; {which} were taken",)
    tensors = {
        name: Stored(
            shape=checkpoint.entries[key].shape,
            read=partial(tf_checkpoint.read_tensor, checkpoint, key),
        )
        for name, key in chosen.items()
    }
    return Content(
        title="TensorFlow V2 checkpoint",
        tensors=tensors,
        notes=notes,
        file=checkpoint.prefix,
        averaged=averaged,
    )


def read_saved_model(path: Path, averages: Averages) -> Content:
    """Read the variables of a SavedModel: Keras', or a hub module's of version 4 or 5.

    Raises:
        WeightsError: it has none, or is damaged.
    """
    variables = path / "variables" / "variables"
    if not tf_checkpoint.is_checkpoint(variables):
        raise WeightsError(f"{path}: this SavedModel has no variables/variables.index")
    return replace(read_checkpoint(variables, averages), title="SavedModel", file=path)


def read_hub_module(path: Path, averages: Averages) -> Content:
    """Read a TF1 hub module's folder: variables, task and picture size.

    Raises:
        WeightsError: it is damaged or incomplete.
    """
    module = tf_hub.read_hub_module(path)
    # The training graph has the same signatures; a module may come with it alone.
    variant = module.variants.get(frozenset()) or next(iter(module.variants.values()))
    classifies = "image_classification" in variant.signatures
    return replace(
        read_checkpoint(module.variables, averages),
        title="TF1 hub module",
        file=path,
        task="classification" if classifies else "feature_vector",
        image_size=tf_hub.image_size(variant.attachments),
    )


def _matches(checkpoint: Checkpoint, found: Recognised, keys: Mapping[str, str]) -> int:
    """How many of the network's tensors, taken from these keys, are the published ones."""
    table = genuine.published_table(found.spec)

    def read(name: str) -> npt.NDArray[np.float32] | None:
        key = keys.get(found.stored[name])
        if key is None:
            return None
        return tf_checkpoint.read_tensor(checkpoint, key).transpose(found.places[name].back)

    return genuine.count_matches(table.keys() & found.stored.keys(), read, table)


def _keys(checkpoint: Checkpoint) -> dict[str, str]:
    """Name of a variable -> key of its tensor in the checkpoint.

    Source: TensorFlow's trackable_object_graph.proto. The tree of objects, a string in the
    checkpoint, tells each variable's full name; two places may share one variable, and then hold
    the same.
    """
    if _OBJECT_GRAPH not in checkpoint.entries:
        return {name: name for name in checkpoint.entries}
    found: dict[str, str] = {}
    try:
        data = tf_checkpoint.read_tensor(checkpoint, _OBJECT_GRAPH).item()
        for node in Message(memoryview(data)).messages(1):
            for attribute in node.messages(2):
                name, full, key = (attribute.text(number) for number in (1, 2, 3))
                if name == "VARIABLE_VALUE" and key in checkpoint.entries:
                    found.setdefault(full or key.removesuffix(_VALUE), key)
    except (MalformedError, ValueError, TypeError) as error:
        raise WeightsError(f"{checkpoint.prefix}: {_OBJECT_GRAPH}: {error}") from None
    return found


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
