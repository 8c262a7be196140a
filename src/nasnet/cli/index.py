"""`nasnet index`: a feature set becomes an index that is searched without reading it all.

Called by the command line only.
"""

from __future__ import annotations

from pathlib import Path

import click

from nasnet.features.index import KINDS, IndexOptions, add_to_index, build_index
from nasnet.features.index.folder import Kind

__all__ = ["command"]


@click.command("index")
@click.argument("features", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The index's folder.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="auto",
    show_default=True,
    help="exact; ivf, faiss' lists (extra search); auto is exact up to a million pictures.",
)
@click.option("--add", is_flag=True, help="Add the pictures that the index does not have.")
@click.option("--overwrite", is_flag=True, help="Replace an index that is there.")
def command(features: Path, output: Path, kind: Kind, add: bool, overwrite: bool) -> None:
    """Build an index over FEATURES, which `nasnet embed` wrote, or add to one.

    It remembers the weights and the preprocessing, and refuses vectors and pictures of others.
    Killed while it adds, it is the old index or the new one.

    \b
    nasnet index features.parquet -o photos.index
    nasnet index more.parquet -o photos.index --add
    """  # noqa: D301 - click wants the character itself
    if add:
        done = add_to_index(output, features)
    else:
        done = build_index(features, output, options=IndexOptions(kind=kind, overwrite=overwrite))
    kinds = "exact" if done.kind == "exact" else f"{done.kind}, recall@10 {done.recall:.3f}"
    click.echo(f"{done.path}: {done.rows:,} pictures ({kinds}), {done.added:,} of them new")
    if done.known:
        click.echo(f"{done.known:,} were there already, by id: they keep their vectors")
    if done.without:
        click.echo(f"{done.without:,} have no vector and were left out")
