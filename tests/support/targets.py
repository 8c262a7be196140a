"""Targets of exports, by where they are tested."""

from __future__ import annotations

# These need no TensorFlow; the others are tested beside it.
LIGHT_TARGETS = ("onnx", "openvino", "torch", "huggingface", "checkpoint", "safetensors")
