"""Distillation: teachers, their stored answers, and the loss that makes a student agree.

Needs the extras `torch` and `distill`.
"""

from __future__ import annotations

from nasnet.train.distill.answers import Answers, AnswersEvent, open_answers
from nasnet.train.distill.live import LiveTeacher
from nasnet.train.distill.objective import Distillation, Teaching
from nasnet.train.distill.teachers import (
    TEACHERS,
    Teacher,
    open_teacher,
)

__all__ = [
    "TEACHERS",
    "Answers",
    "AnswersEvent",
    "Distillation",
    "LiveTeacher",
    "Teacher",
    "Teaching",
    "open_answers",
    "open_teacher",
]
