"""`nasnet adopt`: vectors that another program stored become a feature set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import Quiet, Weights, check_file, command
from nasnet.cli.terminal import download_progress, note
from nasnet.features.adopt import adopt as adopt_vectors
from nasnet.features.stored import read_stored
from nasnet.network.plan import Borders
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE


@command
def adopt(
    vectors: Path,
    /,
    *,
    output: Annotated[str, Parameter(alias="-o")],
    ids: Path,
    recipe: str,
    weights: Weights = DEFAULT_HANDLE,
    padding: Borders | None = None,
    source: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
    fetch: FetchOptions,
) -> None:
    """Make a feature set of VECTORS, a .npy [n, 1056] that another program stored.

    The set can be searched, drawn, merged and added to as any other. With --source some pictures
    are computed again, and vectors that do not agree are refused; `nasnet
    check-vectors` says which recipe fits.

        nasnet adopt old.npy --ids ids.txt --recipe tf1-hub --source photos -o features.parquet

    Args:
        vectors: the array; float32 or anything that becomes it.
        output: the file to write: .parquet, .arrow or .npy.
        ids: a text file with the id of each row on a line: the picture's path below its folder.
        recipe: how the pictures were prepared: tf1-hub, tf2-hub, slim-eval, cadene-eval or photo.
        weights: what computed them: a published handle, a file, or builtin.
        padding: whose border pixels: slim, or keras for keras.applications.
        source: the pictures they were computed from, to check some of them.
        overwrite: replace an output that is there.
        quiet: no summary.
        fetch: where to look for weights.
    """
    check_file(Path(output), overwrite=overwrite, read=[vectors])
    stored = read_stored(vectors, ids=ids)
    with download_progress() as on_download:
        done = adopt_vectors(
            stored,
            output,
            weights=weights,
            recipe=recipe,
            padding=padding,
            pictures=source,
            overwrite=overwrite,
            fetch=fetch,
            on_fetch=None if quiet else on_download,
        )
    if quiet:
        return
    note(f"{done.output}: {done.rows:,} vectors; weights {done.meta.module}, {done.meta.recipe}")
    if done.checked is None:
        note("not checked: --source computes some again and compares")
    else:
        note(
            f"checked on {done.checked.rows} pictures: smallest cosine {done.checked.smallest:.6f}"
        )
    if done.normalized:
        note("these vectors have length 1: what `nasnet embed --append` adds will have too")
