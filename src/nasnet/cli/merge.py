"""`nasnet merge`: the outputs of many shards become one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import Quiet, command
from nasnet.cli.terminal import Progress, note
from nasnet.features.store.form import VectorType
from nasnet.features.store.merge import merge as merge_sets
from nasnet.pictures.sources.examples import several


@command
def merge(
    *parts: str,
    output: Annotated[str, Parameter(alias="-o")],
    overwrite: bool = False,
    keep_duplicates: bool = False,
    vector_dtype: VectorType | None = None,
    normalize: bool = False,
    pca: int | Path | None = None,
    quiet: Quiet = False,
) -> None:
    """Join PARTS, feature sets of the same weights, recipe and size, into one file.

    PARTS are files nasnet embed wrote, or folders nasnet embed --on ray wrote. The shards of one
    source (--shard I/N) are put in order, and all must be there; other sets follow each other as
    they are named. An id that comes twice is refused.

        nasnet embed photos -o part0.parquet --shard 0/2     # on one machine
        nasnet embed photos -o part1.parquet --shard 1/2     # on another
        nasnet merge part0.parquet part1.parquet -o features.parquet
        nasnet merge features.parquet -o small.parquet --pca 256 --vector-dtype int8

    Args:
        parts: the feature sets.
        output: the file to write: .parquet, .arrow or .npy; or a URL.
        overwrite: replace an output that is there.
        keep_duplicates: keep both rows if an id comes twice, instead of refusing.
        vector_dtype: how vectors are stored: float32, float16 or int8; as in the parts if not
            given. This and what follows also makes a smaller set of one alone.
        normalize: store vectors of length 1.
        pca: dimensions to keep, or a feature set whose projection is to be taken.
        quiet: no progress and no summary.
    """
    with Progress(not quiet) as progress:
        done = merge_sets(
            parts,
            output,
            overwrite=overwrite,
            keep_duplicates=keep_duplicates,
            vector_dtype=vector_dtype,
            normalize=normalize,
            pca=pca,
            on_event=lambda rows, of: progress.update("merging", rows, of, unit="rows"),
        )
    if not quiet:
        note(
            f"{done.output}: {several(done.rows, 'row')} of {several(len(done.parts), 'part')}, "
            f"{done.failures:,} failed; {done.seconds:.1f} s"
        )
