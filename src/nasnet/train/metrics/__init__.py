"""How good a classifier is: accuracy, scores of each class, confusions and calibration.

NumPy in, plain records out.
"""

from __future__ import annotations

from nasnet.train.metrics.calibration import temperature
from nasnet.train.metrics.scoring import (
    Scores,
    by_recall,
    most_confused,
    score,
    wilson_interval,
)
from nasnet.train.metrics.words import as_dict, table

__all__ = [
    "Scores",
    "as_dict",
    "by_recall",
    "most_confused",
    "score",
    "table",
    "temperature",
    "wilson_interval",
]
