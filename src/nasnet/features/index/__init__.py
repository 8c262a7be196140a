"""Indexes over feature sets: built, added to, searched; copies and outliers."""

from __future__ import annotations

from nasnet.features.index.copies import (
    LEVELS,
    Copy,
    Group,
    Level,
    copies_in_words,
    near_duplicates,
)
from nasnet.features.index.folder import Kind, add_to_index, build_index
from nasnet.features.index.labels import (
    Classifier,
    classifier_for,
    classifier_of,
    nearest_of_class,
)
from nasnet.features.index.neighbours import Outlier, outliers
from nasnet.features.index.opened import (
    Found,
    Index,
    found_rows,
    meta_of_index,
    nearest_to,
    open_index,
)
from nasnet.features.index.pictures import picture_vectors

__all__ = [
    "LEVELS",
    "Classifier",
    "Copy",
    "Found",
    "Group",
    "Index",
    "Kind",
    "Level",
    "Outlier",
    "add_to_index",
    "build_index",
    "classifier_for",
    "classifier_of",
    "copies_in_words",
    "found_rows",
    "meta_of_index",
    "near_duplicates",
    "nearest_of_class",
    "nearest_to",
    "open_index",
    "outliers",
    "picture_vectors",
]
