"""LiteRT with XNNPACK and MNN, as people use them: each on what its own converter makes of ours.

Made by `peers.make_peer`, in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nasnet
from benchmarks.graph_peers import naive_model
from benchmarks.peers import WEIGHTS, Floats, Peer, Pixels

__all__ = ["make"]


def make(kind: str, threads: int) -> Peer:
    """`litert` or `mnn`."""
    compute, version = (_litert if kind == "litert" else _mnn)(threads)
    return Peer(version=version, arithmetic="f32", prepare=_scaled, compute=compute)


def _scaled(images: Pixels) -> Floats:
    return images.astype(np.float32) / np.float32(255)


def _litert(threads: int) -> tuple[Callable[[Any], Floats], str]:
    """`nasnet export network.tflite`, run by LiteRT, which takes XNNPACK by itself."""
    from ai_edge_litert.interpreter import Interpreter

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.tflite"
        nasnet.export(WEIGHTS, file, options=nasnet.ExportOptions(verify=False))
        interpreter = Interpreter(model_content=file.read_bytes(), num_threads=threads)
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    size = 0

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        nonlocal size
        if len(images) != size:
            interpreter.resize_tensor_input(given["index"], images.shape)
            interpreter.allocate_tensors()
            size = len(images)
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(taken["index"])).reshape(len(images), -1)

    return compute, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"


def _mnn(threads: int) -> tuple[Callable[[Any], Floats], str]:
    """The naive ONNX export through `mnnconvert`, in MNN's default precision of arithmetic."""
    import MNN.nn
    import MNN.numpy

    with tempfile.TemporaryDirectory() as folder:
        onnx, file = Path(folder) / "network.onnx", Path(folder) / "network.mnn"
        onnx.write_bytes(naive_model())
        convert = [str(Path(sys.executable).with_name("mnnconvert")), "-f", "ONNX"]
        convert += ["--modelFile", str(onnx), "--MNNModel", str(file), "--bizCode", "nasnet"]
        subprocess.run(convert, check=True, capture_output=True)
        manager = MNN.nn.create_runtime_manager(
            ({"backend": "CPU", "numThread": threads, "precision": "high"},)
        )
        network = MNN.nn.load_module_from_file(
            str(file), ["images"], ["global_pool"], runtime_manager=manager
        )

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        variable = MNN.expr.placeholder(list(images.shape), MNN.expr.NCHW, MNN.expr.float)
        variable.write(images)
        found = network.forward([variable])[0]
        return np.array(MNN.expr.convert(found, MNN.expr.NCHW).read()).reshape(len(images), -1)

    return compute, f"MNN {importlib.metadata.version('MNN')}"
