"""One file over HTTP(S) with the standard library: limits, retries, resumption, checksums."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, cast
from urllib.parse import urlsplit

from nasnet.errors import FetchError
from nasnet.weights.fetch.events import Downloaded, FetchEvent, FetchOptions, Trouble
from nasnet.weights.fetch.unfinished import (
    State,
    digests,
    forget,
    is_resumable,
    read_state,
    unwritable,
    write_state,
)

_CHUNK: Final = 1 << 16
_REPORT_EVERY_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_LONGEST_ASKED_PAUSE_S: Final = 30.0
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


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
    state = read_state(part, url)
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


def _attempt(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    options: FetchOptions,
    deadline: float,
    on_event: Callable[[FetchEvent], None],
) -> Trouble | None:
    """Ask once; nothing is returned when the file is complete."""
    state = read_state(part, url)
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
                    forget(part)  # what is here does not fit what the server has
                return answer
            have, total = answer
            if not have:
                forget(part)  # in this order: old bytes must never stand beside a new state
            write_state(part, url, response.headers, total)
            on_event(FetchEvent(kind="start", url=url, done_bytes=have, total_bytes=total))
            return _copy(response, part, have, total, options, deadline, on_event, url)
    except FetchError:
        raise  # it is an OSError too, but speaks of our own disk
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the rest that was asked for does not exist: start anew
            forget(part)
        return _refused(error, again=error.code in _AGAIN or (error.code == 416 and have > 0))
    except urllib.error.URLError as error:
        return _unreachable(error.reason)
    except (http.client.InvalidURL, ValueError) as error:
        return Trouble(reason=f"not a usable address: {error}")
    except (OSError, http.client.HTTPException) as error:
        return Trouble(reason=_say(error), again=True)


def _read_headers(
    response: http.client.HTTPResponse, have: int, state: State | None, max_bytes: int
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
                raise unwritable(part, error) from error
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
        raise unwritable(part, error) from error
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


def _say(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error)
    return " ".join(str(error).split()) or type(error).__name__


class Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects go to http(s) only, never from https down to http, and never to machines within.

    A server outside could else have ours ask what only our network can reach.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """What is asked next.

        Raises:
            InvalidURL: it is refused.
        """
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            fp.close()
            raise http.client.InvalidURL(f"redirected to {newurl}, which is refused")
        if _is_within(newurl) and not _is_within(self._url):
            fp.close()
            raise http.client.InvalidURL(
                f"redirected to {newurl}, a machine of the network within, which is refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_within(url: str) -> bool:
    """Whether a URL's host is, or its name stands for, an address that is not of the internet."""
    try:
        host = urlsplit(url).hostname or ""
        found = {one[4][0] for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        addresses = [ipaddress.ip_address(str(one).partition("%")[0]) for one in found]
    except (OSError, ValueError):  # a name that nobody knows leads nowhere
        return False
    plain = [getattr(one, "ipv4_mapped", None) or one for one in addresses]
    return any(not one.is_global or one.is_multicast for one in plain)
