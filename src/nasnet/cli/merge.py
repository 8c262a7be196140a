"""`nasnet merge`: the outputs of many shards become one file.

Called by the command line only.
"""

from __future__ import annotations

import click

from nasnet.cli.progress import rows_progress
from nasnet.features.store.merge import MergeOptions, merge

__all__ = ["command"]


@click.command("merge")
@click.argument("parts", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, help="The file to write: .parquet, .arrow, or .npy; or a URL."
)
@click.option("--overwrite", is_flag=True, help="Replace an output that is there.")
@click.option(
    "--keep-duplicates", is_flag=True, help="Take both rows where an id comes twice; else refuse."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(
    parts: tuple[str, ...], output: str, overwrite: bool, keep_duplicates: bool, quiet: bool
) -> int:
    """Join PARTS, feature sets of the same weights, recipe and size, into one file.

    PARTS are files nasnet embed wrote, or folders nasnet embed --on ray wrote. The shards of one
    source (--shard I/N) are put in order, and all must be there; other sets follow each other as
    they are named. An id that comes twice is refused.

    \b
    nasnet embed photos -o part0.parquet --shard 0/2     # on one machine
    nasnet embed photos -o part1.parquet --shard 1/2     # on another
    nasnet merge part0.parquet part1.parquet -o features.parquet
    """  # noqa: D301 - click wants the character itself
    options = MergeOptions(overwrite=overwrite, keep_duplicates=keep_duplicates)
    if quiet:
        merge(parts, output, options=options)
        return 0
    with rows_progress("merging", "rows") as progress:
        progress.begin(0)
        done = merge(
            parts, output, options=options, on_event=lambda rows, of: progress.update(rows, of, "")
        )
    click.echo(
        f"{done.output}: {done.rows:,} rows of {len(done.parts)} parts, {done.failures:,} failed; "
        f"{done.seconds:.1f} s",
        err=True,
    )
    return 0
