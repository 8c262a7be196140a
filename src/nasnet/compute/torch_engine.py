"""The PyTorch engine: the rewritten plan computed by torch's kernels, on CPU or GPU.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from nasnet.compute.engine import (
    Compiled,
    EngineOptions,
    Images,
    ModelKey,
    Outputs,
    Precision,
    key_for,
    padded,
)
from nasnet.errors import UnsupportedError, needs
from nasnet.network import rewrites
from nasnet.network.code import decode
from nasnet.weights.weights import Weights, program_of

_DTYPES: Mapping[Precision, str] = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
_GPU_BATCH = 64
_WARM_UP = 3  # runs before the capture, in which libraries choose kernels and take memory


def create(weights: Weights, options: EngineOptions, *, separable: bool = False) -> _Torch:
    """Make the engine.

    `separable` computes separable convolutions by one kernel each (see `torch.separable`), which no
    GPU has measured yet.

    Raises:
        MissingExtraError: torch is not installed.
        UnsupportedError: this machine lacks the device.
    """
    torch = needs("torch", extra="torch")
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(options.device_or(usual).lower())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        there = ["CPU", *(["CUDA"] if torch.cuda.is_available() else [])]
        raise UnsupportedError(
            f"this machine's torch has no device {options.device!r}; it has {', '.join(there)}"
        ) from None
    precision = _precision(options, torch, device)
    return _Torch(weights, options, torch, device, precision=precision, separable=separable)


def _precision(options: EngineOptions, torch: Any, device: Any) -> Precision:  # noqa: ANN401
    """What is computed in: as was asked for, or what is fastest.

    On a CPU that is f32: of these many small convolutions torch's bfloat16 kernels gain nothing.
    """
    if options.precision == "auto":
        if device.type != "cuda":
            return "f32"
        return "bf16" if torch.cuda.is_bf16_supported() else "f16"
    if options.precision not in _DTYPES:
        raise UnsupportedError(
            f"the torch engine does not compute in {options.precision}; "
            "use the openvino engine for it, or f32, bf16 or f16"
        )
    return options.precision


class _Torch:
    """One set of weights on one device; lives as long as its owner."""

    def __init__(
        self,
        weights: Weights,
        options: EngineOptions,
        torch: Any,  # noqa: ANN401
        device: Any,  # noqa: ANN401
        *,
        precision: Precision,
        separable: bool,
    ) -> None:
        self.name = f"torch {torch.__version__}"
        self.device = str(device).upper()
        self.precision = precision
        gpu = device.type == "cuda"
        self.batch = options.pictures(_GPU_BATCH) if gpu else options.pictures()
        self.streams = 1  # torch spreads one call over all cores by itself
        self.apart = False
        # A compiled network and a captured one are made for one batch size each.
        self._fixed = options.compile or gpu
        self._compiles = options.compile
        self._separable = separable
        self._weights = weights
        self._torch = torch
        self._place = device
        self._dtype = getattr(torch, _DTYPES[precision])
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._runners = Compiled(self._compile)

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        alone = self._fixed and len(images) == 1
        key = key_for(images, endpoints, batch=self.batch, alone=alone)
        run = self._runners.get(key)
        torch = self._torch
        pixels = padded(images, key.batch) if self._fixed else np.ascontiguousarray(images)
        with torch.inference_mode():
            values = run(torch.from_numpy(pixels))
        return {
            name: value.numpy()[: len(images)]
            for name, value in zip(endpoints, values, strict=True)
        }

    def close(self) -> None:
        self._runners.clear()

    def _compile(self, key: ModelKey) -> Any:  # noqa: ANN401
        from nasnet.compute.torch.operations import Behaviour, compute
        from nasnet.compute.torch.state import key_of, to_state

        spec = decode(self._weights.spec)
        program = program_of(self._weights, key.height, key.width)
        program = rewrites.for_inference(program, key.endpoints, uint8=key.uint8)
        torch = self._torch
        tensors = {
            name: tensor.to(self._place, self._dtype).contiguous(
                memory_format=torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            )
            for name, tensor in to_state(program.arrays).items()
        }
        behaviour = Behaviour(spec=spec)
        wanted = [program.plan.endpoints[name] for name in key.endpoints]
        steps = [
            (op.name, op.inputs, partial(compute, op, parameters=own, behaviour=behaviour))
            for op in program.plan.operations
            for own in [{n.rpartition("/")[2]: tensors[key_of(n)] for n in op.parameters}]
        ]
        if self._separable:
            from nasnet.compute.torch.separable import Separable, fuse, separable

            single = {name: how for name, _, how in steps}
            named = {name: tensors[key_of(name)] for name in program.arrays}
            steps = [
                (op.name, op.inputs, partial(separable, op, parameters=named))
                if isinstance(op, Separable)
                else (op.name, op.inputs, single[op.name])
                for op in fuse(program.plan.operations, wanted)
            ]
        last_use = {name: i for i, (_, inputs, _) in enumerate(steps) for name in inputs}

        def run(images: Any) -> list[Any]:  # noqa: ANN401
            """Pictures and endpoints in TF-Slim's layout, both on the device."""
            values: dict[str, Any] = {"images": images.permute(0, 3, 1, 2).to(self._dtype)}
            for number, (result, inputs, how) in enumerate(steps):
                values[result] = how([values[name] for name in inputs])
                for name in set(inputs):
                    if last_use[name] == number and name not in wanted:
                        del values[name]
            found = (values[name] for name in wanted)
            return [
                (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).float().contiguous()
                for value in found
            ]

        pixels = torch.uint8 if key.uint8 else torch.float32
        shape = (key.batch, key.height, key.width, 3)
        if self._compiles:
            run = _compiled(torch, run, torch.zeros(shape, dtype=pixels, device=self._place))
        if self._place.type == "cuda":
            from nasnet.compute.torch_engine import on_gpu

            return on_gpu(run, torch.zeros(shape, dtype=pixels, device=self._place))
        # A compiled network may give the same memory again: results are the caller's own.
        return lambda images: [value.clone() for value in run(images.to(self._place))]


def _compiled(torch: Any, run: Any, images: Any) -> Any:  # noqa: ANN401
    """Compile now, on pictures like those to come: what it lacks is said before work begins."""
    made = torch.compile(run, dynamic=False)
    try:
        with torch.inference_mode():
            made(images)
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise UnsupportedError(
            f"torch cannot compile the network here ({first}); go on without compile"
        ) from None
    return made


def on_gpu(run: Callable[[Any], list[Any]], images: Any) -> Callable[[Any], list[Any]]:  # noqa: ANN401
    """Capture `run` for pictures like these; where that is not possible, run it step by step.

    Args:
        run: from pictures on the device to float32 tensors on the device.
        images: tensor on the device; its place is where all later pictures are copied to.

    Returns:
        A function from pictures in main memory to results in main memory, safe between threads.
    """
    import torch

    captured = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.device(images.device):
        # As torch's notes on CUDA graphs ask: the first runs go on a stream of their own.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                run(images)
        torch.cuda.current_stream().wait_stream(aside)
        try:
            with torch.cuda.graph(captured):
                results = run(images)
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            warnings.warn(f"no CUDA graph, kernels start one by one: {first}", stacklevel=2)
            return lambda pictures: [one.cpu() for one in run(pictures.to(images.device))]
    lock = threading.Lock()  # one place for pictures, one for results

    def replay(pictures: Any) -> list[Any]:  # noqa: ANN401
        with lock, torch.inference_mode(), torch.cuda.device(images.device):
            images.copy_(pictures)
            captured.replay()
            return [one.cpu() for one in results]

    return replay
