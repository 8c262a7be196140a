"""`nasnet map`: a feature set as a page to look at, near pictures near each other.

Called by the command line only.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from nasnet.errors import InputError
from nasnet.features.feature_set import read_features
from nasnet.features.map_page import METHODS, MapOptions, Method, folders_of, write_map

__all__ = ["command"]


@click.command("map")
@click.argument("features", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The HTML file.",
)
@click.option("--method", type=click.Choice(METHODS), default="umap", show_default=True)
@click.option(
    "--colour",
    "--color",
    "colour",
    default="clusters",
    show_default=True,
    metavar="HOW",
    help="clusters (k-means); folder, a picture's own; none; or a .csv with the columns id, label.",
)
@click.option("--clusters", default=12, show_default=True, type=click.IntRange(2, 200))
@click.option(
    "--neighbours", default=15, show_default=True, type=click.IntRange(2), help="Of UMAP."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--source", help="Where the pictures are; what the set was made from if not given.")
@click.option(
    "--pictures", default=2000, show_default=True, type=click.IntRange(0), help="Shown, at most."
)
def command(
    features: Path,
    output: Path,
    method: Method,
    colour: str,
    clusters: int,
    neighbours: int,
    seed: int,
    source: str | None,
    pictures: int,
) -> None:
    """Draw the vectors in FEATURES as a map: one HTML file that opens without a network.

    \b
    nasnet map features.parquet -o map.html
    nasnet map features.parquet -o map.html --colour folder
    """  # noqa: D301 - click wants the character itself
    found = read_features(features)
    labels = _labels(colour, found.ids)
    options = MapOptions(
        method=method,
        clusters=clusters if colour == "clusters" else 0,
        neighbours=neighbours,
        seed=seed,
        pictures=pictures,
    )
    count = write_map(
        found, output, pictures=source or found.meta.source, labels=labels, options=options
    )
    click.echo(f"{output}: {count:,} pictures", err=True)


def _labels(colour: str, ids: list[str]) -> dict[str, str] | None:
    if colour in ("clusters", "none"):
        return None
    if colour == "folder":
        return folders_of(ids)
    try:
        with Path(colour).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["id"]: row["label"] for row in rows}
    except KeyError as error:
        raise InputError(f"{colour}: no column {error}; it needs id and label") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"--colour {colour}: neither clusters, folder or none, nor a table that can be read: "
            f"{error}"
        ) from None
