"""Distillation: teachers, their stored answers, and the loss that makes a student agree.

Called by `nasnet train` with a distillation recipe; needs the extras `torch` and `distill`.
"""

from __future__ import annotations
