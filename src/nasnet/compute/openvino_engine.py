"""The OpenVINO engine, the default: fastest on CPUs of those measured, exact when told f32.

No tensor of OpenVINO leaves this file.
"""

from __future__ import annotations

import functools
import importlib
import io
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.compute import model_cache
from nasnet.compute.engine import (
    Compiled,
    EngineOptions,
    Images,
    ModelKey,
    Outputs,
    Precision,
    key_for,
    onnx_bytes,
    padded,
)
from nasnet.compute.processor import multiplies_bytes
from nasnet.errors import UnsupportedError, hidden
from nasnet.weights.ranges import digest, lacking
from nasnet.weights.weights import Weights, fingerprint

if TYPE_CHECKING:
    import openvino

_LOG = logging.getLogger(__name__)
# OpenVINO's Python layer fills a table of types when first used; two threads that come first at
# once wait for each other for ever (2026.4). Whoever makes an engine uses it once, one at a time.
_FIRST_USE = threading.Lock()


def create(weights: Weights, options: EngineOptions) -> _OpenVino:
    """Make the engine.

    Raises:
        UnsupportedError: the device is not there, or lacks the precision.
    """
    core = process_core()
    device = options.device_or("CPU")
    if device.split(".")[0].split(":")[0] not in (*core.available_devices, "AUTO"):
        raise UnsupportedError(
            f"OpenVINO finds no device {device!r}; it has {', '.join(core.available_devices)}"
        )
    precision = _precision(weights, options, device, core)
    return _OpenVino(weights, options, device, core, precision=precision)


# Precision -> what OpenVINO calls the arithmetic, the fastest first.
_ARITHMETIC: Mapping[Precision, str] = {"f16": "FP16", "bf16": "BF16"}


def _precision(
    weights: Weights, options: EngineOptions, device: str, core: openvino.Core
) -> Precision:
    """What is computed in: as was asked for, or the fastest there is."""
    if options.precision == "f32":
        return "f32"
    if options.precision == "int8":
        if device != "CPU":
            raise UnsupportedError(f"int8 is for the CPU, not {device}; use f32 or f16 there")
        if weights.ranges is None:
            raise UnsupportedError(
                f"{lacking(weights.source)}; or use f32, or auto for the fastest without"
            )
        return "int8"
    able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if options.precision == "auto":
        # No faster than bfloat16; without these instructions less is gained, and sums saturate.
        whole = device == "CPU" and weights.ranges is not None and multiplies_bytes()
        last: Precision = "int8" if whole else "f32"
        return next((name for name, word in _ARITHMETIC.items() if word in able), last)
    if _ARITHMETIC[options.precision] not in able:
        raise UnsupportedError(
            f"{device} has no {options.precision} arithmetic (it has {', '.join(able)}); "
            "use f32, or auto for the fastest it has"
        )
    return options.precision


def process_core() -> openvino.Core:
    """The process's one OpenVINO core, which lives as long as the process.

    Its CPU plugin gives the thread that makes it another stack for signal handlers, and takes it
    away when it goes (2026.4). Of several cores that go in another order than they came, the
    last leaves a stack that is no memory any more, and the next Ctrl-C ends the process.
    """
    with _FIRST_USE:
        return _core()


def import_openvino() -> ModuleType:
    """openvino, without its telemetry.

    To import it starts a process that reports the import to its makers, and makes `~/intel`
    (2026.4). Nobody who computes vectors expects that, and without a network it takes its time.
    """
    with hidden("openvino_telemetry"):
        return importlib.import_module("openvino")


@functools.cache
def _core() -> openvino.Core:
    module = import_openvino()
    module.Tensor(np.zeros(1, np.float32)).element_type.to_dtype()
    core: openvino.Core = module.Core()
    return core


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """An infer request with NumPy views of its tensors, whose places never change."""

    images: npt.NDArray[Any]
    outputs: list[npt.NDArray[np.float32]]
    start: Callable[[], object]


class _OpenVino:
    """Compiled models of one set of weights; lives as long as its owner."""

    def __init__(
        self,
        weights: Weights,
        options: EngineOptions,
        device: str,
        core: openvino.Core,
        *,
        precision: Precision,
    ) -> None:
        self.name = f"openvino {import_openvino().__version__.split('-')[0]}"
        self.device = device
        self._int8 = precision == "int8"
        # Vectors of other ranges are others, of which the weights' fingerprint says nothing.
        self._ranges = digest(weights.ranges) if self._int8 else ""
        self.precision = f"int8/{self._ranges[:8]}" if self._int8 else precision
        self.batch = options.pictures()
        self.streams = options.cores
        self.apart = True
        self._weights = weights
        self._core = core
        self._model_cache = options.model_cache and device == "CPU"
        self._requests = Compiled(self._compile, forks=False)

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        key = key_for(images, endpoints, batch=self.batch, alone=alone)
        requests = self._requests.get(key)
        request = requests.get()
        try:
            request.images[...] = padded(images, key.batch)
            request.start()
            return {
                name: output[: len(images)].copy()
                for name, output in zip(endpoints, request.outputs, strict=True)
            }
        finally:
            requests.put(request)

    def close(self) -> None:
        self._requests.clear()

    def _compile(self, key: ModelKey) -> SimpleQueue[_Request]:
        """Compile a model; a queue hands its infer requests out to one thread each."""
        streams = 1 if key.alone else self.streams
        properties: dict[str, Any] = {
            # OpenVINO takes bfloat16 by itself where the processor has it. What int8 leaves in
            # float, the first cell and the sums, is in float32.
            "INFERENCE_PRECISION_HINT": "f32" if self._int8 else self.precision,
            "PERFORMANCE_HINT": "LATENCY" if key.alone else "THROUGHPUT",
        }
        if self.device == "CPU":
            properties |= {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": self.streams}
        compiled = self._compiled(key, properties)
        requests: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(streams):
            request = compiled.create_infer_request()
            outputs = range(len(key.endpoints))
            requests.put(
                _Request(
                    images=request.get_input_tensor(0).data,
                    outputs=[request.get_output_tensor(index).data for index in outputs],
                    start=request.infer,
                )
            )
        return requests

    def _compiled(self, key: ModelKey, properties: Mapping[str, Any]) -> openvino.CompiledModel:
        """The model, read back where an earlier start has compiled the same."""
        identity = {
            "weights": fingerprint(self._weights),
            "network": [self._weights.spec, self._weights.num_classes, self._weights.padding],
            "model": asdict(key),
            "precision": self.precision,
            "ranges": self._ranges,
            "properties": dict(properties),
            "openvino": import_openvino().__version__,
        }
        place = model_cache.place_of(identity) if self._model_cache else None
        kept = model_cache.read(place) if place else None
        if kept is not None:
            try:
                # A tensor, since OpenVINO copies a stream once more.
                tensor = import_openvino().Tensor(np.frombuffer(kept, np.uint8))
                return self._core.import_model(tensor, self.device, properties)
            except RuntimeError as error:
                _LOG.debug("%s: compiled anew: %s", place, error)
        # Bytes become floats as they are copied into the tensor. OpenVINO would bring them to
        # channels first and back again, which takes 1 to 2 % of a picture.
        whole, floats = self._int8, self.device == "CPU"
        graph = onnx_bytes(self._weights, key, whole=whole, floats=floats)
        model = self._core.read_model(graph)
        compiled = self._core.compile_model(model, self.device, properties)
        if place:
            exported = io.BytesIO()
            compiled.export_model(exported)
            model_cache.write(place, exported.getvalue())
        return compiled
