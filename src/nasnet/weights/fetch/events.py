"""What `fetch` is told and what it tells; needs no network code, which takes long to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

EventKind = Literal[
    "cache", "start", "progress", "retry", "failed", "wait", "unpack", "verify", "done"
]
_TRUE: Final = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchEvent:
    """Something that happened on the way from a handle to a folder, for progress bars and logs.

    Attributes:
        kind: `cache` (found, no network), `start`, `progress`, `retry` (same source again),
            `failed` (this source is given up), `wait` (another process is fetching the same),
            `unpack`, `verify` or `done`.
        url: the source, or the path of the cache folder.
        done_bytes: bytes that are here, resumed ones included.
        total_bytes: size of the whole, where the server told it.
        text: one line for people.
    """

    kind: EventKind
    url: str
    done_bytes: int = 0
    total_bytes: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        cache_dir: where downloads are kept; `TFHUB_CACHE_DIR`, or else the user's cache folder, if
            not given.
        offline: use no network; what `NASNET_OFFLINE` says if not given.
        mirrors: base URLs to ask before those of `NASNET_MIRRORS` and the published ones.
        timeout_s: longest silence of a server, in seconds.
        total_s: longest time for one file, all tries together, in seconds; the next call goes on
            from there.
        min_bytes_s: least bytes in a second, on average over each `timeout_s`.
        retries: how many tries in a row may bring nothing new; 0 allows one try. Refusals (HTTP
            4xx, unknown host, bad certificate) are not tried again.
        backoff_s: pause before the first retry, in seconds; doubled for each that follows.
        max_bytes: largest file that is downloaded (large, with optimizer slots: about 1.4 GB).
        max_unpacked_bytes: largest content of an archive.
        lock_stale_s: seconds without growth that make another process's download abandoned.
        lock_poll_s: seconds between two looks at another process's download.
    """

    cache_dir: Path | None = None
    offline: bool | None = None
    mirrors: tuple[str, ...] = ()
    timeout_s: float = 30.0
    total_s: float = 7200.0
    min_bytes_s: int = 1000
    retries: int = 3
    backoff_s: float = 0.5
    max_bytes: int = 2 << 30
    max_unpacked_bytes: int = 4 << 30
    lock_stale_s: float = 600.0
    lock_poll_s: float = 0.2

    @property
    def no_network(self) -> bool:
        """Whether none is used: what `offline` says, or else `NASNET_OFFLINE`."""
        if self.offline is not None:
            return self.offline
        return os.environ.get("NASNET_OFFLINE", "").strip().lower() in _TRUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A complete file."""

    sha256: str  # of its content, hex
    md5: str  # of its content, hex
    resumed: bool  # whether it was put together from more than one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a download did not end well."""

    reason: str  # one line
    again: bool = False  # whether the same request may succeed later
    unreachable: bool = False  # whether the host could not be reached at all
    slow: bool = False  # whether it brought something, but too little
    pause_s: float = 0.0  # how long the server asked to wait, at least
