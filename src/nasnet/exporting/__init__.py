"""The network for other runtimes: ONNX, OpenVINO, PyTorch, TensorFlow, Keras, LiteRT.

Called by the command line and by users; weight files alone are `conversion`'s work.
"""

from __future__ import annotations

from nasnet.exporting.exporting import Exported, ExportOptions, export, target_of
from nasnet.exporting.targets import TARGETS, Target
from nasnet.exporting.verifying import Agreement

__all__ = [
    "TARGETS",
    "Agreement",
    "ExportOptions",
    "Exported",
    "Target",
    "export",
    "target_of",
]
