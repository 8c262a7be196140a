"""`nasnet map`: a feature set as a page to look at, near pictures near each other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import PAGE, File, Quiet, check_file, command
from nasnet.cli.terminal import Progress, note
from nasnet.errors import InputError, SourceError
from nasnet.features.columns import groups_by
from nasnet.features.feature_set import Features, read_features
from nasnet.features.map_page import MapOptions, folders_of, write_map
from nasnet.pictures.sources.columns import CsvTable
from nasnet.pictures.sources.files import open_file

_MOST_FOLDERS = 30  # more colours than this are none


@command
def map_(
    features: Path,
    /,
    *,
    output: File,
    colour: Annotated[str, Parameter(alias="--color")] = "auto",
    source: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
    options: MapOptions,
) -> None:
    """Draw the vectors in FEATURES as a map: one HTML file that opens without a network.

    FEATURES is a feature set, as `nasnet embed` writes it.

        nasnet map features.parquet -o map.html
        nasnet map features.parquet -o map.html --colour clusters --clusters 8
        nasnet map shop.parquet -o map.html --colour price

    Args:
        features: a feature set.
        output: the HTML file.
        colour: auto: folder, if the pictures lie in 2 to 30 folders, else clusters; folder, a
            picture's own; clusters (k-means); none; a column that was kept of the source (many
            different numbers become five ranges); or a .csv with the columns id and label.
        source: where the pictures are; what the set was made from if not given.
        overwrite: replace a file that is there.
        quiet: no progress and no summary.
        options: how to draw.
    """
    check_file(output, overwrite=overwrite, endings=PAGE)
    found = read_features(features)
    if colour == "auto":
        folders = len({*folders_of(found.ids).values()})
        colour = "folder" if 2 <= folders <= _MOST_FOLDERS else "clusters"
    labels = _labels(colour, found)
    if colour != "clusters":
        options = replace(options, clusters=0)
    with Progress(not quiet) as progress:
        count = write_map(
            found,
            output,
            pictures=source or found.meta.source,
            labels=labels,
            options=options,
            on_step=progress.on_step,
        )
    if not quiet:
        note(f"{output}: {count:,} pictures")


def _labels(colour: str, features: Features) -> dict[str, str] | None:
    if colour in ("clusters", "none"):
        return None
    if colour == "folder":
        return folders_of(features.ids)
    columns = features.columns
    names = [] if columns is None else columns.column_names
    if columns is not None and colour in names:
        return dict(zip(features.ids, groups_by(columns, colour), strict=True))
    if not colour.lower().endswith((".csv", ".tsv")):
        raise InputError(
            f"--colour: no {colour!r}; there are auto, folder, clusters, none, a .csv with the "
            f"columns id and label, and the columns {', '.join(names) or '(none)'}"
        )
    try:
        table = CsvTable(colour, partial(open_file, colour))
        for column in ("id", "label"):
            if column not in table.header:
                raise InputError(f"{colour}: no column {column!r}; it needs id and label")
        return {id: label for _, id, label in table.rows(None, "id", "label")}
    except SourceError as error:
        raise InputError(
            f"--colour: neither clusters, folder or none, nor a table: {error}"
        ) from None
