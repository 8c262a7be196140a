"""Fine-tuning: a module of someone's own classes from labelled pictures.

Public as `nasnet.finetune`; called by users and by the command line.
"""

from __future__ import annotations

from nasnet.finetuning.options import FinetuneEvent, FinetuneOptions, FinetuneSummary
from nasnet.finetuning.run import finetune

__all__ = ["FinetuneEvent", "FinetuneOptions", "FinetuneSummary", "finetune"]
