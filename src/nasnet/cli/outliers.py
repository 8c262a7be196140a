"""`nasnet outliers`: pictures of a feature set that are like no others.

Called by the command line only.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nasnet.features.feature_set import read_features
from nasnet.features.index import outliers

__all__ = ["command"]


@click.command("outliers")
@click.argument("features", type=click.Path(path_type=Path))
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1))
@click.option(
    "-k", "neighbours", default=10, show_default=True, type=click.IntRange(1), help="Neighbours."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture, a line each.")
def command(features: Path, count: int, neighbours: int, as_json: bool) -> None:
    """Show the pictures in FEATURES that are farthest from their nearest neighbours.

    \b
    nasnet outliers features.parquet
    """  # noqa: D301 - click wants the character itself
    for one in outliers(read_features(features), count=count, neighbours=neighbours):
        if as_json:
            told = {"id": one.id, "distance": round(one.distance, 6), "nearest": one.nearest}
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            click.echo(f"{one.distance:.4f}  {one.id}  (nearest: {one.nearest})")
