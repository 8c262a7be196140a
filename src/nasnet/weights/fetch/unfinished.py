"""Files that are here in part, and what is kept beside them so that only the rest is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nasnet.errors import FetchError
from nasnet.text import made, read_json

if TYPE_CHECKING:
    from email.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept beside an unfinished file, so that the rest alone can be asked for."""

    url: str
    validator: str  # ETag or Last-Modified: what If-Range sends (RFC 9110, 13.1.5)
    total: int


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


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def read_state(part: Path, url: str) -> State | None:
    """What is known about an unfinished file of this URL, if the rest of it can be asked for."""
    if not is_resumable(part):
        return None
    file = _state_path(part)
    try:
        state: State = made(State, read_json(file, FetchError), str(file), FetchError)
        fits = state.url == url and part.stat().st_size <= state.total
    except OSError:  # FetchError is one
        return None
    return state if fits else None


def write_state(part: Path, url: str, headers: Message, total: int | None) -> None:
    """Keep what asking for the rest takes, if the server lets one ask for it."""
    path = _state_path(part)
    etag = headers.get("ETag", "")
    # a weak ETag promises equal meaning, not equal bytes
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    try:
        if not validator or total is None or headers.get("Accept-Ranges") == "none":
            path.unlink(missing_ok=True)
            return
        state = State(url=url, validator=validator, total=total)
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(asdict(state)), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def forget(part: Path) -> None:
    """Remove an unfinished file and what is kept beside it."""
    _state_path(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> FetchError:
    """The error for a file of the cache that cannot be written."""
    advice = "another cache folder can be named in TFHUB_CACHE_DIR"
    return FetchError(f"cannot write {path}: {error.strerror or error}; {advice}")
