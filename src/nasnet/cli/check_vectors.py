"""`nasnet check-vectors`: whether two sets of vectors are of the same weights and recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from nasnet.cli.flags import Quiet, UsageError, Weights, command
from nasnet.cli.terminal import download_progress, note, say
from nasnet.features.stored import (
    Comparison,
    Stored,
    check_vectors as check,
    find_recipe,
    read_stored,
)
from nasnet.pictures.sources.examples import several
from nasnet.text import display_name
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE


@command
def check_vectors(
    one: Path,
    other: Path | None = None,
    /,
    *,
    ids: Path | None = None,
    source: str | None = None,
    weights: Weights = DEFAULT_HANDLE,
    count: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=10_000))] = 8,
    quiet: Quiet = False,
    fetch: FetchOptions,
) -> int:
    """Say whether ONE and OTHER hold the same vectors, or which recipe explains ONE.

    Both are feature sets or plain .npy arrays. Rows are matched by id, or by number where one of
    them has no ids. With --source some of ONE's pictures are computed again by every recipe and
    with both kinds of border pixels. Ends with 0 if the answer is yes, and with 1 if it is no.

        nasnet check-vectors old.npy features.parquet --ids ids.txt
        nasnet check-vectors old.npy --ids ids.txt --source photos --weights builtin

    Args:
        one: the vectors in question.
        other: those to compare them with.
        ids: for ONE, if it is a plain array: a text file with the id of each row on a line.
        source: the pictures that ONE was computed from.
        weights: for --source: what computes.
        count: for --source: how many are computed again.
        quiet: no output; only the exit status answers.
        fetch: where to look for weights.
    """
    if other is None and source is None:
        raise UsageError("name a second file, or --source")
    stored = read_stored(one, ids=ids)
    same = True
    if other is not None:
        found = check(stored, read_stored(other))
        if not quiet:
            _tell(found)
        same = found.same
    if source is not None:
        same &= _explain(stored, source, weights, count, fetch, quiet=quiet)
    return 0 if same else 1


def _tell(found: Comparison) -> None:
    say(found.verdict)
    say(
        f"{several(found.rows, 'picture')}: smallest cosine {found.smallest:.6f} "
        f"({display_name(found.worst)}), median {found.median:.6f}"
    )
    if found.only_one or found.only_other:
        say(f"not compared: {found.only_one:,} of the first, {found.only_other:,} of the second")
    for key, (mine, theirs) in found.differ.items():
        say(f"{key.replace('_', ' ')}: {display_name(mine)}, and {display_name(theirs)}")


def _explain(
    stored: Stored,
    pictures: str,
    weights: str,
    count: int,
    fetch: FetchOptions,
    *,
    quiet: bool,
) -> bool:
    with download_progress(not quiet) as on_download:
        ways = find_recipe(
            stored, pictures, weights, count=count, fetch=fetch, on_fetch=on_download
        )
    best = ways[0]
    same = best.smallest >= stored.same
    if quiet:
        return same
    say(
        f"yes: --recipe {best.recipe} --padding {best.padding} made these vectors"
        if same
        else "no: with these weights no recipe made these vectors"
    )
    say(f"{'recipe':16}{'padding':9}smallest cosine   median   ({several(best.rows, 'picture')})")
    for way in ways:
        say(f"{way.recipe:16}{way.padding:9}{way.smallest:15.6f} {way.median:8.6f}")
    if not same and best.median >= stored.same:
        note("most agree: are some of the pictures others now?")
    return same
