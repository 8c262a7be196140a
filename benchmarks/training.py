"""What a training step takes on a CPU, and which of its parts cost what: one table.

    python -m benchmarks.training --size 128 --batch 32

Each row is one change to the step that `nasnet finetune --mode full` makes by default; all take
turns, and the figures are processor seconds of one thread, so that other work on the machine
matters less. `before` is that step as torch makes it by itself: batch norm as passes of its own,
an optimizer of many small operations, memory that goes back to the kernel after every step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.pictures.batches import TrainBatch
from nasnet.train.loop import ALONE, Classification
from nasnet.train.loop.optimizers import depths_of, make
from nasnet.train.loop.passes import Plain, Work, clip_gradients, prepare
from nasnet.train.loop.replicas import memory_kept
from nasnet.train.recipe import TrainOptions
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.opening import open_weights

CLASSES = 10
STEM = ("conv0", "cell_stem")
Step = Callable[[], float]


def random_batch(count: int, size: int) -> TrainBatch:
    """Pictures of noise: what is in them takes no time."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    return TrainBatch(
        epoch=0,
        step=0,
        images=random.integers(0, 256, (count, size, size, 3), np.uint8),
        labels=labels,
        mixed=labels,
        share=np.ones(count, np.float32),
        ids=("",) * count,
        rows=np.arange(count),
    )


def step_of(options: TrainOptions, batch: TrainBatch, *, by_itself: bool = False) -> Step:
    """One whole step: forward, backward, clipping, and the optimizer's move."""
    weights = open_weights("builtin").weights
    network = NASNet(num_classes=CLASSES)
    network.load(weights, new_head=True)
    device = torch.device("cpu")
    network.to(memory_format=torch.channels_last)
    prepare(network, options, ALONE, device)
    if by_itself:
        for segment in network.segments:
            segment._norms = {}
    network.train()
    moving = {k: p for k, p in network.named_parameters() if p.requires_grad}
    decayed, depth = frozenset(network.regularized()), depths_of(network)
    optimizer = make(moving, options.optimizer, decayed=decayed, depth=depth)
    if by_itself:
        optimizer = torch.optim.AdamW(list(moving.values()), foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = 1e-6  # numbers stay sound however often it is repeated
    work = Work(
        objective=Classification(),
        forward=network,
        device=device,
        precision=options.precision,
        scale=lambda loss: loss,
    )
    compute = Plain(work)

    def step() -> float:
        """Processor seconds of the second of two steps: the first one takes the memory."""
        with nullcontext() if by_itself else memory_kept():
            for _ in range(2):
                began = time.process_time()
                compute(batch, 1)
                clip_gradients(moving.values(), options.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return time.process_time() - began

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain = replace(read_recipe("finetune").train, precision="f32", frozen=(), batch_norm="moving")
    batch = random_batch(options.batch, options.size)
    double = random_batch(2 * options.batch, options.size)
    rows: dict[str, tuple[Step, int]] = {
        "before": (step_of(plain, batch, by_itself=True), options.batch),
        "now": (step_of(plain, batch), options.batch),
        "by the batch's statistics": (
            step_of(replace(plain, batch_norm="batch"), batch),
            options.batch,
        ),
        "bf16": (step_of(replace(plain, precision="bf16"), batch), options.batch),
        "twice the batch": (step_of(plain, double), 2 * options.batch),
        "stem frozen": (step_of(replace(plain, frozen=STEM), batch), options.batch),
        "stem frozen, bf16": (
            step_of(replace(plain, frozen=STEM, precision="bf16"), batch),
            options.batch,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, (step, pictures) in rows.items():
            seconds[name].append(step() / pictures)
    print(f"{options.size} px, batches of {options.batch}, one thread, torch {torch.__version__}\n")
    print("| step | processor ms a picture | pictures a core-second | times before |")
    print("|---|---|---|---|")
    first = np.array(seconds["before"])
    for name, found in seconds.items():
        each = np.median(found)
        ratio = np.median(first / np.array(found))
        print(f"| {name} | {1e3 * each:.1f} | {1 / each:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
