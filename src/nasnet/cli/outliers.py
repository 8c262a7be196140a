"""`nasnet outliers`: pictures of a feature set that are like no others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import PAGE, AtLeastOne, Quiet, check_file, command
from nasnet.cli.terminal import note, say, say_json
from nasnet.features.contact_sheet import write_outliers
from nasnet.features.feature_set import read_features
from nasnet.features.index import outliers as find_outliers
from nasnet.text import display_name


@command
def outliers(
    features: Path,
    /,
    *,
    count: Annotated[AtLeastOne, Parameter(name=("--count", "-n"))] = 20,
    neighbours: Annotated[AtLeastOne, Parameter(name=("--neighbours", "-k"))] = 10,
    json: bool = False,
    page: Path | None = None,
    source: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
) -> None:
    """Show the pictures in FEATURES that are farthest from their nearest neighbours.

    Broken scans are such pictures, or screenshots among photographs.

        nasnet outliers features.parquet --page outliers.html

    Args:
        features: a feature set.
        count: pictures to show.
        neighbours: neighbours to measure the distance to.
        json: print one JSON object for each picture, one on a line.
        page: also write an HTML page to look at.
        source: for --page: where the pictures are; what the set was made from if not given.
        overwrite: replace a page that is there.
        quiet: no summary.
    """
    check_file(page, overwrite=overwrite, endings=PAGE)
    found = read_features(features)
    far = find_outliers(found, count=count, neighbours=neighbours)
    for one in far:
        nearest = one.near[0][0]
        if json:
            told = {"id": one.id, "distance": round(one.distance, 6), "nearest": nearest}
            say_json(told)
        else:
            names = display_name(one.id), display_name(nearest)
            say(f"{one.distance:.4f}  {names[0]}  (nearest: {names[1]})")
    if page is not None:
        count = sum(error is None for error in found.errors)
        write_outliers(far, found.meta, page, count=count, pictures=source)
        if not quiet:
            note(f"{page}: open it in a browser")
