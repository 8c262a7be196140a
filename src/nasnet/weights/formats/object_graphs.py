"""TensorFlow 2's checkpoints and SavedModels: variables under the names the object graph tells.

Private to `readers`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf, tf_checkpoint
from nasnet.weights.formats.protobuf import MalformedError
from nasnet.weights.formats.stored import Content, Stored
from nasnet.weights.formats.tf_checkpoint import Checkpoint

__all__ = ["read_checkpoint"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_checkpoint(path: Path) -> Content:
    """Read a V2 checkpoint whose variables may be stored by their place in a tree of objects.

    Source: TensorFlow's trackable_object_graph.proto. The tree, a string in the checkpoint, tells
    each variable's full name; two places may share one variable, and then hold the same.

    Args:
        path: as `bundle.open_checkpoint` takes it.

    Raises:
        WeightsError: it is damaged.
    """
    checkpoint = tf_checkpoint.open_checkpoint(path)
    if _OBJECT_GRAPH not in checkpoint.entries:
        keys = {name: name for name in checkpoint.entries}
    else:
        keys = _full_names(checkpoint)
    tensors = {
        name: Stored(
            shape=checkpoint.entries[key].shape,
            read=partial(tf_checkpoint.read_tensor, checkpoint, key),
        )
        for name, key in keys.items()
    }
    return Content(title="TensorFlow V2 checkpoint", tensors=tensors)


def _full_names(checkpoint: Checkpoint) -> dict[str, str]:
    """Name of a variable -> key of its tensor in the checkpoint."""
    where = f"{checkpoint.prefix}: {_OBJECT_GRAPH}"
    found: dict[str, str] = {}
    try:
        data = tf_checkpoint.read_tensor(checkpoint, _OBJECT_GRAPH).item()
        graph = protobuf.message(memoryview(data))
        for node in protobuf.submessages(graph, 1):
            for piece in protobuf.submessages(protobuf.message(node), 2):
                attribute = protobuf.message(piece)
                name, full, key = (
                    protobuf.text(protobuf.submessage(attribute, n)) for n in (1, 2, 3)
                )
                if name == "VARIABLE_VALUE" and key in checkpoint.entries:
                    found.setdefault(full or key.removesuffix(_VALUE), key)
    except (MalformedError, ValueError, TypeError) as error:
        raise WeightsError(f"{where}: {error}") from None
    return found
