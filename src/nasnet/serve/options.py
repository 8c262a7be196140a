"""The options of a service, and the events it reports.

Needs no extra.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError, check_range, check_ranges, needs
from nasnet.features.feature_set import FeatureMeta
from nasnet.network.plan import Borders
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE

Floats = npt.NDArray[np.float32]
RECIPE = "photo"  # where nothing says another
_EXTRA = ("fastapi", "uvicorn", "httptools", "prometheus_client", "python_multipart")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHORTEST_KEY = 8
# As browsers write it (RFC 6454, 6.2); other schemes are those of apps, such as `capacitor`.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A module to serve.

    Attributes:
        handle: a published handle, a path, or `seeded:N`.
        name: what clients call it; `nasnet_mobile`, by its network, if not given.
    """

    handle: str = DEFAULT_HANDLE
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that could not stand in a URL."""
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise InputError(
                f"{self.name!r} cannot be a module's name: letters, digits, '.', '_' and '-', "
                "64 at most, the first a letter or a digit"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may ask for, and how long it may take; these keep memory flat.

    Attributes:
        body_bytes: largest body of a request, before and after its Content-Encoding is undone.
        bodies_bytes: largest sum of the bodies of all requests in work.
        picture_pixels: largest picture before resizing, as its header says.
        pictures: most pictures in a request.
        values: most numbers in an answer; only inner endpoints reach it.
        queue: most pictures that wait or are computed, for each module.
        connections: most connections that are open at once.
        header_seconds: longest time until the headers of a request are there.
        body_seconds: longest time until the body of a request is there.
        compute_seconds: longest time until an answer is there, waiting included.
        idle_seconds: longest pause between two requests of a connection.
        grace_seconds: time for requests in work when the service is stopped.
        linger_seconds: how long a picture waits for others to share a batch with.
    """

    body_bytes: int = 32 << 20
    bodies_bytes: int = 256 << 20
    picture_pixels: int = 32_000_000
    pictures: int = 64
    values: int = 4_000_000
    queue: int = 256
    connections: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    compute_seconds: float = 60.0
    idle_seconds: float = 30.0
    grace_seconds: float = 60.0
    linger_seconds: float = 0.004

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be served."""
        check_ranges(self, dict.fromkeys(self.__slots__, "(0, inf]"))
        if self.queue < self.pictures:
            raise InputError(
                f"a queue of {self.queue} could never take a request of {self.pictures} pictures"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What to serve, and how.

    Attributes:
        models: the modules; the first answers requests that name none.
        host: address to listen at; loopback unless there is a key.
        port: 0 takes a free one.
        api_key: the key that clients have to send, as `Authorization: Bearer KEY` or `X-API-Key:
            KEY`; on the command line the file that holds it.
        allow_anyone: listen beyond loopback without a key.
        allowed_hosts: names, besides the address itself, under which clients may call it.
        cors_origin: a web site whose pages may call it, such as `https://photos.example`; once
            for each, or `*` for all where there is a key.
        recipe: how pictures become pixels; as for the vectors of the index, else `photo`, if not
            given.
        padding: whose border pixels, `slim` or `keras`; as for the index, else what the weights
            say, if not given.
        engine: how to compute.
        photos: a folder to find similar pictures in, `index` and `pictures` in one; its vectors
            are computed beside the service, kept in the cache, and the next time only new pictures
            are computed.
        index: a feature set or an index of `nasnet index` for `/search`, of the first module.
        pictures: the folder with the pictures of the index, so that they can be shown; at loopback
            the one it was made of, if not given.
        map: an HTML file that `/map` shows.
        limits: of requests.
        fetch: where to look for a handle.
    """

    models: tuple[ModelChoice, ...] = (ModelChoice(),)
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    allow_anyone: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origin: tuple[str, ...] = ()
    recipe: str | None = None
    padding: Borders | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    photos: Path | None = None
    index: Path | None = None
    pictures: Path | None = None
    map: Path | None = None
    limits: Limits = field(default_factory=Limits)
    fetch: FetchOptions = field(default_factory=FetchOptions)

    @property
    def folder(self) -> Path | None:
        """Where the pictures of the index are."""
        return self.photos or self.pictures

    def __post_init__(self) -> None:
        """Refuse what would be open to the world by accident, or contradicts itself."""
        if not self.models:
            raise InputError("name at least one module to serve")
        check_range("port", self.port, "[0, 65535]")
        if self.api_key is not None and (
            len(self.api_key) < _SHORTEST_KEY or not self.api_key.isascii()
        ):
            raise InputError(f"an API key has {_SHORTEST_KEY} ASCII characters or more")
        if not (is_loopback(self.host) or self.api_key or self.allow_anyone):
            raise InputError(
                f"{self.host} can be reached from other machines: give an API key, or say that "
                "anyone may use it (--allow-anyone), or listen at 127.0.0.1"
            )
        if self.photos is not None and (self.index is not None or self.pictures is not None):
            raise InputError("--photos stands for --index and --pictures: give it alone")
        for origin in self.cors_origin:
            if origin == "*" and not self.api_key:
                raise InputError(
                    "--cors-origin '*' lets every web site use this service: give an API key, or "
                    "name the sites"
                )
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise InputError(
                    f"{origin!r} is not an origin: write it as browsers do, such as "
                    "https://photos.example or http://localhost:3000, without a path or a slash "
                    "at the end"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeEvent:
    """Something that happened.

    Attributes:
        kind: `loading`, `listening` (the page opens; not all is compiled), `ready`, `photos` (how
            far the folder is), `request` (one that was answered), `fault` (an error of ours),
            `stopping` or `stopped`.
        text: a line for people.
        url: where it listens, with `listening` and `ready`.
    """

    kind: Literal[
        "loading", "listening", "ready", "photos", "request", "fault", "stopping", "stopped"
    ]
    text: str
    url: str = ""


class NearestIndex(Protocol):
    """Finds the nearest rows of a feature set. `search` is called from several threads at once."""

    @property
    def meta(self) -> FeatureMeta:
        """What the indexed vectors say about themselves."""

    def __len__(self) -> int:
        """How many rows there are."""

    def search(self, vectors: Floats, k: int) -> tuple[list[list[str]], Floats]:
        """The `k` nearest rows of each vector, the nearest first.

        Args:
            vectors: float32 [n, dimensions].
            k: how many; at most as many as there are rows.

        Returns:
            Ids, n lists of k; and cosine similarities, float32 [n, k].
        """


def check_extra() -> None:
    """Refuse to begin where nothing could be served in the end.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
    """
    for package in _EXTRA:
        needs(package, extra="serve")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
