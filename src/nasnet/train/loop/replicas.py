"""Where training runs: several processes and how they share their work, the device, memory.

Plain torch.distributed, started by `torchrun`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any

import torch
from torch import distributed, nn

from nasnet.compute.processor import multiplies_bfloat16
from nasnet.errors import InputError

# All wait while one validates, or asks a teacher; one that died is noticed at once all the same.
_TIMEOUT = timedelta(days=7)
_TRIM, _MAPS = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's mallopt


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """This process among those that train together.

    Attributes:
        rank: its number; the process of rank 0 writes files and reports.
        world: how many there are.
        local: its number on this machine, which chooses its GPU.
        group: what they talk through; None for a process alone.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    group: Any = None

    @property
    def writes(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean over all processes of each number."""
        if self.group is None:
            return dict(values)
        summed = torch.tensor(list(values.values()), dtype=torch.float64)
        distributed.all_reduce(summed, group=self.group)
        return dict(zip(values, (summed / self.world).tolist(), strict=True))

    def agree(self, value: bool) -> bool:
        """Whether any process says so; all get the same answer."""
        if self.group is None:
            return value
        said = torch.tensor(float(value))
        distributed.all_reduce(said, group=self.group)
        return bool(said > 0)

    def same(self, value: int) -> bool:
        """Whether all processes have the same number; all get the same answer."""
        if self.group is None:
            return True
        bounds = torch.tensor([value, -value], dtype=torch.int64)
        distributed.all_reduce(bounds, op=distributed.ReduceOp.MAX, group=self.group)
        return bool(bounds[0] == -bounds[1])

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of parameters outside the wrapped network over all processes."""
        if self.group is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad, group=self.group)
                parameter.grad /= self.world


ALONE = Replicas()


def device_of(name: str, replicas: Replicas = ALONE) -> torch.device:
    """The device a name means; `auto` is this process's GPU where there is one, else the CPU.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        name = f"cuda:{replicas.local}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here: {first}") from None
    return device


@contextmanager
def joined() -> Iterator[Replicas]:
    """Join the processes that `torchrun` started; alone where it did not start this one.

    Raises:
        InputError: the environment names processes, but they cannot be joined.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    # Statistics and small numbers go over gloo also where gradients go over NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    try:
        distributed.init_process_group(backend, timeout=_TIMEOUT)
    except (ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"the {world} processes of WORLD_SIZE cannot be joined: {first}") from None
    try:
        yield Replicas(
            rank=distributed.get_rank(),
            world=world,
            local=local,
            group=distributed.group.WORLD,
        )
    finally:
        distributed.destroy_process_group()
        # What still holds the group (the wrapped network, in a cycle) would end its threads while
        # the process ends, which aborts it now and then.
        gc.collect()


def wrapped(network: nn.Module, replicas: Replicas, *, alike: bool) -> nn.Module:
    """The network whose gradients are averaged over all processes.

    Moving averages are `alike` where batch norm takes its statistics over all processes; if not,
    those of the first process go to all before each pass.
    """
    if replicas.group is None:
        return network
    from torch.nn.parallel import DistributedDataParallel

    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers"  # of torch 2.13; its old name is deprecated there
    return DistributedDataParallel(
        network, **{buffers if buffers in known else "broadcast_buffers": not alike}
    )


def resolved(precision: str, device: torch.device) -> str:
    """The arithmetic a name means; `auto` is bf16 where the device computes in it, else f32."""
    if precision != "auto":
        return precision
    has = {"cpu": multiplies_bfloat16, "cuda": torch.cuda.is_bf16_supported}.get(device.type)
    return "bf16" if has is not None and has() else "f32"


def autocast(precision: str, device: torch.device) -> Any:  # noqa: ANN401
    """The context a forward pass is computed in: `f32`, or mixed with `bf16` or `f16`."""
    kinds = {"bf16": torch.bfloat16, "f16": torch.float16}
    return torch.autocast(device.type, kinds[precision]) if precision in kinds else nullcontext()


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let malloc keep what is freed (glibc's; others are left alone), and give it back at the end.

    A step on a CPU takes and frees a gigabyte; as pages the kernel clears anew it is a tenth of
    the step's time.
    """
    import ctypes

    try:
        library = ctypes.CDLL(None)
        set_option, give_back = library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):
        yield
        return
    set_option(_TRIM, -1)  # never
    set_option(_MAPS, 0)  # no allocation is a mapping of its own
    try:
        yield
    finally:
        set_option(_TRIM, 64 << 20)  # what glibc would have come to by itself, and its default
        set_option(_MAPS, 65536)
        give_back(0)
