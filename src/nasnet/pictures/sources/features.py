"""How Hugging Face describes columns: which hold pictures, and what class labels are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasnet.errors import SourceError
from nasnet.pictures.sources.labels import check_names

if TYPE_CHECKING:
    import pyarrow


def features_of(name: str, schema: pyarrow.Schema) -> Mapping[str, Any]:
    """The description in a file's own schema (key `huggingface`); empty if it has none.

    Raises:
        SourceError: it is damaged.
    """
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SourceError(f"{name}: its Hugging Face metadata are damaged: {error}") from error
    info = found.get("info") if isinstance(found, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def picture_column(features: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The column that is described as pictures, if there is just one."""
    found = [name for name in columns if _type(features, name) == "Image"]
    return found[0] if len(found) == 1 else None


def class_names(name: str, features: Mapping[str, Any], column: str) -> tuple[str, ...] | None:
    """What the integers of a column stand for, if it is described as class labels with names.

    Raises:
        SourceError: the names are damaged.
    """
    if _type(features, column) != "ClassLabel" or features[column].get("names") is None:
        return None
    return check_names(f"{name}: class labels of {column!r}", features[column]["names"])


def _type(features: Mapping[str, Any], column: str) -> str | None:
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None
