"""Labelled pictures: every kind of data becomes a list of classes and two lists of examples.

Lists here, while bytes are read where they are decoded.
"""

from __future__ import annotations

from nasnet.pictures.labelled.opening import open_dataset, open_examples
from nasnet.pictures.labelled.records import Dataset, DatasetOptions, Example

__all__ = ["Dataset", "DatasetOptions", "Example", "open_dataset", "open_examples"]
