"""A network on an NVIDIA GPU as one CUDA graph: hundreds of small kernels start as one."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

_WARM_UP = 3  # runs before the capture, in which libraries choose kernels and take memory


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
