"""Distillation: teachers, their stored answers, and the loss that makes a student agree.

Called by `train` with a recipe that has a teacher; needs the extras `torch` and `distill`.
"""

from __future__ import annotations

from nasnet.distill.answers import Answers, AnswersEvent, open_answers
from nasnet.distill.holdout import held_out
from nasnet.distill.objective import Distillation
from nasnet.distill.teachers import TEACHERS, Teacher, TeacherOutputs, open_teacher

__all__ = [
    "TEACHERS",
    "Answers",
    "AnswersEvent",
    "Distillation",
    "Teacher",
    "TeacherOutputs",
    "held_out",
    "open_answers",
    "open_teacher",
]
