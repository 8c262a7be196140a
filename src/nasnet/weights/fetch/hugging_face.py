"""Repositories of the Hugging Face Hub, by its own client, which has its own cache."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

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
    return download(
        found["repository"],
        found["revision"],
        kind="model",
        patterns=_FILES,
        offline=offline,
        name=text,
        report=report,
    )


def download(
    repository: str,
    revision: str | None,
    *,
    kind: Literal["model", "dataset"],
    patterns: Sequence[str] | None,
    offline: bool,
    name: str,
    report: Callable[[FetchEvent], None],
) -> Path:
    """Files of a repository, from the client's cache or downloaded: a folder of links to them.

    The revision is a branch, tag or commit, the main branch if None; `patterns` say which files,
    all if None; offline, it takes what the cache has; `name` is that of it all, for messages.

    Raises:
        FetchError: there is no such repository, or it cannot be had.
        MissingExtraError: huggingface-hub is not installed.
    """
    hub = needs("huggingface_hub", extra="hf")
    report(FetchEvent(kind="start", url=name))
    try:
        folder = hub.snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=None if patterns is None else list(patterns),
            local_files_only=offline,
            endpoint=os.environ.get("HF_ENDPOINT") or None,  # the client reads it once, at import
            library_name="nasnet",
            tqdm_class=_bar(name, report),
        )
    except (OSError, ValueError, RuntimeError) as error:  # its errors are of all three
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FetchError(f"{name} cannot be had from the Hugging Face Hub: {reason}") from error
    report(FetchEvent(kind="done", url=name))
    return Path(folder)


def _bar(name: str, report: Callable[[FetchEvent], None]) -> type:
    """A progress bar that draws nothing, as a library does not, and tells its bytes."""
    bar: Any = needs("tqdm.auto", extra="hf").tqdm
    lock = threading.Lock()  # files come in threads
    most = 0  # there are two bars of bytes: received, and written; the first of them counts

    class Telling(bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            self.bytes = 0 if kwargs.get("unit") == "B" else None  # others count files
            super().__init__(*args, **(kwargs | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            """Note what has come."""
            if self.bytes is None or not n:
                return
            nonlocal most
            with lock:
                self.bytes += int(n)
                if self.bytes <= most:
                    return
                most = self.bytes
                total = int(self.total) if self.total else None
                report(FetchEvent(kind="progress", url=name, done_bytes=most, total_bytes=total))

    return Telling
