"""LiteRT's flat files (TensorFlow Lite), converted by TensorFlow, run by LiteRT.

Needs TensorFlow to write (extra `tensorflow`) and either to run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.compute.tensorflow_operations import Mode, compute
from nasnet.errors import InputError, needs
from nasnet.exporting.request import CALIBRATED, Arrays, Precision, Request, Run

# TensorFlow's names of the kernels of whole numbers, which are all that such a file may use.
_KERNELS: Mapping[Precision, str] = {
    "int16x8": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
    "int8": "TFLITE_BUILTINS_INT8",
}
# A flat colour can drive the last cells far beyond what photographs do, in weights without bounds
# (see `train.bounding`). 16 bits have room to hold that too, so that a rare picture is not
# clipped; in 8 bits it would leave the others nothing.
_COLOURS = (*product((0.0, 1.0), repeat=3), (0.5, 0.5, 0.5))


def write_lite(request: Request, path: Path) -> None:
    """A `.tflite` file with the signature `serving_default`: `images` in, an output an endpoint.

    Precisions: f32; f16 (weights stored so, computed in float32); int16x8 and int8 (weights in 8
    bits by channel, activations in 16 or 8 by the calibration pictures; input and output stay
    float32).
    """
    tf = needs("tensorflow", extra="tensorflow")
    program = request.for_inference()
    plan, arrays = program.plan, program.arrays
    pixels = tf.uint8 if request.pixels == "uint8" else tf.float32
    images = tf.TensorSpec([request.batch_size, request.height, request.width, 3], pixels, "images")
    holder = tf.Module()

    @tf.function(input_signature=[images], autograph=False)  # type: ignore[untyped-decorator]
    def function(images: Any) -> Any:  # noqa: ANN401
        return compute(plan, images, arrays, Mode(spec=plan.spec))

    holder.function = function
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    if request.precision != "f32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.precision == "f16":
        converter.target_spec.supported_types = [tf.float16]
    if request.precision in CALIBRATED:
        kernels = _KERNELS[request.precision]
        converter.representative_dataset = lambda: _calibrating(request)
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, kernels)]
    path.write_bytes(converter.convert())


def _calibrating(request: Request) -> Iterator[list[Arrays]]:
    if request.calibration is None or not len(request.calibration):
        raise InputError(
            f"{request.precision} needs calibration pictures: name some with --calibrate"
        )
    for image in request.calibration:
        yield [image[None]]
    for colour in _COLOURS if request.precision == "int16x8" else ():
        shape = (1, request.height, request.width, 3)
        yield [np.broadcast_to(np.asarray(colour, np.float32), shape)]


def run_lite(request: Request, path: Path) -> Run:
    """LiteRT, or the interpreter that comes with TensorFlow."""
    if importlib.util.find_spec("ai_edge_litert"):
        interpreters: Any = needs("ai_edge_litert.interpreter", extra="tensorflow")
        name = "ai-edge-litert"
    else:
        tf = needs("tensorflow", extra="tensorflow")
        interpreters, name = tf.lite, f"tensorflow {tf.__version__}'s LiteRT"
    interpreter = interpreters.Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner("serving_default")

    def run(images: Arrays) -> dict[str, Arrays]:
        size = request.batch_size or 1
        parts = [images[i : i + size] for i in range(0, len(images), size)]
        found = [runner(images=part) for part in parts]
        return {name: np.concatenate([one[name] for one in found]) for name in request.endpoints}

    return Run(name, run)
