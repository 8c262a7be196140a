"""`nasnet dedup`: pictures of a feature set that are nearly the same."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from nasnet.cli.flags import command
from nasnet.cli.terminal import note, say
from nasnet.features.feature_set import read_features
from nasnet.features.index import near_duplicates


@command
def dedup(
    features: Path,
    /,
    *,
    cosine: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 0.97,
    json: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
) -> None:
    """Find groups of pictures in FEATURES that are nearly the same. Nothing is deleted.

        nasnet dedup features.parquet
        nasnet dedup features.parquet --cosine 0.99 --list

    Args:
        features: a feature set, as `nasnet embed` writes it.
        cosine: from which on two pictures are nearly the same.
        json: one JSON object a group, a line each.
        list_: the ids alone that could go: all of each group but its first. For xargs.
    """
    found = near_duplicates(read_features(features), cosine=cosine)
    for group in found:
        if json:
            told = {"ids": list(group.ids), "cosine": round(group.cosine, 6)}
            say(dumps(told, ensure_ascii=False))
        elif list_:
            say("\n".join(group.ids[1:]))
        else:
            say(f"{len(group.ids)} pictures, cosine {group.cosine:.4f} or more")
            say("\n".join(f"  {id}" for id in group.ids))
    spare = sum(len(group.ids) - 1 for group in found)
    note(f"{len(found):,} groups; {spare:,} pictures are nearly others")
