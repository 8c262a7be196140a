"""ONNX Runtime and OpenVINO on ONNX models, first of all on the network as an exporter writes it.

That has no rewrite of ours. Made by `peers.make_peer`, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import WEIGHTS, Floats, Peer, Pixels
from nasnet.compute import onnx_model
from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE
from nasnet.weights.opening import open_weights

__all__ = ["computing", "make", "naive_model", "scaled"]


def make(kind: str, threads: int) -> Peer:
    """`onnxruntime` or `openvino`."""
    compute, version = computing(kind, naive_model(), threads)
    return Peer(version=version, arithmetic="f32", prepare=scaled, compute=compute)


def computing(kind: str, model: bytes, threads: int) -> tuple[Callable[[Any], Floats], str]:
    """What computes the vectors of pictures with an ONNX model, and its version."""
    return (_onnxruntime if kind == "onnxruntime" else _openvino)(model, threads)


def naive_model() -> bytes:
    """Every operation of the plan as one node or a few, batch norms and rescaling and all."""
    weights = open_weights(WEIGHTS).weights
    plan = build_plan(MOBILE, height=224, width=224, num_classes=0)
    arrays = {name: weights.arrays[name] for name in plan.parameters}
    program = rewrites.keep(rewrites.Program(plan=plan, arrays=arrays), ("global_pool",))
    return bytes(onnx_model.render(program).SerializeToString())


def scaled(images: Pixels) -> Floats:
    return images.astype(np.float32) / np.float32(255)


def _onnxruntime(model: bytes, threads: int) -> tuple[Callable[[Any], Floats], str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        return np.asarray(session.run(["global_pool"], {"images": images})[0])

    return compute, f"onnxruntime {onnxruntime.__version__}"


def _openvino(model: bytes, threads: int) -> tuple[Callable[[Any], Floats], str]:
    import openvino

    core = openvino.Core()
    compiled: dict[int, Any] = {}

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        count = len(images)
        if count not in compiled:  # a fixed size, which its plugin does better with
            sized = core.read_model(model)
            sized.reshape([count, 224, 224, 3])
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            compiled[count] = core.compile_model(sized, "CPU", settings)
        return np.array(compiled[count](images)[0])

    return compute, f"openvino {openvino.__version__.split('-')[0]}"
