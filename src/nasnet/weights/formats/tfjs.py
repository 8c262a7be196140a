"""TensorFlow.js models: `model.json` and its shards, layers models and graph models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.text import parse_json
from nasnet.weights import layouts
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import MOST_BYTES, Content, Stored, raw
from nasnet.weights.formats.graph_defs import graph_of, json_nodes
from nasnet.weights.formats.matching import match_network

# What the file is called in a folder; the second one in models of before 2019.
MANIFESTS = ("model.json", "weights_manifest.json")
_MOST_JSON = 64 << 20
_KINDS = ("float32", "int32", "uint8", "uint16", "bool", "float16", "complex64")
_QUANTIZED = ("uint8", "uint16")


def looks_like_tfjs(path: Path) -> bool:
    """Whether a file is the JSON of a TF.js model."""
    try:
        if path.stat().st_size > _MOST_JSON:
            return False
        head = path.read_bytes()
    except OSError:
        return False
    return head.lstrip()[:1] in (b"{", b"[") and b'"weights' in head and b'"paths"' in head


def read_tfjs(path: Path) -> Content:
    """Read a TF.js model; its shards lie beside the JSON.

    Source: tfjs-core's io types and the converter's `write_weights`.
    """
    found = parse_json(path.read_bytes(), str(path), WeightsError)
    groups = found.get("weightsManifest") if isinstance(found, dict) else found
    if not isinstance(groups, list):
        raise WeightsError(f"{path}: has no weightsManifest, so it is not a TF.js model")
    tensors: dict[str, Stored] = {}
    try:
        for group in groups:
            tensors |= _group(group, path)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path}: damaged weightsManifest: {error!r}") from None
    content = Content(title="TF.js model", tensors=tensors, notes=_notes(groups))
    topology = found.get("modelTopology") if isinstance(found, dict) else None
    if layouts.recognise(tensors) is not None or not isinstance(topology, dict):
        return content
    if "node" not in topology:
        return content
    return match_network(content, graph_of(json_nodes(topology), tensors), path)


def _notes(groups: list[Any]) -> tuple[str, ...]:
    kinds = {
        str(weight["quantization"].get("dtype"))
        for group in groups
        for weight in group["weights"]
        if isinstance(weight.get("quantization"), dict)
    }
    if not kinds:
        return ()
    return (f"weights are stored as {', '.join(sorted(kinds))}: they are near what they were",)


def _group(group: Any, path: Path) -> dict[str, Stored]:  # noqa: ANN401
    shards = [_shard(str(name), path) for name in group["paths"]]
    total = sum(len(shard) for shard in shards)
    if total > MOST_BYTES:
        raise WeightsError(f"{path}: its shards have {total:,} bytes, more than weights do")
    data = shards[0] if len(shards) == 1 else memoryview(b"".join(shards))
    found: dict[str, Stored] = {}
    place = 0
    for name, stored, end in _weights(group, data, path):
        if stored is not None:
            found[name] = stored
        place = end
    if place != len(data):
        raise WeightsError(
            f"{path}: its weights take {place} bytes, the shards {group['paths']} have {len(data)}"
        )
    return found


def _shard(name: str, path: Path) -> memoryview:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name:
        raise WeightsError(f"{path}: its shard {name!r} lies outside of the folder: refused")
    file = path.parent.joinpath(*parts)
    folder = path.parent.resolve()
    try:
        if not file.resolve().is_relative_to(folder):
            raise WeightsError(f"{path}: its shard {name!r} lies outside of the folder: refused")
        return protobuf.map_file(file)
    except OSError as error:
        raise WeightsError(f"{path}: its shard {name}: {error.strerror or error}") from None


def _weights(
    group: Any,  # noqa: ANN401
    data: memoryview,
    path: Path,
) -> Iterator[tuple[str, Stored | None, int]]:
    """Name, tensor (None for what is no numbers) and the place behind it, in order."""
    place = 0
    for weight in group["weights"]:
        name, dtype = str(weight["name"]), str(weight["dtype"])
        shape = tuple(int(size) for size in weight["shape"])
        where = f"{path}: {name}"
        if min(shape, default=0) < 0 or len(shape) > 8 or math.prod(shape) > MOST_BYTES:
            raise WeightsError(f"{where} has the shape {list(shape[:8])}, which is none")
        count = math.prod(shape)
        if dtype == "string":  # each one's length before it
            for _ in range(count):
                place += 4 + int.from_bytes(data[place : place + 4], "little")
                if place > len(data):
                    raise WeightsError(f"{where} reaches beyond its shards")
            yield name, None, place
            continue
        quantized = weight.get("quantization") or {}
        kind = str(quantized.get("dtype", dtype))
        if kind not in _KINDS:
            raise WeightsError(f"{where} is of the unknown type {kind!r}")
        end = place + count * np.dtype(kind).itemsize
        if end > len(data):
            raise WeightsError(f"{where} reaches beyond its shards: a file is missing or truncated")
        scale, least = float(quantized.get("scale", 1.0)), float(quantized.get("min", 0.0))
        read = partial(_values, data[place:end], kind, shape, scale, least, where)
        numbers = kind in _QUANTIZED and dtype == "float32"
        is_float = kind in ("float32", "float16") or numbers
        yield name, Stored(shape=shape, read=read) if is_float else None, end
        place = end


def _values(
    data: memoryview, kind: str, shape: tuple[int, ...], scale: float, least: float, where: str
) -> npt.NDArray[Any]:
    array = raw(data, kind, shape, where=where)
    if kind in _QUANTIZED:
        return np.asarray(array.astype(np.float32) * np.float32(scale) + np.float32(least))
    return array
