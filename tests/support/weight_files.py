"""Weight files of other code bases, made from seeded weights without those code bases."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from nasnet.network.build import build_plan
from nasnet.network.plan import IMAGES, Operation
from nasnet.network.rewrites import Program, drop_training_only, fold_batch_norm
from nasnet.network.spec import preset
from nasnet.weights import layouts
from nasnet.weights.formats import protobuf, tf_checkpoint
from nasnet.weights.formats.tf_checkpoint.sstable import crc32c, mask, read_table, write_table
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.genuine import HEAD, Table
from nasnet.weights.weights import Weights

Array = npt.NDArray[Any]


def table_of(arrays: Mapping[str, Array]) -> Table:
    """Fingerprints as if these weights had been published, the head without background."""
    published = {name: array[..., 1:] if name in HEAD else array for name, array in arrays.items()}
    return {
        name: (google_crc32c.value(np.ascontiguousarray(array).tobytes()), array.shape)
        for name, array in published.items()
    }


def make(kind: str, folder: Path, weights: Weights) -> Path:
    """A file or folder of a kind; `KINDS` lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    return KINDS[kind](folder, weights)


def _written(key: str, name: str) -> Callable[[Path, Weights], Path]:
    def write(folder: Path, weights: Weights) -> Path:
        FORMATS[key].write(weights, folder / name)
        return folder / name

    return write


def _keras_archive(folder: Path, weights: Weights) -> Path:
    """As Keras 3 before it wrote layers' names: only the configuration tells them."""
    h5py: Any = __import__("h5py")
    FORMATS["keras-weights"].write(weights, folder / "w.h5")
    with h5py.File(folder / "w.h5", "a") as file:
        layers = []
        for container in file["layers"]:
            group = file["layers"][container]["vars"]
            layers.append((container, group.attrs["name"]))
            del group.attrs["name"]
    kinds = {
        "separable_conv2d": "SeparableConv2D",
        "batch_normalization": "BatchNormalization",
        "conv2d": "Conv2D",
        "dense": "Dense",
    }

    def number(container: str) -> tuple[str, int]:
        if container in kinds:
            return kinds[container], 0
        kind, _, count = container.rpartition("_")
        return kinds[kind], int(count)

    config = [
        {"class_name": number(container)[0], "config": {"name": layer}}
        for container, layer in sorted(layers, key=lambda pair: number(pair[0]))
    ]
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps({"config": {"layers": config}}))
        archive.write(folder / "w.h5", "model.weights.h5")
    return path


def _old_keras3(folder: Path, weights: Weights) -> Path:
    """`.weights.h5` of the first versions of Keras 3, without layers' names."""
    h5py: Any = __import__("h5py")
    path = folder / "old.weights.h5"
    FORMATS["keras-weights"].write(weights, path)
    with h5py.File(path, "a") as file:
        for container in file["layers"]:
            del file["layers"][container]["vars"].attrs["name"]
    return path


def _torch(layout: str, *, new: bool = True, wrap: bool = False) -> Callable[[Path, Weights], Path]:
    def write(folder: Path, weights: Weights) -> Path:
        import torch

        state: Any = {
            key: torch.from_numpy(np.array(array))
            for key, array in layouts.arrays_in(weights, layout).items()
        }
        if wrap:
            state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        path = folder / "weights.bin"
        torch.save(state, path, _use_new_zipfile_serialization=new)
        return path

    return write


def _tfjs(kind: str = "float32") -> Callable[[Path, Weights], Path]:
    """A layers model in shards; or with its weights quantized as the converter does it."""

    def write(folder: Path, weights: Weights) -> Path:
        rows, data = [], b""
        for key, array in layouts.arrays_in(weights, "keras").items():
            row: dict[str, Any] = {"name": key, "shape": list(array.shape), "dtype": "float32"}
            if kind == "float16":
                row["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
                array = array.astype(np.float16)
            elif kind != "float32":
                least, most = float(array.min()), float(array.max())
                scale = (most - least) / np.iinfo(kind).max or 1.0
                row["quantization"] = {"dtype": kind, "min": least, "scale": scale}
                array = np.round((array - least) / scale).astype(kind)
            rows.append(row)
            data += array.tobytes()
        cut = len(data) // 2 + 1  # in the middle of a number
        shards = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
        for name, piece in zip(shards, (data[:cut], data[cut:]), strict=True):
            (folder / name).write_bytes(piece)
        manifest = [{"paths": shards, "weights": rows}]
        model = {"format": "layers-model", "modelTopology": {}, "weightsManifest": manifest}
        (folder / "model.json").write_text(json.dumps(model))
        return folder

    return write


def object_graph(keys: Mapping[str, str]) -> bytes:
    """A TrackableObjectGraph: full name -> key in the checkpoint."""
    nodes = b""
    for full, key in keys.items():
        attribute = b"".join(
            protobuf.encode_bytes(number, text.encode())
            for number, text in ((1, "VARIABLE_VALUE"), (2, full), (3, key))
        )
        nodes += protobuf.encode_bytes(1, protobuf.encode_bytes(2, attribute))
    return nodes


def _add_string(prefix: Path, name: str, value: bytes) -> None:
    """Put a string tensor into a checkpoint, as TensorFlow stores one."""
    shard, index = Path(f"{prefix}.data-00000-of-00001"), Path(f"{prefix}.index")
    lengths = crc32c(memoryview(len(value).to_bytes(4, "little")))
    tail = mask(lengths).to_bytes(4, "little") + value
    stored = protobuf.encode_varint(len(value)) + tail
    added = (
        protobuf.encode_integer(1, 7)
        + protobuf.encode_bytes(2, b"")
        + protobuf.encode_integer(4, shard.stat().st_size)
        + protobuf.encode_integer(5, len(stored))
        + protobuf.encode_fixed32(6, mask(crc32c(memoryview(tail), lengths)))
    )
    pairs = [(bytes(key), bytes(entry)) for key, entry in read_table(protobuf.map_file(index))]
    with shard.open("ab") as file:
        file.write(stored)
    index.unlink()
    index.write_bytes(write_table(sorted([*pairs, (name.encode(), added)])))


def _saved_model(layout: str) -> Callable[[Path, Weights], Path]:
    """As `tf.saved_model.save` lays it out; only what the readers look at is in it."""

    def write(folder: Path, weights: Weights) -> Path:
        arrays = layouts.arrays_in(weights, layout)
        keys = {
            name: f"variables/{number}/.ATTRIBUTES/VARIABLE_VALUE"
            for number, name in enumerate(arrays)
        }
        tensors = {keys[name]: array for name, array in arrays.items()}
        graph = object_graph(keys)
        prefix = folder / "variables" / "variables"
        tf_checkpoint.write_checkpoint(prefix, tensors)
        _add_string(prefix, "_CHECKPOINTABLE_OBJECT_GRAPH", graph)
        (folder / "saved_model.pb").write_bytes(b"\x08\x01")
        return folder

    return write


def _mindspore(folder: Path, weights: Weights) -> Path:
    data = b""
    for key, array in layouts.arrays_in(weights, "mindcv").items():
        tensor = b"".join(protobuf.encode_integer(1, size) for size in array.shape)
        tensor += protobuf.encode_bytes(2, b"Float32") + protobuf.encode_bytes(3, array.tobytes())
        value = protobuf.encode_bytes(1, key.encode()) + protobuf.encode_bytes(2, tensor)
        data += protobuf.encode_bytes(1, value)
    (folder / "nasnet.ckpt").write_bytes(data)
    return folder / "nasnet.ckpt"


# -- frozen graphs


def node(name: str, op: str, *inputs: str, **attributes: bytes) -> bytes:
    data = protobuf.encode_bytes(1, name.encode()) + protobuf.encode_bytes(2, op.encode())
    data += b"".join(protobuf.encode_bytes(3, source.encode()) for source in inputs)
    for key, value in attributes.items():
        pair = protobuf.encode_bytes(1, key.encode()) + protobuf.encode_bytes(2, value)
        data += protobuf.encode_bytes(5, pair)
    return protobuf.encode_bytes(1, data)


def _const(name: str, array: Array) -> bytes:
    shape = b"".join(
        protobuf.encode_bytes(2, protobuf.encode_integer(1, size)) for size in array.shape
    )
    tensor = protobuf.encode_integer(1, 1) + protobuf.encode_bytes(2, shape)
    tensor += protobuf.encode_bytes(4, np.ascontiguousarray(array, "<f4").tobytes())
    return node(name, "Const", value=protobuf.encode_bytes(8, tensor))


_EPSILON = protobuf.encode_fixed32(4, int(np.float32(1e-3).view(np.uint32)))
_PLAIN = {
    "relu": "Relu",
    "add": "AddV2",
    "avg_pool": "AvgPool",
    "max_pool": "MaxPool",
    "global_pool": "Mean",
    "softmax": "Softmax",
    "rescale": "Identity",
    "shift": "Pad",
}


def _nodes(op: Operation, arrays: Mapping[str, Array], call: Callable[[str], str]) -> bytes:
    """The nodes of one operation, as TensorFlow 1 writes them, under names of no meaning."""
    name, inputs = call(op.name), tuple(call(source) for source in op.inputs)
    constants = [f"{name}/c{number}" for number in range(len(op.parameters))]
    data = b"".join(_const(c, arrays[p]) for c, p in zip(constants, op.parameters, strict=True))
    if op.kind in ("conv", "depthwise"):
        kind = "Conv2D" if op.kind == "conv" else "DepthwiseConv2dNative"
        if len(constants) == 1:
            return data + node(name, kind, *inputs, constants[0])
        data += node(f"{name}/bare", kind, *inputs, f"{constants[0]}:0", "^nothing")
        return data + node(name, "BiasAdd", f"{name}/bare", constants[1])
    if op.kind == "batch_norm":
        beta, gamma, mean, variance = constants
        order = (*inputs, gamma, beta, mean, variance)
        return data + node(name, "FusedBatchNormV3", *order, epsilon=_EPSILON)
    if op.kind == "concat":
        data += node(f"{name}/axis", "Const")
        return data + node(name, "ConcatV2", *inputs, f"{name}/axis")
    if op.kind == "dense":
        data += node(f"{name}/product", "MatMul", *inputs, constants[0])
        return data + node(name, "BiasAdd", f"{name}/product", constants[1])
    return data + node(name, _PLAIN[op.kind], *inputs)


def graph_def(weights: Weights, *, folded: bool = False) -> bytes:
    """A frozen graph; with batch norms folded into the convolutions if `folded`."""
    plan = build_plan(preset(weights.spec), num_classes=weights.num_classes)
    program = drop_training_only(Program(plan=plan, arrays=weights.arrays))
    program = fold_batch_norm(program) if folded else program
    numbers: dict[str, str] = {}

    def call(name: str) -> str:
        return numbers.setdefault(name, f"step_{len(numbers)}")

    data = node(call(IMAGES), "Placeholder")
    for op in program.plan.operations:
        data += _nodes(op, program.arrays, call)
    return data


def _frozen(*, folded: bool) -> Callable[[Path, Weights], Path]:
    def write(folder: Path, weights: Weights) -> Path:
        (folder / "frozen.pb").write_bytes(graph_def(weights, folded=folded))
        return folder / "frozen.pb"

    return write


def _named_graph(folder: Path, weights: Weights) -> Path:
    """What TensorFlow 1's freeze_graph makes: constants under the variables' names."""
    data = b"".join(_const(f"module/{name}", array) for name, array in weights.arrays.items())
    (folder / "frozen.pb").write_bytes(data)
    return folder / "frozen.pb"


def _plain_npz(folder: Path, weights: Weights) -> Path:
    file = io.BytesIO()
    arrays: dict[str, Any] = dict(weights.arrays)
    np.savez(file, **arrays)
    (folder / "weights.npz").write_bytes(file.getvalue())
    return folder / "weights.npz"


def _slim_checkpoint(folder: Path, weights: Weights) -> Path:
    tf_checkpoint.write_checkpoint(folder / "model.ckpt", weights.arrays)
    return folder / "model.ckpt"


KINDS: Mapping[str, Callable[[Path, Weights], Path]] = {
    "safetensors": _written("safetensors", "weights.bin"),
    "checkpoint": _slim_checkpoint,
    "keras .h5": _written("keras-h5", "weights.bin"),
    "keras .weights.h5": _written("keras-weights", "weights.bin"),
    "keras .weights.h5 without names": _old_keras3,
    "keras .keras": _keras_archive,
    "keras SavedModel": _saved_model("keras"),
    "hub v4 SavedModel": _saved_model("slim"),
    "cadene .pth": _written("cadene", "weights.bin"),
    "cadene .pth, old format": _torch("cadene", new=False),
    "cadene .pth of a training": _torch("cadene", wrap=True),
    "cadene safetensors": _written("cadene-safetensors", "weights.bin"),
    "nasnet.torch state dict": _torch("torch"),
    "tensornets .npz": _written("tensornets", "weights.bin"),
    "plain .npz": _plain_npz,
    "tfjs": _tfjs(),
    "frozen graph": _frozen(folded=False),
    "frozen graph with names": _named_graph,
}
# These hold the weights nearly, or the same network otherwise.
NEAR: Mapping[str, Callable[[Path, Weights], Path]] = {
    "tfjs float16": _tfjs("float16"),
    "tfjs uint16": _tfjs("uint16"),
    "tfjs uint8": _tfjs("uint8"),
    "frozen graph, folded": _frozen(folded=True),
    "mindcv .ckpt": _mindspore,
    "pytorchcv .pth": _torch("pytorchcv"),
}
