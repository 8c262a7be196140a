"""Labelled pictures by whatever name they have: on this machine, or a data set of the Hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from nasnet.errors import SourceError
from nasnet.pictures.sources import Dataset, DatasetOptions, open_dataset
from nasnet.pictures.sources.splits import Measured
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.fetch.hugging_face import download

OnFetch = Callable[[FetchEvent], None]

_LOG = logging.getLogger(__name__)
_ON_HUB = "hf://datasets/"
# As the Hub's own file system names them (`huggingface_hub.HfFileSystem`): a slash of a revision is
# %2F, but in the Hub's own names.
_HANDLE = re.compile(
    rf"{_ON_HUB}(?P<repository>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/convert/\w+|refs/pr/\d+|[^/]+))?(?:/+(?P<path>.*))?"
)


def _log(event: FetchEvent) -> None:
    if event.kind in ("start", "done"):
        _LOG.info("%s: download: %s", event.url, event.kind)


def open_labelled(
    data: str | os.PathLike[str],
    *,
    options: DatasetOptions | None = None,
    measured: Measured = "any",
    fetch: FetchOptions | None = None,
    on_fetch: OnFetch | None = None,
) -> Dataset:
    """Open labelled pictures and split them.

    As `pictures.sources.open_dataset`, but the data may be `hf://datasets/USER/NAME`, see
    `on_this_machine`.

    Raises:
        SourceError: they cannot be opened, have no pictures or labels, or a single class.
        FetchError: the Hub has no such data set, or it cannot be had.
        MissingExtraError: huggingface-hub is not installed.
    """
    return open_splits(data, [measured], options=options, fetch=fetch, on_fetch=on_fetch)[0]


def open_splits(
    data: str | os.PathLike[str],
    measured: Sequence[Measured],
    *,
    options: DatasetOptions | None = None,
    fetch: FetchOptions | None = None,
    on_fetch: OnFetch | None = None,
) -> list[Dataset]:
    """As `open_labelled`, the same data split in several ways; the Hub is asked for them once."""
    options = options or DatasetOptions()
    if options.validation is not None:
        apart = os.fspath(on_this_machine(options.validation, fetch, on_fetch))
        options = replace(options, validation=apart)
    place = on_this_machine(data, fetch, on_fetch)
    found = [open_dataset(place, options=options, measured=part) for part in measured]
    return found if place is data else [replace(one, name=os.fspath(data)) for one in found]


def on_this_machine(
    data: str | os.PathLike[str],
    fetch: FetchOptions | None = None,
    on_fetch: OnFetch | None = None,
) -> str | os.PathLike[str]:
    """Where labelled data lie: a data set of the Hugging Face Hub is downloaded into its cache.

    Args:
        data: `hf://datasets/USER/NAME[@REVISION][/FOLDER_OR_FILES]`; anything else stays as it is.
            The part after the name may be a pattern, and only what it means is downloaded. Class
            folders, tables and WebDataset tars are read; code in the repository is never run.
        fetch: whether a network may be used.
        on_fetch: told of downloads.

    Raises:
        SourceError: it is no such name, or the repository holds nothing there.
        FetchError: there is no such repository, or it cannot be had.
        MissingExtraError: huggingface-hub is not installed.
    """
    text = os.fspath(data)
    if not text.startswith(_ON_HUB):
        return data
    found = _HANDLE.fullmatch(text)
    if found is None:
        raise SourceError(
            f"{text!r} names no data set: write {_ON_HUB}USER/NAME, perhaps with @REVISION, and "
            "with /FOLDER or /FILES of it"
        )
    within = (found["path"] or "").rstrip("/")
    parts = within.split("/")
    if ".." in parts:
        raise SourceError(f"{text}: leads out of the data set")
    if any("**" in part and part != "**" for part in parts):
        raise SourceError(f"{text} is not a pattern of files: ** stands alone between slashes")
    folder = download(
        found["repository"],
        found["revision"] and unquote(found["revision"]),
        kind="dataset",
        patterns=[within, f"{within}/*"] if within else None,
        offline=(fetch or FetchOptions()).no_network,
        name=text,
        report=on_fetch or _log,
    )
    if within and not any(folder.glob(within)):
        raise SourceError(f"{text}: the data set holds no {within}")
    return Path(folder, within)
