"""Imports torchvision also where its compiled part does not fit the torch that is installed.

Called by the torch peers and by the tests that use timm, which imports torchvision.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["import_torchvision"]

# torchvision describes operations to torch that its compiled part is to bring. Its wheels on PyPI
# are built for CUDA and cannot be loaded beside a torch for the CPU alone; the import then fails
# with "operator torchvision::nms does not exist". What timm takes from it is Python, so the two
# operations are declared without anything behind them.
_DECLARED = ("nms", "qnms")


def import_torchvision() -> None:
    """Import torchvision, with its compiled part or without."""
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _declare_operations()
        import_module("torchvision")


@cache
def _declare_operations() -> Any:  # noqa: ANN401
    """Kept by the cache: torch drops declarations with the object that made them."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _DECLARED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
