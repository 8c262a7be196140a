"""The report people look at after training or evaluation: one HTML page and its figures.

Needs matplotlib (extra `report`).
"""

from __future__ import annotations

from nasnet.train.report.contents import Labelled, Mistake, Report
from nasnet.train.report.files import write_report

__all__ = ["Labelled", "Mistake", "Report", "write_report"]
