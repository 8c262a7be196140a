"""The files that a training run keeps in its folder, beside the module it ends in."""

from __future__ import annotations

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
LOG = "log.csv"
RUN_FILES = (CHECKPOINT, BEST, LOG)
