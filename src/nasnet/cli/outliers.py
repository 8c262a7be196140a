"""`nasnet outliers`: pictures of a feature set that are like no others."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nasnet.cli.flags import AtLeastOne, command
from nasnet.cli.terminal import say
from nasnet.features.feature_set import read_features
from nasnet.features.index import outliers as find_outliers


@command
def outliers(
    features: Path,
    /,
    *,
    count: Annotated[AtLeastOne, Parameter(name=("--count", "-n"))] = 20,
    neighbours: Annotated[AtLeastOne, Parameter(name=("--neighbours", "-k"))] = 10,
    json: bool = False,
) -> None:
    """Show the pictures in FEATURES that are farthest from their nearest neighbours.

        nasnet outliers features.parquet

    Args:
        features: a feature set.
        count: pictures to show.
        neighbours: neighbours to measure the distance to.
        json: one JSON object a picture, a line each.
    """
    for one in find_outliers(read_features(features), count=count, neighbours=neighbours):
        if json:
            told = {"id": one.id, "distance": round(one.distance, 6), "nearest": one.nearest}
            say(dumps(told, ensure_ascii=False))
        else:
            say(f"{one.distance:.4f}  {one.id}  (nearest: {one.nearest})")
