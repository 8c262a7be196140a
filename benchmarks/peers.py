"""Who takes part: one row a peer, and what a room must make of a row. Imports no framework.

Read by the parent, which needs titles and packages only, and by `child`, which makes the peer.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from nasnet.network.plan import Borders

__all__ = ["PEERS", "QUICK", "WEIGHTS", "Peer", "PeerRow", "absent", "make_peer", "write_vectors"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
WEIGHTS = "seeded:7"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """One peer.

    Attributes:
        title: for people.
        room: the module whose `make(kind, threads)` makes it.
        kind: which of the room's peers it is.
        packages: what has to be importable.
        pip: what would install them.
        own: whether this package computes.
        arithmetic: what it multiplies in, and so which limit it is held against; `auto` may be
            either, and says which once it is made.
        padding: whose border pixels it computes with.
        batches: the batch sizes it is measured at, all of the run's if empty.
        loader: whether it has a usual way from files to vectors, `Peer.embed`.
        calls: whether the thousandth call is looked at.
    """

    title: str
    room: str
    kind: str
    packages: tuple[str, ...]
    pip: str
    own: bool = False
    arithmetic: Literal["f32", "bf16", "auto"] = "f32"
    padding: Borders = "slim"
    batches: tuple[int, ...] = ()
    loader: bool = False
    calls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer in its process.

    Attributes:
        version: of what computes.
        arithmetic: what it really multiplies in.
        prepare: uint8 pictures [n, 224, 224, 3] into what it takes; not timed.
        compute: what it takes into float32 vectors [n, 1056] in NumPy; timed.
        embed: a folder of JPEG files and a Parquet file to write; how many rows were written. None
            where there is no usual way.
    """

    version: str
    arithmetic: str
    prepare: Callable[[Pixels], Any]
    compute: Callable[[Any], Floats]
    embed: Callable[[str, Path], int] | None = None


class _Maker(Protocol):
    def __call__(self, kind: str, threads: int) -> Peer: ...


_TORCH = "pip install torch"
_CADENE = "pip install torch pretrainedmodels"
_KERAS = "pip install tensorflow"
_OURS, _OTHERS = "benchmarks.own_engines", "benchmarks.graph_peers"
_FROM_TORCH, _FROM_KERAS = "benchmarks.torch_peers", "benchmarks.keras_peers"
_MOBILE = "benchmarks.mobile_peers"

# Order is that of the table; `nasnet-f32` and `nasnet-bf16` are what ratios are taken of.
PEERS: Mapping[str, PeerRow] = {
    "nasnet-f32": PeerRow(
        title="nasnet, f32 (default engine, OpenVINO)",
        room=_OURS,
        kind="openvino f32",
        packages=("openvino",),
        pip="pip install nasnet",
        own=True,
        calls=True,
        loader=True,
    ),
    "nasnet-bf16": PeerRow(
        title="nasnet, bf16",
        room=_OURS,
        kind="openvino bf16",
        packages=("openvino",),
        pip="pip install nasnet",
        own=True,
        arithmetic="bf16",
        calls=True,
        loader=True,
    ),
    "nasnet-auto": PeerRow(
        title="nasnet, auto",
        room=_OURS,
        kind="openvino auto",
        packages=("openvino",),
        pip="pip install nasnet",
        own=True,
        arithmetic="auto",
        loader=True,
    ),
    "nasnet-onnxruntime": PeerRow(
        title="nasnet, ONNX Runtime engine",
        room=_OURS,
        kind="onnxruntime f32",
        packages=("onnxruntime",),
        pip="pip install 'nasnet[onnxruntime]'",
        own=True,
        calls=True,
        loader=True,
    ),
    "nasnet-torch": PeerRow(
        title="nasnet, torch engine",
        room=_OURS,
        kind="torch f32",
        packages=("torch",),
        pip="pip install 'nasnet[torch]'",
        own=True,
        loader=True,
    ),
    "timm": PeerRow(
        title="timm's loader, our torch network (channels-last)",
        room=_FROM_TORCH,
        kind="timm",
        packages=("torch", "timm", "torchvision"),
        pip="pip install timm",
        own=True,
        loader=True,
    ),
    "keras-predict": PeerRow(
        title="Keras NASNetMobile, predict",
        room=_FROM_KERAS,
        kind="predict",
        packages=("keras", "tensorflow"),
        pip=_KERAS,
        padding="keras",
        loader=True,
    ),
    "keras-call": PeerRow(
        title="Keras NASNetMobile, tf.function",
        room=_FROM_KERAS,
        kind="call",
        packages=("keras", "tensorflow"),
        pip=_KERAS,
        padding="keras",
    ),
    "cadene": PeerRow(
        title="Cadene's torch code, eager",
        room=_FROM_TORCH,
        kind="eager",
        packages=("torch", "pretrainedmodels"),
        pip=_CADENE,
    ),
    "cadene-channels-last": PeerRow(
        title="Cadene's torch code, channels-last",
        room=_FROM_TORCH,
        kind="channels-last",
        packages=("torch", "pretrainedmodels"),
        pip=_CADENE,
        loader=True,
    ),
    "cadene-compiled": PeerRow(
        title="Cadene's torch code, torch.compile",
        room=_FROM_TORCH,
        kind="compiled",
        packages=("torch", "pretrainedmodels"),
        pip=_CADENE,
        batches=(1, 4),  # every size is compiled anew, for minutes
    ),
    "onnxruntime": PeerRow(
        title="ONNX Runtime, naive export",
        room=_OTHERS,
        kind="onnxruntime",
        packages=("onnxruntime",),
        pip="pip install onnxruntime",
    ),
    "openvino": PeerRow(
        title="OpenVINO, naive export",
        room=_OTHERS,
        kind="openvino",
        packages=("openvino",),
        pip="pip install openvino",
    ),
    "litert": PeerRow(
        title="LiteRT with XNNPACK, our export",
        room=_MOBILE,
        kind="litert",
        packages=("ai_edge_litert", "tensorflow"),
        pip="pip install ai-edge-litert tensorflow",
    ),
    "mnn": PeerRow(
        title="MNN, naive export",
        room=_MOBILE,
        kind="mnn",
        packages=("MNN",),
        pip="pip install MNN",
    ),
}
# What `--quick` measures: the engines that a reader compares with, and what starts in seconds.
QUICK = ("nasnet-f32", "nasnet-auto", "onnxruntime", "openvino", "mnn", "keras-call")


def absent(peers: Sequence[str]) -> dict[str, str]:
    """The peers whose packages are not installed -> the line that would install them."""
    return {
        name: PEERS[name].pip
        for name in peers
        if any(importlib.util.find_spec(package) is None for package in PEERS[name].packages)
    }


def make_peer(name: str, threads: int) -> Peer:
    """Make a peer in this process, with the weights all have.

    Args:
        name: a key of `PEERS`.
        threads: how many it may compute with.
    """
    row = PEERS[name]
    room = importlib.import_module(row.room)
    return cast(_Maker, room.make)(row.kind, threads)


def write_vectors(output: Path, ids: Sequence[str], vectors: Floats) -> int:
    """Write the table that a peer without a sink of its own writes: id and vector."""
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    rows = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    pyarrow.parquet.write_table(pyarrow.table({"id": list(ids), "vector": rows}), output)
    return len(ids)
