"""TF1 hub module folders, read without TensorFlow: tag sets, signatures, attached messages.

The variables themselves are a checkpoint; the graphs' nodes are never looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.weights.formats.protobuf import MalformedError, Message, blame, map_file

IMAGE_MODULE_INFO = "image_module_info"  # the key under which a picture's expected size is attached

_MODULE_FILE = "tfhub_module.pb"
_GRAPH_FILE = "saved_model.pb"
_VARIABLES = "variables/variables"
_FORMAT_V3 = 3
_MAX_MODULE_FILE = 4096  # it is two bytes long in every published module
_ATTACHMENTS = "hub_module_attachments"
_META_GRAPHS = 2  # field of SavedModel
_TAGS, _COLLECTIONS, _SIGNATURES = 4, 4, 5  # of MetaInfoDef; of MetaGraphDef


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphVariant:
    """One of a module's graphs."""

    tags: frozenset[str]  # which graph it is: empty for inference, `train` for training
    signatures: tuple[str, ...]  # names of the ways to call it
    attachments: Mapping[str, bytes]  # messages by key, serialized


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModule:
    """A module's folder."""

    folder: Path  # where it lies
    variants: Mapping[frozenset[str], GraphVariant]  # its graphs by tag set
    variables: Path  # prefix of the checkpoint that holds its variables


def is_hub_module(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a TF1 hub module: `tfhub_module.pb` is what marks one."""
    return _is_file(Path(path) / _MODULE_FILE)


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of any SavedModel, TF1 hub modules included."""
    return _is_file(Path(path) / _GRAPH_FILE)


def read_hub_module(path: str | os.PathLike[str]) -> HubModule:
    """Read what a TF1 hub module's folder says about itself; its graphs' nodes are passed over.

    Source: tensorflow_hub's module_def.proto and module_attachment.proto, TensorFlow's
    saved_model.proto and meta_graph.proto.

    Raises:
        WeightsError: it is damaged, incomplete, or of a format that is unknown here.
    """
    folder = Path(path)
    graph_file = folder / _GRAPH_FILE
    _check_format(folder / _MODULE_FILE)
    variables = folder / _VARIABLES
    for file in (graph_file, Path(f"{variables}.index")):
        if not _is_file(file):
            raise WeightsError(f"{file} is missing; the hub module is incomplete")
    with blame(graph_file):
        variants = _variants(map_file(graph_file))
    return HubModule(folder=folder, variants=variants, variables=variables)


def image_size(attachments: Mapping[str, bytes]) -> tuple[int, int] | None:
    """Height and width that a module expects, out of its attached ImageModuleInfo.

    None if nothing is attached or a size in it is left open.

    Raises:
        WeightsError: the message is damaged.
    """
    data = attachments.get(IMAGE_MODULE_INFO)
    if data is None:
        return None
    with blame(f"the attached {IMAGE_MODULE_INFO}"):
        size = Message(memoryview(data)).message(1)
        height, width = size.signed(1), size.signed(2)
    return (height, width) if height > 0 and width > 0 else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _check_format(path: Path) -> None:
    """Refuse what tensorflow_hub's loader refuses: another format, features it does not know."""
    with blame(path):
        data = map_file(path)
        if len(data) > _MAX_MODULE_FILE:
            raise MalformedError(f"{len(data)} bytes are too many for a module definition")
        definition = Message(data)
        number, features = definition.integer(1), definition.texts(2)
    if number != _FORMAT_V3:
        raise WeightsError(f"{path}: module format {number} where {_FORMAT_V3} is expected")
    if features:
        raise WeightsError(f"{path}: needs features unknown here: {', '.join(features)}")


def _variants(data: memoryview) -> Mapping[frozenset[str], GraphVariant]:
    """Decode a SavedModel."""
    variants: dict[frozenset[str], GraphVariant] = {}
    for graph in Message(data).messages(_META_GRAPHS):
        variant = _variant(graph)
        if variant.tags in variants:
            raise MalformedError(f"two graphs have the tags {sorted(variant.tags)}")
        variants[variant.tags] = variant
    if not variants:
        raise MalformedError("it holds no graph; it may be truncated")
    return variants


def _variant(graph: Message) -> GraphVariant:
    """Decode a MetaGraphDef; its graph_def, nearly all of the file, is not looked into."""
    collections = graph.entries(_COLLECTIONS)
    # A CollectionDef of serialized ModuleAttachment messages.
    attached = Message(collections.get(_ATTACHMENTS, memoryview(b""))).message(2)
    return GraphVariant(
        tags=frozenset(graph.message(1).texts(_TAGS)),
        signatures=tuple(graph.entries(_SIGNATURES)),
        attachments={key: bytes(data) for key, data in attached.entries(1).items()},
    )
