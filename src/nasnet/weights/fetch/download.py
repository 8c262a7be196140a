"""One file over HTTP(S) with the standard library: limits, retries, resumption, checksums."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Final, Literal, cast

from nasnet.errors import FetchError
from nasnet.text import made, read_json
from nasnet.weights.fetch.redirects import Redirects

_CHUNK: Final = 1 << 16
_REPORT_EVERY_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_LONGEST_ASKED_PAUSE_S: Final = 30.0
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


EventKind = Literal[
    "cache", "start", "progress", "retry", "failed", "wait", "unpack", "verify", "done"
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What is kept beside an unfinished file, so that the rest alone can be asked for."""

    url: str
    validator: str  # ETag or Last-Modified: what If-Range sends (RFC 9110, 13.1.5)
    total: int


def download(
    url: str, part: Path, *, options: FetchOptions, on_event: Callable[[FetchEvent], None]
) -> Downloaded | Trouble:
    """Download a file; what `part` already holds is not asked for again where the server allows it.

    A range is asked for with `If-Range`, so a file that changed on the server starts anew.
    Certificates are always checked (`SSL_CERT_FILE` adds authorities); proxies come from the
    environment.

    Args:
        url: an http or https URL.
        part: file to write; an unfinished one of an earlier try, and a small JSON file beside it
            that says of what, are used and may be left behind.
        options: patience and limits.
        on_event: called with `start`, `progress` and `retry`.

    Returns:
        The complete file, or why there is none.

    Raises:
        FetchError: the file cannot be written.
    """
    opener = urllib.request.build_opener(Redirects(url))
    deadline = time.monotonic() + options.total_s
    state = _read_state(part, url)
    resumed = state is not None
    most = part.stat().st_size if state else 0
    tries = 0
    while True:
        trouble = _attempt(opener, url, part, options, deadline, on_event)
        if trouble is None:
            break
        have = part.stat().st_size if part.exists() else 0
        tries = 0 if have > most and not trouble.slow else tries + 1
        most = max(most, have)
        if not trouble.again or not options.retries or tries > options.retries:
            return trouble
        pause_s = max(
            min(options.backoff_s * 2 ** max(tries - 1, 0), _LONGEST_PAUSE_S), trouble.pause_s
        )
        if time.monotonic() + pause_s >= deadline:
            return trouble
        on_event(FetchEvent(kind="retry", url=url, done_bytes=have, text=trouble.reason))
        time.sleep(pause_s)
        resumed = resumed or is_resumable(part)
    _, sha256, md5 = digests(part)
    return Downloaded(sha256=sha256, md5=md5, resumed=resumed)


def digests(path: Path) -> tuple[int, str, str]:
    """Size in bytes, SHA-256 and MD5 (hex) of a file."""
    size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            sha256.update(chunk)
            md5.update(chunk)
    return size, sha256.hexdigest(), md5.hexdigest()


def is_resumable(part: Path) -> bool:
    """Whether an unfinished file carries what is needed to ask for the rest."""
    return part.exists() and part.stat().st_size > 0 and _state_path(part).exists()


def _attempt(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    options: FetchOptions,
    deadline: float,
    on_event: Callable[[FetchEvent], None],
) -> Trouble | None:
    """Ask once; nothing is returned when the file is complete."""
    state = _read_state(part, url)
    have = part.stat().st_size if state else 0
    if state and have == state.total:
        return None
    request_headers = {"User-Agent": "nasnet", "Accept": "*/*", "Accept-Encoding": "identity"}
    if state:
        request_headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    try:
        request = urllib.request.Request(url, headers=request_headers)
        opened = opener.open(request, timeout=options.timeout_s)
        with cast(http.client.HTTPResponse, opened) as response:
            answer = _read_headers(response, have, state, options.max_bytes)
            if isinstance(answer, Trouble):
                if response.status == 206:
                    _forget(part)  # what is here does not fit what the server has
                return answer
            have, total = answer
            if not have:
                _forget(part)  # in this order: old bytes must never stand beside a new state
            _write_state(part, url, response.headers, total)
            on_event(FetchEvent(kind="start", url=url, done_bytes=have, total_bytes=total))
            return _copy(response, part, have, total, options, deadline, on_event, url)
    except FetchError:
        raise  # it is an OSError too, but speaks of our own disk
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the rest that was asked for does not exist: start anew
            _forget(part)
        return _refused(error, again=error.code in _AGAIN or (error.code == 416 and have > 0))
    except urllib.error.URLError as error:
        return _unreachable(error.reason)
    except (http.client.InvalidURL, ValueError) as error:
        return Trouble(reason=f"not a usable address: {error}")
    except (OSError, http.client.HTTPException) as error:
        return Trouble(reason=_say(error), again=True)


def _read_headers(
    response: http.client.HTTPResponse, have: int, state: _State | None, max_bytes: int
) -> tuple[int, int | None] | Trouble:
    """Where the answer's body begins in the file, and the size of the whole file."""
    total: int | None = None
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or not state or int(found[1]) != have or int(found[3]) != state.total:
            return Trouble(reason="the server sent another range than was asked for", again=True)
        total = state.total
    elif response.status == 200:
        have = 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    else:
        return Trouble(reason=f"HTTP {response.status} {response.reason}")
    if response.headers.get_content_type() == "text/html":
        return Trouble(reason="the server sent a web page, not a file")
    if total is not None and total > max_bytes:
        return Trouble(reason=f"{total:,} bytes are more than the limit of {max_bytes:,}")
    return have, total


def _copy(
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    total: int | None,
    options: FetchOptions,
    deadline: float,
    on_event: Callable[[FetchEvent], None],
    url: str,
) -> Trouble | None:
    reported_at = looked_at = time.monotonic()
    had, most = have, options.max_bytes
    with _open_for_writing(part, have) as file:
        while chunk := response.read1(_CHUNK):
            have += len(chunk)
            if have > most:
                return Trouble(reason=f"the file is larger than the limit of {most:,} bytes")
            left = memoryview(chunk)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                raise _unwritable(part, error) from error
            now = time.monotonic()
            if now >= deadline:
                return Trouble(
                    reason=f"not complete after {options.total_s:,.0f} s, {have:,} bytes are here: "
                    "the same command goes on from there"
                )
            if now - looked_at >= options.timeout_s:
                if have - had < options.min_bytes_s * (now - looked_at):
                    return Trouble(
                        reason=f"only {have - had:,} bytes in {now - looked_at:.0f} s",
                        again=True,
                        slow=True,
                    )
                looked_at, had = now, have
            if now - reported_at >= _REPORT_EVERY_S:
                reported_at = now
                on_event(FetchEvent(kind="progress", url=url, done_bytes=have, total_bytes=total))
    if total is not None and have != total:
        return Trouble(reason=f"the connection ended at {have:,} of {total:,} bytes", again=True)
    on_event(FetchEvent(kind="progress", url=url, done_bytes=have, total_bytes=total))
    return None


def _open_for_writing(part: Path, have: int) -> IO[bytes]:
    try:
        # unbuffered: the next process resumes from all that a killed one had received
        file = part.open("r+b" if have else "wb", buffering=0)
        file.seek(have)
        file.truncate()
    except OSError as error:
        raise _unwritable(part, error) from error
    return file


def _refused(error: urllib.error.HTTPError, *, again: bool) -> Trouble:
    asked = error.headers.get("Retry-After", "") if error.headers else ""
    pause_s = min(float(asked), _LONGEST_ASKED_PAUSE_S) if asked.isdecimal() else 0.0
    text = " ".join(str(error.reason).split())
    return Trouble(reason=f"HTTP {error.code} {text}", again=again, pause_s=pause_s)


def _unreachable(reason: object) -> Trouble:
    """The trouble before any answer; `reason` is what urllib wrapped."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Trouble(
            reason=f"its certificate is not trusted ({reason.verify_message}); a certificate "
            "authority of your own goes into SSL_CERT_FILE",
            unreachable=True,
        )
    if isinstance(reason, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return Trouble(reason=_say(reason), again=True)
    if isinstance(reason, OSError):
        return Trouble(reason=_say(reason), unreachable=True)
    return Trouble(reason=str(reason))


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path, url: str) -> _State | None:
    """What is known about an unfinished file of this URL, if the rest of it can be asked for."""
    if not is_resumable(part):
        return None
    file = _state_path(part)
    try:
        state: _State = made(_State, read_json(file, FetchError), str(file), FetchError)
        fits = state.url == url and part.stat().st_size <= state.total
    except OSError:  # FetchError is one
        return None
    return state if fits else None


def _write_state(part: Path, url: str, headers: Message, total: int | None) -> None:
    path = _state_path(part)
    etag = headers.get("ETag", "")
    # a weak ETag promises equal meaning, not equal bytes
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    try:
        if not validator or total is None or headers.get("Accept-Ranges") == "none":
            path.unlink(missing_ok=True)
            return
        state = _State(url=url, validator=validator, total=total)
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(asdict(state)), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _forget(part: Path) -> None:
    _state_path(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> FetchError:
    advice = "another cache folder can be named in TFHUB_CACHE_DIR"
    return FetchError(f"cannot write {path}: {error.strerror or error}; {advice}")


def _say(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error)
    return " ".join(str(error).split()) or type(error).__name__
