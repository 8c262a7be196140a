"""Pictures behind URLs, through fsspec: http(s), s3, gs, hf and whatever else it knows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, BinaryIO, cast

from nasnet.errors import MissingExtraError, PictureError, SourceError
from nasnet.pictures.decode.endings import ending_of, looks_like_picture
from nasnet.pictures.sources.item import MAX_BYTES, Item, Source, id_of_path

# Protocol -> what to install for it, where fsspec alone is not enough.
_INSTALL: Mapping[str, str] = {
    "http": "'nasnet[http]'",
    "https": "'nasnet[http]'",
    "s3": "'nasnet[s3]'",
    "s3a": "'nasnet[s3]'",
    "gs": "'nasnet[gcs]'",
    "gcs": "'nasnet[gcs]'",
    "hf": "'nasnet[hf]'",
}
_TRIES = 3
_PAUSE_S = 0.5  # before the second try; doubled before the third


def read_url(url: str, storage: Mapping[str, Any]) -> bytes:
    """Fetch one picture; what may pass by itself (timeouts, 5xx) is tried three times.

    Raises:
        PictureError: it is not there, cannot be fetched, is empty or too large.
        MissingExtraError: the package for this kind of URL is not installed.
    """
    for attempt in range(_TRIES):
        try:
            data = _fetch(url, storage)
            break
        except (MissingExtraError, PictureError):
            raise
        except Exception as error:  # each file system has its own
            reason, final = _reason(error)
            if final or attempt == _TRIES - 1:
                raise PictureError(f"cannot be fetched: {reason}") from None
            time.sleep(_PAUSE_S * 2**attempt)
    if len(data) > MAX_BYTES:
        raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
    if not data:
        raise PictureError("empty file")
    return data


def _fetch(url: str, storage: Mapping[str, Any]) -> bytes:
    system, path = file_system(url, storage)
    if not url.startswith(("http://", "https://")):
        return cast(bytes, system.cat_file(path, start=0, end=MAX_BYTES + 1))
    # A plain GET read as a stream: one request, and an answer without end stays bounded.
    with closing(system.open(path, "rb", block_size=0, size=1)) as file:
        pieces, size = [], 0
        while size <= MAX_BYTES and (piece := file.read(1 << 20)):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)


def file_system(url: str, storage: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of a URL, and the path on it.

    Raises:
        MissingExtraError: the package for this kind of URL is not installed.
        PictureError: it is no URL.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, **storage)
    except ImportError as error:
        protocol = url.partition("://")[0].partition("::")[0]
        wanted = _INSTALL.get(protocol)
        how = f"it comes with: pip install {wanted}" if wanted else str(error)
        raise MissingExtraError(f"{protocol}:// needs another package; {how}") from error
    except ValueError as error:
        raise PictureError(f"not a URL that can be read: {error}") from None
    return system, path


def _reason(error: Exception) -> tuple[str, bool]:
    """What went wrong in a few words, and whether another try is of no use."""
    if isinstance(error, PictureError):
        return str(error), True
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return f"HTTP {status}", status < 500 and status != 429
    if isinstance(error, FileNotFoundError):
        return "not found", True
    if isinstance(error, PermissionError):
        return "permission denied", True
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "timed out", False
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:200], False


@contextmanager
def _told(url: str, what: str) -> Iterator[None]:
    """What a file system raises, each its own, becomes a `SourceError` with the URL."""
    try:
        yield
    except MissingExtraError:
        raise
    except Exception as error:
        raise SourceError(f"{url}: cannot be {what}: {_reason(error)[0]}") from error


def opener_of(url: str, storage: Mapping[str, Any]) -> Callable[[], BinaryIO]:
    """What opens a remote file for reading with seeks."""

    def opener() -> BinaryIO:
        with _told(url, "opened"):
            system, path = file_system(url, storage)
            return cast(BinaryIO, system.open(path, "rb"))

    return opener


def remote_folder(url: str, storage: Mapping[str, Any], *, all_files: bool) -> Source | None:
    """All pictures below a remote folder or bucket, by relative path; None if it is none.

    Web servers have no folders that can be listed.

    Raises:
        SourceError: it cannot be listed, or has no pictures.
    """
    if url.startswith(("http://", "https://")):
        return None
    with _told(url, "listed"):
        system, root = file_system(url, storage)
        if not system.isdir(root):
            return None
        paths = system.find(root)
    prefix = root.rstrip("/") + "/"
    names = [path.removeprefix(prefix) for path in paths]
    names = [one for one in names if not any(part.startswith(".") for part in one.split("/"))]
    passed: Counter[str] = Counter()
    if not all_files:
        passed.update(ending_of(one) for one in names if not looks_like_picture(one))
        names = [one for one in names if looks_like_picture(one)]
    names.sort()
    if not names:
        raise SourceError(f"{url}: no pictures in it")

    def start() -> Iterator[Item]:
        for name in names:
            yield Item(id_of_path(name), partial(read_url, f"{base}/{name}", storage))

    base = url.rstrip("/")
    return Source(name=url, kind="folder", count=len(names), start=start, passed=passed)


def matches_of(url: str, storage: Mapping[str, Any]) -> list[str]:
    """URLs that match a remote pattern, in order.

    Raises:
        SourceError: there are none, or they cannot be listed.
    """
    with _told(url, "listed"):
        system, pattern = file_system(url, storage)
        found = [system.unstrip_protocol(path) for path in sorted(system.glob(pattern))]
    if not found:
        raise SourceError(f"{url}: no file has such a name")
    return found
