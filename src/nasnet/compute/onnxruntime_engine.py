"""The ONNX Runtime engine (extra `onnxruntime`): the same graph where its providers run.

No value of ONNX Runtime leaves this file.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from nasnet.compute.engine import (
    Compiled,
    EngineOptions,
    Images,
    ModelKey,
    Outputs,
    key_for,
    onnx_bytes,
    padded,
)
from nasnet.errors import UnsupportedError, needs
from nasnet.weights.weights import Weights

_PROVIDERS = {
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "COREML": "CoreMLExecutionProvider",
    "DIRECTML": "DmlExecutionProvider",
    "OPENVINO": "OpenVINOExecutionProvider",
}


def create(weights: Weights, options: EngineOptions) -> _OnnxRuntime:
    """Make the engine.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        UnsupportedError: the installed build lacks the device, or bfloat16 was asked for.
    """
    runtime = needs("onnxruntime", extra="onnxruntime")
    available = runtime.get_available_providers()
    device = options.device_or("CPU").upper()
    provider = _PROVIDERS.get(device)
    if provider is None or provider not in available:
        known = [device for device, name in _PROVIDERS.items() if name in available]
        raise UnsupportedError(
            f"this build of ONNX Runtime has no device {device!r}; it has {', '.join(known)}"
        )
    if options.precision not in ("f32", "auto"):
        raise UnsupportedError(
            f"the onnxruntime engine computes in f32 only, not {options.precision}; "
            "use it with f32, or the openvino engine"
        )
    return _OnnxRuntime(weights, options, runtime, device, provider)


class _OnnxRuntime:
    """Sessions of one set of weights; lives as long as its owner."""

    def __init__(
        self,
        weights: Weights,
        options: EngineOptions,
        runtime: ModuleType,
        device: str,
        provider: str,
    ) -> None:
        self.name = f"onnxruntime {runtime.__version__}"
        self.device = device
        self.precision = "f32"
        self.batch = options.pictures()
        self.streams = options.cores
        self.apart = True
        self._weights = weights
        self._runtime = runtime
        self._provider = provider
        self._sessions = Compiled(self._compile)

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        key = key_for(images, endpoints, batch=self.batch, alone=alone)
        session = self._sessions.get(key)
        values = session.run(list(endpoints), {"images": padded(images, key.batch)})
        return {name: value[: len(images)] for name, value in zip(endpoints, values, strict=True)}

    def close(self) -> None:
        self._sessions.clear()

    def _compile(self, key: ModelKey) -> Any:  # noqa: ANN401
        options = self._runtime.SessionOptions()
        # Calls come from `streams` threads at once, each computing alone in its own thread.
        options.intra_op_num_threads = self.streams if key.alone else 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return self._runtime.InferenceSession(
            onnx_bytes(self._weights, key), options, providers=[self._provider]
        )
