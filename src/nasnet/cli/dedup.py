"""`nasnet dedup`: pictures of a feature set that are nearly the same.

Called by the command line only.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nasnet.features.feature_set import read_features
from nasnet.features.index import near_duplicates

__all__ = ["command"]


@click.command("dedup")
@click.argument("features", type=click.Path(path_type=Path))
@click.option(
    "--cosine",
    default=0.97,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="From which on two pictures are nearly the same.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a group, a line each.")
@click.option(
    "--list",
    "as_list",
    is_flag=True,
    help="The ids alone that could go: all of each group but its first. For xargs.",
)
def command(features: Path, cosine: float, as_json: bool, as_list: bool) -> None:
    """Find groups of pictures in FEATURES that are nearly the same. Nothing is deleted.

    \b
    nasnet dedup features.parquet
    nasnet dedup features.parquet --cosine 0.99 --list
    """  # noqa: D301 - click wants the character itself
    found = near_duplicates(read_features(features), cosine=cosine)
    for group in found:
        if as_json:
            told = {"ids": list(group.ids), "cosine": round(group.cosine, 6)}
            click.echo(json.dumps(told, ensure_ascii=False))
        elif as_list:
            click.echo("\n".join(group.ids[1:]))
        else:
            click.echo(f"{len(group.ids)} pictures, cosine {group.cosine:.4f} or more")
            click.echo("".join(f"  {id}\n" for id in group.ids), nl=False)
    spare = sum(len(group.ids) - 1 for group in found)
    click.echo(f"{len(found):,} groups; {spare:,} pictures are nearly others", err=True)
