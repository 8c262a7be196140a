"""ONNX models and OpenVINO's form of them, written from the rewritten plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nasnet.compute import onnx_model
from nasnet.compute.openvino_engine import import_openvino, process_core
from nasnet.errors import MissingExtraError, needs
from nasnet.exporting.request import Arrays, Request, Run


def _model(request: Request, *, half: bool = False) -> bytes:
    model = onnx_model.render(
        request.for_inference(),
        uint8=request.pixels == "uint8",
        half=half,
        batch=request.batch_size,
        ranges=request.weights.ranges if request.precision == "int8" else None,
        metadata=request.metadata(),
    )
    return bytes(model.SerializeToString())


def write_onnx(request: Request, path: Path) -> None:
    """An ONNX model, opset 17: `images` in, an output an endpoint, labels in its metadata.

    In int8 it is the graph that the OpenVINO engine computes: kernels are stored in 8 bits, and
    the maps that convolutions read go through QuantizeLinear and DequantizeLinear.
    """
    path.write_bytes(_model(request, half=request.precision == "f16"))


def run_onnx(request: Request, path: Path) -> Run:
    """ONNX Runtime.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        onnxruntime = needs("onnxruntime", extra="onnxruntime")
    except MissingExtraError as error:
        raise MissingExtraError(f"to check the file, {error}; --no-verify leaves it out") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Arrays) -> dict[str, Arrays]:
        found = session.run(list(request.endpoints), {"images": images})
        return dict(zip(request.endpoints, found, strict=True))

    return Run(f"onnxruntime {onnxruntime.__version__}", run)


def write_openvino(request: Request, path: Path) -> None:
    """OpenVINO's two files, `.xml` and `.bin`; with f16, the weights alone are of half length.

    int8 as in an ONNX file.
    """
    openvino = import_openvino()
    model = process_core().read_model(_model(request))
    for key, value in request.metadata().items():
        model.set_rt_info(value, ["nasnet", key])
    openvino.save_model(model, path, compress_to_fp16=request.precision == "f16")


def run_openvino(request: Request, path: Path) -> Run:
    """OpenVINO on the CPU."""
    openvino = import_openvino()
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = process_core().compile_model(path, "CPU", precision)

    def run(images: Arrays) -> dict[str, Arrays]:
        found: Any = compiled(images)
        return {name: np.array(found[name]) for name in request.endpoints}

    return Run(f"openvino {openvino.__version__.split('-')[0]}", run)
