"""What one GPU does with the network: its own limits, pictures embedded, pictures trained on.

    python -m benchmarks.gpu [--batches 1 64 256] [--sizes 128 160] [--seconds 2]

Limits are a large copy and a large matrix product. Embedding is the torch engine from bytes in main
memory to vectors there: as it is, with `--compile`, and with separable convolutions as one kernel
each. Training is one step (forward, backward, clipping, AdamW) on pictures in
main memory, each pass started kernel by kernel and as one recorded graph, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product as product_of

import numpy as np
import torch

from benchmarks.operations import costs, inference_plan
from nasnet.compute.engine import EngineOptions, Precision
from nasnet.compute.torch.model import NASNet
from nasnet.compute.torch_engine import create
from nasnet.errors import NasnetError
from nasnet.pictures.batches import TrainBatch
from nasnet.train.loop import Classification
from nasnet.train.loop.passes import Captured, Pass, Plain, Work
from nasnet.weights.weights import seeded

__all__ = ["main"]

_SIDE = 8192  # of the matrices
_COPIED = 1 << 30
_ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    """The median time of a piece of work that the GPU has finished."""
    found = []
    for number in range(_ROUNDS + 2):
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if number >= 2:
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def limits() -> tuple[float, float]:
    """Bytes a second that a copy reads and writes, and operations of a bf16 matrix product."""
    one = torch.empty(_COPIED, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    copied = 2 * _COPIED / seconds(lambda: other.copy_(one))
    a = torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16)
    b = torch.randn_like(a)
    return copied, 2 * _SIDE**3 / seconds(lambda: a @ b)


PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")
WAYS = ("one graph", "compiled", "separable kernels")


def embedded(precision: Precision, way: str, batch: int, wanted: float) -> float:
    """Pictures a second through the engine."""
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    options = EngineOptions(
        engine="torch",
        device="cuda",
        precision=precision,
        batch_size=batch,
        compile=way == "compiled",
    )
    engine = create(seeded(7), options, separable=way == "separable kernels")
    names = ("global_pool",)
    engine.infer(images, names, alone=True)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < wanted:
        engine.infer(images, names, alone=True)
        done += batch
    rate = done / (time.perf_counter() - began)
    engine.close()
    return rate


def step(
    net: NASNet, optimizer: torch.optim.Optimizer, compute: Pass, pictures: TrainBatch
) -> None:
    compute(pictures, 1)
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def trained(size: int, batch: int) -> dict[str, float]:
    """Seconds a training step takes, by how its pass is done."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 1001, batch)
    pictures = TrainBatch(
        epoch=0,
        step=0,
        images=random.integers(0, 256, (batch, size, size, 3), dtype=np.uint8),
        labels=labels,
        mixed=labels,
        share=np.ones(batch, np.float32),
        ids=tuple(map(str, range(batch))),
        rows=np.arange(batch),
    )
    device = torch.device("cuda")
    found = {}
    for name in ("kernel by kernel", "one graph"):
        net = NASNet("mobile").to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
        work = Work(
            objective=Classification(),
            forward=net,
            device=device,
            precision="bf16",
            scale=lambda loss: loss,
        )
        compute: Pass = Captured(work, net) if name == "one graph" else Plain(work)
        found[name] = seconds(partial(step, net, optimizer, compute, pictures))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "benchmarks.gpu: this machine's torch sees no GPU\n")
    copied, product = limits()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"copy {copied / 1e12:.2f} TB/s, bf16 matrix product {product / 1e12:.0f} TFLOP/s\n")
    fused = 2 * sum(cost.fused for cost in costs(inference_plan("mobile")).values())  # bytes, bf16
    print("| embedding | by | batch | pictures/s | of what memory allows |\n|---|---|---|---|---|")
    for precision, way in product_of(PRECISIONS, WAYS):
        share = copied / (fused * (2 if precision == "f32" else 1))
        for batch in options.batches:
            try:
                rate = embedded(precision, way, batch, options.seconds)
            except (RuntimeError, NasnetError) as error:  # the other rows are worth having
                print(f"| {precision} | {way} | {batch} | {error!r} | |", flush=True)
                continue
            row = f"{batch} | {rate:,.0f} | {rate / share:.0%}"
            print(f"| {precision} | {way} | {row} |", flush=True)
    print(
        "\n| training, bf16, batch 256 | kernel by kernel | one graph | times |\n|---|---|---|---|"
    )
    for size in options.sizes:
        took = trained(size, 256)
        plain, graph = took["kernel by kernel"], took["one graph"]
        rates = f"{256 / plain:,.0f}/s | {256 / graph:,.0f}/s | {plain / graph:.1f}x"
        print(f"| {size} px | {rates} |", flush=True)


if __name__ == "__main__":
    main()
