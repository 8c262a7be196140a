"""Where a network can be run: one row a target, with its writer and its own runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nasnet.compute import engine
from nasnet.exporting.graphs import run_onnx, run_openvino, write_onnx, write_openvino
from nasnet.exporting.keras_model import run_keras, write_keras
from nasnet.exporting.lite import run_lite, write_lite
from nasnet.exporting.request import Arrays, Pixels, Precision, Request, Run
from nasnet.exporting.saved_model import run_saved_model, write_saved_model
from nasnet.exporting.torch_archives import (
    run_huggingface,
    run_torch,
    write_huggingface,
    write_torch,
)
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import open_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A way to take the network elsewhere.

    Attributes:
        title: what it is, and what runs it.
        suffixes: what the output's name ends in; none for a folder, which may have any name.
        write: makes it at a path that is not there yet.
        run: loads it by its own runtime.
        precisions: that it can have, the usual one first.
        pixels: what its input can take, the usual one first.
        fixed_batch: whether a fixed batch size can be asked for.
        folder: whether it is a folder.
        taken: ending of the file that is there if the target is; the path itself if empty.
        keeps_padding: whether Keras' border pixels survive in it.
        ranged: whether its int8 takes the ranges of maps that weights carry.
    """

    title: str
    suffixes: tuple[str, ...]
    write: Callable[[Request, Path], None]
    run: Callable[[Request, Path], Run]
    precisions: tuple[Precision, ...] = ("f32",)
    pixels: tuple[Pixels, ...] = ("float32",)
    fixed_batch: bool = True
    folder: bool = False
    taken: str = ""
    keeps_padding: bool = True
    ranged: bool = False


def _run_weights(request: Request, path: Path) -> Run:
    """Read the file again and compute with it here."""
    made = engine.create(open_path(path).weights)

    def run(images: Arrays) -> dict[str, Arrays]:
        return engine.run(made, images, request.endpoints)

    return Run(f"read back, {made.name}", run)


def _weights_target(key: str) -> Target:
    """The target that a weight format is: it holds the weights of a request, and no graph."""
    row = FORMATS[key]
    return Target(
        title=row.title,
        suffixes=row.suffixes,
        write=lambda request, path: row.write(
            replace(request.weights, image_size=(request.height, request.width)), path
        ),
        run=_run_weights,
        fixed_batch=False,
        taken=row.taken,
        keeps_padding=row.keeps_padding,
    )


# The first target that has a suffix is the one that is meant by it.
TARGETS: Mapping[str, Target] = {
    "onnx": Target(
        title="ONNX model: ONNX Runtime, TensorRT, Triton, WinML",
        suffixes=(".onnx",),
        write=write_onnx,
        run=run_onnx,
        precisions=("f32", "f16", "int8"),
        pixels=("float32", "uint8"),
        ranged=True,
    ),
    "openvino": Target(
        title="OpenVINO IR, .xml and .bin",
        suffixes=(".xml",),
        write=write_openvino,
        run=run_openvino,
        precisions=("f32", "f16", "int8"),
        pixels=("float32", "uint8"),
        ranged=True,
    ),
    "torch": Target(
        title="torch.export archive: torch.export.load, AOTInductor, ExecuTorch",
        suffixes=(".pt2",),
        write=write_torch,
        run=run_torch,
    ),
    "huggingface": Target(
        title="folder for Hugging Face and timm: from_pretrained, local-dir:",
        suffixes=(),
        write=write_huggingface,
        run=run_huggingface,
        fixed_batch=False,
        folder=True,
    ),
    "savedmodel": Target(
        title="TensorFlow 2 SavedModel: hub.load, hub.KerasLayer, TensorFlow Serving",
        suffixes=(),
        write=write_saved_model,
        run=run_saved_model,
        folder=True,
    ),
    "keras": Target(
        title="Keras model: keras.saving.load_model",
        suffixes=(".keras",),
        write=write_keras,
        run=run_keras,
    ),
    "tflite": Target(
        title="LiteRT (TensorFlow Lite): phones, microcontrollers",
        suffixes=(".tflite",),
        write=write_lite,
        run=run_lite,
        precisions=("f32", "f16", "int16x8", "int8"),
        pixels=("float32", "uint8"),
    ),
    "checkpoint": _weights_target("checkpoint"),
    "safetensors": _weights_target("safetensors"),
}
