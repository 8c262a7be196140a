"""TF1 hub module folders, read without TensorFlow: tag sets, signatures, attached messages.

The variables themselves are a checkpoint; the graphs' nodes are never looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.protobuf import MalformedError, Message

IMAGE_MODULE_INFO = "image_module_info"  # the key under which a picture's expected size is attached

_MODULE_FILE = "tfhub_module.pb"
_GRAPH_FILE = "saved_model.pb"
_VARIABLES = "variables/variables"
_FORMAT_V3 = 3
_MAX_MODULE_FILE = 4096  # it is two bytes long in every published module
_ATTACHMENTS = "hub_module_attachments"
_META_GRAPHS = 2  # field of SavedModel
_TAGS, _COLLECTIONS, _SIGNATURES, _OBJECT_GRAPH = 4, 4, 5, 7  # of MetaInfoDef; of MetaGraphDef


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
    """Read what a TF1 hub module says about itself; its graphs' nodes are passed over.

    Source: tensorflow_hub's module_def.proto and module_attachment.proto, TensorFlow's
    saved_model.proto and meta_graph.proto.

    Args:
        path: the folder with `tfhub_module.pb`, `saved_model.pb` and `variables/`.

    Raises:
        WeightsError: it is not such a folder, it is a SavedModel of another kind, or damaged.
    """
    folder = Path(path)
    graph_file = folder / _GRAPH_FILE
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; a TF1 hub module is one")
    if not is_hub_module(folder):
        raise WeightsError(_not_a_module(folder))
    _check_format(folder / _MODULE_FILE)
    variables = folder / _VARIABLES
    for file in (graph_file, Path(f"{variables}.index")):
        if not _is_file(file):
            raise WeightsError(f"{file} is missing; the hub module is incomplete")
    try:
        variants = _variants(_mapped(graph_file))
    except MalformedError as error:
        raise WeightsError(f"{graph_file}: {error}") from error
    return HubModule(folder=folder, variants=variants, variables=variables)


def image_size(attachments: Mapping[str, bytes]) -> tuple[int, int] | None:
    """The picture size a module expects, out of its attached ImageModuleInfo.

    Args:
        attachments: of a `GraphVariant`.

    Returns:
        (height, width), or None if nothing is attached or a size in it is left open.

    Raises:
        WeightsError: the message is damaged.
    """
    data = attachments.get(IMAGE_MODULE_INFO)
    if data is None:
        return None
    try:
        size = Message(memoryview(data)).message(1)
        height, width = size.signed(1), size.signed(2)
    except MalformedError as error:
        raise WeightsError(f"the attached {IMAGE_MODULE_INFO}: {error}") from error
    return (height, width) if height > 0 and width > 0 else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _mapped(path: Path) -> memoryview:
    try:
        return protobuf.map_file(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def _not_a_module(folder: Path) -> str:
    """Why a folder without `tfhub_module.pb` is not read, in one line."""
    graph_file = folder / _GRAPH_FILE
    if not is_saved_model(folder):
        return f"{folder} is not a hub module: it has neither {_MODULE_FILE} nor {_GRAPH_FILE}"
    try:
        graphs = Message(_mapped(graph_file)).messages(_META_GRAPHS)
        objects = any(_OBJECT_GRAPH in graph for graph in graphs)
    except MalformedError as error:
        return f"{graph_file}: {error}"
    kind = "TF2 SavedModel (as module versions 4 and 5 are)" if objects else "TF1 SavedModel"
    return (
        f"{folder} is a {kind}, not a TF1 hub module ({_MODULE_FILE} is missing): only its "
        "weights can be opened, by nasnet.weights.opening"
    )


def _check_format(path: Path) -> None:
    """Refuse what tensorflow_hub's loader refuses: another format, features it does not know."""
    data = _mapped(path)
    if len(data) > _MAX_MODULE_FILE:
        raise WeightsError(f"{path}: {len(data)} bytes are too many for a module definition")
    try:
        definition = Message(data)
        number, features = definition.integer(1), definition.texts(2)
    except MalformedError as error:
        raise WeightsError(f"{path}: {error}") from error
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
