"""The seam behind which a framework computes: the `Engine` protocol, its options, its registry.

Each engine lives in a file of its own that is imported on use.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

from nasnet.compute import onnx_model
from nasnet.errors import InputError, check_ranges
from nasnet.network import rewrites
from nasnet.system import usable_cores
from nasnet.text import check_known
from nasnet.weights.weights import Weights, fingerprint, program_of

Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.float32]]
Precision = Literal["f32", "bf16", "f16", "int8", "auto"]
EngineName = Literal["openvino", "onnxruntime", "torch"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
T = TypeVar("T")

# Engine name -> the room that has its `create`.
ENGINES: Mapping[EngineName, str] = {
    "openvino": "nasnet.compute.openvino_engine",
    "onnxruntime": "nasnet.compute.onnxruntime_engine",
    "torch": "nasnet.compute.torch_engine",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to compute.

    Attributes:
        engine: what computes: `openvino`, the fastest on CPUs; `onnxruntime` (extra of that
            name), or `torch` (extra of that name), also on GPUs.
        device: as the engine calls it, such as `CPU` or `cuda:1`; `auto` is the CPU, and for
            torch a GPU where there is one.
        precision: `f32`, exact; `bf16` or `f16`, faster where the device has that arithmetic and
            a little off; `int8`, as fast as bf16 on x86 processors that multiply bytes (VNNI) and
            further off, for weights that carry the ranges of their maps, as `builtin` does
            (`nasnet weights pack --ranges`); `auto`, the fastest the device has (on a CPU
            bfloat16, else with VNNI int8 for such weights, else f32).
        threads: cores to use; if not given, all that this process may use (by its affinity mask and
            the container's quota).
        batch_size: pictures in one run of one stream; 4 if not given, which fits the cache of
            common cores best, and 64 on a GPU by the torch engine.
        compile: let torch fuse the network's kernels (`torch.compile`): a minute at the first call
            of each size. Only of the torch engine; the others always compile.
        model_cache: keep what OpenVINO compiles in the user's cache folder (1 GB at most), so that
            the next start need not compile.
    """

    engine: EngineName = "openvino"
    device: str = "auto"
    precision: Precision = "f32"
    threads: int | None = None
    batch_size: int | None = None
    compile: bool = False
    model_cache: bool = True

    def __post_init__(self) -> None:
        """Refuse what no engine could do."""
        check_known("engine", self.engine, ENGINES)
        check_known("precision", self.precision, PRECISIONS)
        check_ranges(self, {"batch_size": "[1, inf)", "threads": "[1, inf)"})
        if self.compile and self.engine != "torch":
            raise InputError(f"compile is for the torch engine; {self.engine} always compiles")

    @property
    def cores(self) -> int:
        """The number of threads that is meant."""
        return usable_cores() if self.threads is None else self.threads

    def device_or(self, usual: str) -> str:
        """The device that is meant: what was asked for, else the engine's usual one."""
        return usual if self.device == "auto" else self.device

    def pictures(self, usual: int = 4) -> int:
        """The batch that is meant: what was asked for, else what is usual for the device."""
        return usual if self.batch_size is None else self.batch_size


class Engine(Protocol):
    """Runs one network's weights on one device.

    `infer` is safe to call from `streams` threads at once and releases the interpreter lock.
    """

    @property
    def name(self) -> str:
        """Framework and version, for reports."""

    @property
    def device(self) -> str:
        """The device that really computes."""

    @property
    def precision(self) -> str:
        """The precision it really computes in."""

    @property
    def batch(self) -> int:
        """The most pictures one call takes."""

    @property
    def streams(self) -> int:
        """How many calls at once use the device fully."""

    @property
    def apart(self) -> bool:
        """Whether fewer pictures than a batch are done soonest one by one."""

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        """Compute endpoints of up to `batch` pictures.

        Args:
            images: [n, height, width, 3], float32 in [0, 1] or uint8.
            endpoints: TF-Slim endpoint names.
            alone: no other call runs at the same time, so this one may use every core.

        Returns:
            Endpoint -> float32 array, [n, ...] in TF-Slim's layout.
        """

    def close(self) -> None:
        """Give the compiled models back."""


class _EngineFactory(Protocol):
    def __call__(self, weights: Weights, options: EngineOptions) -> Engine: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKey:
    """What one compiled model was made for."""

    height: int
    width: int
    uint8: bool
    endpoints: tuple[str, ...]
    batch: int
    alone: bool


def create(weights: Weights, options: EngineOptions | None = None) -> Engine:
    """Make the engine the options name, with these weights.

    Raises:
        MissingExtraError: its framework is not installed.
        UnsupportedError: this machine lacks the device or the precision.
    """
    options = options or EngineOptions()
    room = importlib.import_module(ENGINES[options.engine])
    return cast(_EngineFactory, room.create)(weights, options)


def onnx_bytes(
    weights: Weights, key: ModelKey, *, whole: bool = False, floats: bool = False
) -> bytes:
    """The rewritten network of a key as a serialised ONNX model.

    Args:
        weights: the network and its arrays.
        key: what the model is for.
        whole: compute in 8 bits, where the weights carry the ranges for it.
        floats: take float32 always, pixels 0 to 255 where the key says uint8.
    """
    program = program_of(weights, key.height, key.width)
    rewritten = rewrites.for_inference(program, key.endpoints, uint8=key.uint8)
    metadata = {
        "weights": weights.source,
        "weights_fingerprint": fingerprint(weights),
        "padding": weights.padding,
    }
    model = onnx_model.render(
        rewritten,
        uint8=key.uint8 and not floats,
        batch=key.batch,
        ranges=weights.ranges if whole else None,
        metadata=metadata,
    )
    return bytes(model.SerializeToString())


def key_for(images: Images, endpoints: tuple[str, ...], *, batch: int, alone: bool) -> ModelKey:
    """The compiled model that suits a call: of one picture if it comes alone, else of a batch."""
    return ModelKey(
        height=images.shape[1],
        width=images.shape[2],
        uint8=images.dtype == np.uint8,
        endpoints=endpoints,
        batch=1 if alone and len(images) == 1 else batch,
        alone=alone,
    )


class Compiled(Generic[T]):
    """The few models an engine keeps compiled, safe between threads.

    Each size and set of endpoints needs one of its own, with its own activations; the least
    recently used leaves first, so memory stays bounded however many sizes come along.
    """

    def __init__(
        self, compile_model: Callable[[ModelKey], T], *, keep: int = 4, forks: bool = True
    ) -> None:
        """Hold models that `compile_model` makes, `keep` of them at most.

        `forks`: whether a model still computes in a process that was forked from the one that made
        it, which has none of its threads.
        """
        self._compile = compile_model
        self._keep = keep
        self._forks = forks
        self._inherited: object = None
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._models: OrderedDict[ModelKey, T] = OrderedDict()

    def get(self, key: ModelKey) -> T:
        """The model for a key, compiled now if it is not there."""
        if not self._forks and self._process != os.getpid():
            self._inherited = self._models  # not given back either: that waits for their threads
            self._begin()
        with self._lock:
            if key not in self._models:
                self._models[key] = self._compile(key)
                if len(self._models) > self._keep:
                    self._models.popitem(last=False)
            self._models.move_to_end(key)
            return self._models[key]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._models.clear()


def run(engine: Engine, images: Images, endpoints: Sequence[str]) -> Outputs:
    """Compute endpoints of any number of pictures; arguments as for `Engine.infer`.

    Fewer than a batch go one by one over all cores, where that is quickest; batches too few for the
    streams go one after another over all cores; more go over all streams at once.
    """
    names = tuple(dict.fromkeys(endpoints))  # a compiled model gives each once
    count = len(images)
    if not count or (count < engine.batch and engine.apart):
        # An empty batch still has to tell its shapes: compute one black picture, keep none.
        some = images if count else np.zeros((1, *images.shape[1:]), images.dtype)
        ones = [engine.infer(some[i : i + 1], names, alone=True) for i in range(max(count, 1))]
        return {name: np.concatenate([one[name] for one in ones])[:count] for name in names}
    starts = range(0, count, engine.batch)
    # All cores on one batch lose little to each other; half of the streams idle lose half.
    alone = 2 * len(starts) <= engine.streams

    def part(start: int) -> Outputs:
        return engine.infer(images[start : start + engine.batch], names, alone=alone)

    with ThreadPoolExecutor(1 if alone else engine.streams) as threads:
        parts = list(threads.map(part, starts))
    return {name: np.concatenate([one[name] for one in parts]) for name in names}


def padded(images: Images, batch: int) -> npt.NDArray[Any]:
    """A contiguous batch of exactly `batch` pictures; what is lacking repeats the last one."""
    lacking = batch - len(images)
    if lacking:
        images = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)])
    return np.ascontiguousarray(images)
