"""`nasnet index`: a feature set becomes an index that is searched without reading it all."""

from __future__ import annotations

from pathlib import Path

from nasnet.cli.flags import Folder, Quiet, command
from nasnet.cli.terminal import say
from nasnet.features.index import Kind, add_to_index, build_index
from nasnet.pictures.sources.examples import several


@command
def index(
    features: Path,
    /,
    *,
    output: Folder,
    append: bool = False,
    method: Kind = "auto",
    overwrite: bool = False,
    quiet: Quiet = False,
) -> None:
    """Build an index over FEATURES, which `nasnet embed` wrote, or add to one.

    The index remembers the weights and the preprocessing, and refuses vectors and pictures of
    others. A kill at any moment leaves the old index or the new one.

        nasnet index features.parquet -o photos.index
        nasnet index more.parquet -o photos.index --append

    Args:
        features: a feature set.
        output: the index's folder.
        append: add the pictures that the index does not have.
        method: exact; ivf, faiss' inverted lists (extra search); auto is exact up to a million
            pictures.
        overwrite: replace an index that is there.
        quiet: no summary.
    """
    done = (
        add_to_index(output, features)
        if append
        else build_index(features, output, kind=method, overwrite=overwrite)
    )
    if quiet:
        return
    kinds = "exact" if done.kind == "exact" else f"{done.kind}, recall@10 {done.recall:.3f}"
    say(f"{done.path}: {several(done.rows, 'picture')} ({kinds}), {done.added:,} of them new")
    if done.known:
        say(f"{done.known:,} were there already, by id: they keep their vectors")
    if done.changed or done.gone:
        say(
            f"{done.changed:,} of the index have changed and {done.gone:,} are gone since: it "
            "finds them as they were; --overwrite makes it anew"
        )
    if done.without:
        say(f"{done.without:,} have no vector and were left out")
