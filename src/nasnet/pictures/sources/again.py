"""The pictures of a feature set, read a second time from the source that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any

from nasnet.pictures.sources.item import Item, SourceOptions, path_of_id
from nasnet.pictures.sources.opening import open_source

_SHARD = re.compile(r", shard \d+ of \d+$")  # what `shard_name` adds
_JOINED = "; "  # between the sources of sets that were merged


def items_again(
    source: Any,  # noqa: ANN401
    wanted: Collection[str],
    *,
    options: SourceOptions | None = None,
) -> Iterator[Item]:
    """The items of a source, among them those that are wanted, by id.

    A set may name what can be opened, a shard of it, several, or the list that came on standard
    input, which is gone: its ids are its paths.

    Raises:
        SourceError: a source cannot be opened.
    """
    opened = [open_source(one, options=options) for one in _parts(source, wanted)]
    return chain.from_iterable(opened)


def _parts(source: Any, wanted: Collection[str]) -> list[Any]:  # noqa: ANN401
    if not isinstance(source, str) or os.path.lexists(source):
        return [source]
    parts = [_SHARD.sub("", one) for one in source.split(_JOINED)]
    paths = {id: path_of_id(id) for id in wanted} if "-" in parts else {}
    return [paths if one == "-" else one for one in dict.fromkeys(parts)]
