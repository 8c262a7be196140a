"""Opening labelled data in tests: what is in them, what is said of them, all pictures read."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nasnet.errors import SourceError
from nasnet.pictures.sources import DatasetOptions, Example, open_dataset, open_examples
from tests.support.pictures import jpeg
from tests.support.threads import at_once

__all__ = ["PICTURES", "failure", "listed", "read_all"]

PICTURES = [jpeg(8, 8, seed=seed) for seed in range(12)]


def failure(data: Path | str, **options: Any) -> str:
    """The one line that says why data cannot be opened."""
    with pytest.raises(SourceError) as found:
        open_dataset(data, options=DatasetOptions(**options))
    text = str(found.value)
    assert "\n" not in text
    return text


def listed(data: Path | str, **options: Any) -> list[tuple[str, str]]:
    """Ids and classes."""
    classes, examples, _ = open_examples(data, options=DatasetOptions(**options))
    return [(example.id, classes[example.label]) for example in examples]


def read_all(examples: Sequence[Example]) -> list[bytes]:
    """All pictures, read in random order by three threads."""
    found: dict[int, bytes] = {}

    def work(seed: int) -> None:
        order = list(range(len(examples)))
        random.Random(seed).shuffle(order)
        for index in order:
            found[index] = examples[index].read()

    at_once(*[lambda seed=seed: work(seed) for seed in range(3)])
    return [found[index] for index in range(len(examples))]
