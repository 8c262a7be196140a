"""What is on the pictures of a source, as a table: .csv, .jsonl or .parquet, a row for each class.

All probabilities are written beside it as the run goes, so that a run that was stopped continues.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nasnet.errors import InputError, OutputError
from nasnet.features import parquet
from nasnet.features.classify import ENDPOINT, Classified, ClassifyOptions, Naming, naming_of
from nasnet.features.continuing import SourceChangedError
from nasnet.features.embed import (
    EmbedEvent,
    EmbedSummary,
    embed_to_file,
    read_from,
)
from nasnet.features.feature_set import read_meta
from nasnet.features.store import Mode, SinkOptions
from nasnet.features.store.manifest import place_of
from nasnet.pictures.sources import Source, SourceOptions, open_source
from nasnet.system import refuse_input, staged
from nasnet.weights.fetch import FetchEvent
from nasnet.weights.opening import DEFAULT_CLASSIFIER, WeightsSource

Row = dict[str, object]

ENDINGS = (".csv", ".jsonl", ".parquet")
# Name -> Arrow's type.
_COLUMNS = {
    "id": "string",
    "rank": "int32",
    "index": "int32",
    "name": "string",
    "probability": "float",
    "sure": "bool",
    "error": "string",
}
_TOGETHER = 4096  # pictures that are read and written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifySummary:
    """What a run did.

    Attributes:
        rows: pictures in the table.
        failures: those that could not be read.
        unsure: those of which no class reached the limit of confidence.
        min_confidence: that limit.
        resumed: pictures that were classified before this run.
        notes: what a user should know about the weights and the source.
    """

    rows: int
    failures: int
    unsure: int
    min_confidence: float
    resumed: int
    notes: tuple[str, ...]


def check_ending(output: Path) -> None:
    """Refuse a table of another kind.

    Raises:
        InputError: it does not end in one of `ENDINGS`.
    """
    if output.suffix not in ENDINGS:
        raise InputError(f"{output}: a table ends in {', '.join(ENDINGS)}")


def classify_to_file(
    source: Any,  # noqa: ANN401
    output: str | os.PathLike[str],
    *,
    weights: WeightsSource = DEFAULT_CLASSIFIER,
    options: ClassifyOptions | None = None,
    overwrite: bool = False,
    on_event: Callable[[EmbedEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> ClassifySummary:
    """Classify every picture of a source, into a table.

    Stopped at any moment, by Ctrl-C or kill -9, and started again, it continues; how many classes
    are named, and from which probability, may change in between.

    Args:
        source: as for `classify`.
        output: `.csv`, `.jsonl` or `.parquet`. Until it is finished, all probabilities are in
            `OUTPUT.probabilities.parquet` or its parts: 4 kB a picture of 1001 classes.
        weights: as for `classify`.
        options: how.
        overwrite: start anew, and replace a table that is there.
        on_event: told how far it is.
        on_fetch: told of downloads.

    Raises:
        InputError: the weights have no classifier, or the output another ending.
        OutputError: a table is there, it cannot be written, or the run that was stopped had other
            weights or another source.
        SourceError: the source cannot be opened, or is empty.
    """
    target = Path(output)
    check_ending(target)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists: name another, or replace it with --overwrite")
    options = options or ClassifyOptions()
    pictures = open_source(source, options=options.embed.source)
    refuse_input(target, read_from(source, pictures))
    # Opened, it is what these options make of it.
    options = replace(options, embed=replace(options.embed, source=SourceOptions()))
    naming = naming_of(weights, options, on_fetch)
    between = target.with_name(f"{target.name}.probabilities.parquet")

    def compute(mode: Mode) -> EmbedSummary:
        sink = SinkOptions(mode=mode)
        return embed_to_file(
            pictures,
            between,
            weights=naming.opened,
            options=replace(options.embed, endpoint=ENDPOINT, sink=sink),
            on_event=on_event,
        )

    if overwrite:
        done = compute("overwrite")
    elif between.exists():  # whole: a run was killed before the table was
        _check_source(between, pictures)
        done = compute("sync")
    else:
        try:
            done = compute("resume")
        except SourceChangedError:
            done = compute("sync")
    unsure = 0
    with staged(target) as place, _writer(place) as write:
        for some in _read(between, naming):
            unsure += sum(one.error is None and not one.sure for one in some)
            write([row for one in some for row in _rows(one)])
    between.unlink()
    return ClassifySummary(
        rows=done.rows,
        failures=done.failures,
        unsure=unsure,
        min_confidence=naming.min_confidence,
        resumed=done.rows - done.computed,
        notes=done.notes,
    )


def _check_source(between: Path, pictures: Source) -> None:
    before = read_meta(between).source
    if place_of(before) != place_of(pictures.name):
        raise OutputError(
            f"{between} was made with source {before}, this run has {pictures.name}: run it as "
            "before, name another output, or use --overwrite"
        )


def _read(probabilities: Path, naming: Naming) -> Iterator[list[Classified]]:
    with parquet.reading(probabilities) as file:
        for table in parquet.tables(file, ["id", "vector", "error"], rows=_TOGETHER):
            yield list(naming.named(table))


def _rows(one: Classified) -> Iterator[Row]:
    row: Row = dict.fromkeys(_COLUMNS) | {"id": one.id}
    if one.error is not None:
        yield row | {"error": one.error}
    for rank, guess in enumerate(one.guesses, 1):
        sure = guess.probability >= one.min_confidence
        yield row | {"rank": rank, "sure": sure} | asdict(guess)


@contextmanager
def _writer(place: Path) -> Iterator[Callable[[list[Row]], None]]:
    """What writes rows into a file of this name."""
    if place.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema(_COLUMNS)
        with pyarrow.parquet.ParquetWriter(place, schema, write_page_checksum=True) as file:
            yield lambda rows: file.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
        return
    with place.open("w", encoding="utf-8", newline="") as text:
        if place.suffix == ".jsonl":
            yield lambda rows: text.writelines(
                json.dumps(row, ensure_ascii=False) + "\n" for row in rows
            )
        else:
            table = csv.DictWriter(text, fieldnames=list(_COLUMNS))
            table.writeheader()
            yield table.writerows
