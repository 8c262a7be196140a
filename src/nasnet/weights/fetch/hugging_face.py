"""Repositories of the Hugging Face Hub, by its own client, which has its own cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasnet.errors import FetchError, needs
from nasnet.weights.fetch.events import FetchEvent

_HANDLE = re.compile(
    r"hf-hub:(?P<repository>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
# What a folder of weights consists of; pickles and other frameworks' copies stay where they are.
_FILES = ("*.json", "*.safetensors")


def is_hub_handle(text: str) -> bool:
    """Whether a text names a repository: `hf-hub:USER/NAME`, or `hf-hub:USER/NAME@REVISION`."""
    return text.startswith("hf-hub:")


def fetch_repository(text: str, *, offline: bool, report: Callable[[FetchEvent], None]) -> Path:
    """The folder of a repository, from the client's cache or downloaded.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` count as they do for the client.

    Raises:
        FetchError: it is no such name, or there is no such repository, or it cannot be had.
        MissingExtraError: huggingface-hub is not installed.
    """
    found = _HANDLE.fullmatch(text)
    if found is None:
        raise FetchError(f"{text!r} names no repository: write hf-hub:USER/NAME[@REVISION]")
    hub = needs("huggingface_hub", extra="hf")
    report(FetchEvent(kind="start", url=text))
    try:
        folder = hub.snapshot_download(
            found["repository"],
            revision=found["revision"],
            allow_patterns=list(_FILES),
            local_files_only=offline,
            endpoint=os.environ.get("HF_ENDPOINT") or None,  # the client reads it once, at import
            library_name="nasnet",
            tqdm_class=_silent_bar(),
        )
    except (OSError, ValueError, RuntimeError) as error:  # its errors are of all three
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FetchError(f"{text} cannot be had from the Hugging Face Hub: {reason}") from error
    report(FetchEvent(kind="done", url=text))
    return Path(folder)


def _silent_bar() -> type:
    """A progress bar that draws nothing: a library does not."""
    bar: Any = needs("tqdm.auto", extra="hf").tqdm

    class Silent(bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **(kwargs | {"disable": True}))

    return Silent
