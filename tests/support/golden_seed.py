"""Rebuilds TensorFlow-written checkpoints and a hub module from small files and seeded values."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.weights import seeded_value
from tests.support import ROOT

GOLDEN = ROOT / "tests" / "golden"
SEED = 7
SLIM_INDEX = GOLDEN / "slim_mobile_seed7.ckpt.index"
HUB_INDEX = GOLDEN / "tf1_hub_feature_vector_seed7.variables.index"
HUB_GRAPH = GOLDEN / "tf1_hub_saved_model.pb.xz"
SMALL_BUNDLE = GOLDEN / "tf_small_bundle"
SMALL_NUMBER_TYPES = [
    *("float32", "float64", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"),
]


def golden_tensors(index: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a golden checkpoint: names and shapes from its index, values from the seed."""
    return {
        name: np.zeros((), np.int64)
        if name == "global_step"
        else seeded_value(SEED, name, entry.shape)
        for name, entry in tf_checkpoint.open_checkpoint(index).entries.items()
    }


def make_slim_checkpoint(folder: Path) -> Path:
    """The TF-Slim mobile checkpoint as TensorFlow wrote it; returns its prefix."""
    return _make_checkpoint(SLIM_INDEX, folder / "model.ckpt")


def make_hub_module(folder: Path) -> Path:
    """The TF1 hub module as tensorflow-hub exported it; returns its folder."""
    _make_checkpoint(HUB_INDEX, folder / "variables" / "variables")
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    (folder / "saved_model.pb").write_bytes(lzma.decompress(HUB_GRAPH.read_bytes()))
    return folder


def _make_checkpoint(index: Path, prefix: Path) -> Path:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(index, f"{prefix}.index")
    with Path(f"{prefix}.data-00000-of-00001").open("wb") as shard:
        for _, value in sorted(golden_tensors(index).items()):
            shard.write(value.tobytes())
    return prefix


def small_tensors() -> dict[str, npt.NDArray[Any]]:
    """The content of `SMALL_BUNDLE`, which TensorFlow wrote; see interop/test_tf_checkpoint.py."""
    numbers: dict[str, npt.NDArray[Any]] = {
        f"numbers/{name}": np.arange(-3, 9).reshape(3, 4).astype(name)
        for name in SMALL_NUMBER_TYPES
    }
    strings = np.empty((2, 2), dtype=object)
    strings[:] = [[b"abc", b""], [b"\0\xff", b"x" * 300]]
    return numbers | {
        "a/strings": strings,  # first, so that what follows is not aligned
        "bfloat16": np.array([1.5, -2.0, 0.0078125], np.float32),
        "empty": np.zeros((0, 5), np.int32),
        "parts/\xe9": np.arange(260).reshape(2, 130).astype(np.uint8),  # stored as two slices
        "scalar": np.asarray(2.5, np.float32),
    }
