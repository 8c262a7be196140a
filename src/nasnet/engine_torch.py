"""The PyTorch engine: the rewritten plan computed by torch's kernels, on CPU or GPU.

Called through `engine.create`; needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasnet import cells, network, rewrites
from nasnet.engine import Compiled, EngineOptions, Images, ModelKey, Outputs, Precision, key_for
from nasnet.errors import UnsupportedError, needs
from nasnet.weights import Weights

__all__ = ["create"]

_DTYPES: Mapping[Precision, str] = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def create(weights: Weights, options: EngineOptions) -> _Torch:
    """Make the engine.

    Raises:
        MissingExtraError: torch is not installed.
        UnsupportedError: this machine lacks the device.
    """
    torch = needs("torch", extra="torch")
    try:
        device = torch.device(options.device.lower())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        there = ["CPU", *(["CUDA"] if torch.cuda.is_available() else [])]
        raise UnsupportedError(
            f"this machine's torch has no device {options.device!r}; it has {', '.join(there)}"
        ) from None
    return _Torch(weights, options, torch, device, precision=_precision(options, torch, device))


def _precision(options: EngineOptions, torch: Any, device: Any) -> Precision:  # noqa: ANN401
    """What is computed in: as was asked for, or what is fastest.

    On a CPU that is f32: of these many small convolutions torch's bfloat16 kernels gain nothing.
    """
    if options.precision == "auto":
        if device.type != "cuda":
            return "f32"
        return "bf16" if torch.cuda.is_bf16_supported() else "f16"
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
    ) -> None:
        self.name = f"torch {torch.__version__}"
        self.device = str(device).upper()
        self.precision = precision
        self.batch = options.batch
        self.streams = 1  # torch spreads one call over all cores by itself
        self._weights = weights
        self._torch = torch
        self._place = device
        self._dtype = getattr(torch, _DTYPES[precision])
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._runners = Compiled(self._compile)

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        # Nothing here is made for one batch size or pixel type: all calls share one runner.
        key = key_for(images, endpoints, batch=self.batch, alone=False)
        runner = self._runners.get(key)
        torch = self._torch
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._place)
            values = runner(pixels.permute(0, 3, 1, 2).to(self._dtype))
            return {
                name: (value.permute(0, 2, 3, 1) if value.ndim == 4 else value)
                .to("cpu", torch.float32)
                .contiguous()
                .numpy()
                for name, value in zip(endpoints, values, strict=True)
            }

    def close(self) -> None:
        self._runners.clear()

    def _compile(self, key: ModelKey) -> Any:  # noqa: ANN401
        from nasnet.torch_operations import Behaviour, compute
        from nasnet.torch_weights import key_of, to_state

        spec = cells.preset(self._weights.spec)
        plan = network.build(
            spec,
            height=key.height,
            width=key.width,
            num_classes=self._weights.num_classes,
            padding=self._weights.padding,
        )
        program = rewrites.Program(plan=plan, arrays=self._weights.arrays)
        program = rewrites.for_inference(program, key.endpoints, uint8=key.uint8)
        torch = self._torch
        tensors = {
            name: tensor.to(self._place, self._dtype).contiguous(
                memory_format=torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            )
            for name, tensor in to_state(program.arrays).items()
        }
        behaviour = Behaviour(spec=spec)
        steps = [
            (op, {name.rpartition("/")[2]: tensors[key_of(name)] for name in op.parameters})
            for op in program.plan.operations
        ]
        last_use = {name: i for i, (op, _) in enumerate(steps) for name in op.inputs}
        wanted = [program.plan.endpoints[name] for name in key.endpoints]

        def run(pixels: Any) -> list[Any]:  # noqa: ANN401
            values: dict[str, Any] = {"images": pixels}
            for number, (op, parameters) in enumerate(steps):
                read = [values[name] for name in op.inputs]
                values[op.name] = compute(op, read, parameters, behaviour)
                for name in set(op.inputs):
                    if last_use[name] == number and name not in wanted:
                        del values[name]
            return [values[name] for name in wanted]

        return run
