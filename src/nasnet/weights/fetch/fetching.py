"""A handle, path or URL in, a verified local folder, file or checkpoint prefix out.

The environment: `TFHUB_CACHE_DIR` names the cache; `NASNET_MIRRORS` (base URLs with commas between)
are asked first; `NASNET_OFFLINE=1` forbids the network. `TFHUB_MODEL_LOAD_FORMAT=UNCOMPRESSED` is
refused: it reads in place from Google's storage. `TFHUB_DISABLE_CERT_VALIDATION` has no effect.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nasnet.errors import FetchError, os_errors
from nasnet.text import meant
from nasnet.weights.fetch import cache
from nasnet.weights.fetch.events import (
    EventKind,
    FetchEvent,
    FetchOptions,
    Trouble,
)
from nasnet.weights.fetch.handles import (
    HANDLES_TEXT,
    Handle,
    Source,
    mirror_sources,
    note_for,
    parse_handle,
)
from nasnet.weights.fetch.hugging_face import fetch_repository, is_hub_handle
from nasnet.weights.fetch.staging import (
    Care,
    Report,
    Staged,
    Verify,
    content_of,
    is_archive,
    stage,
    unpack,
    url_source,
)
from nasnet.weights.fetch.unfinished import digests

_WITHOUT: Final = (
    "Without a network: --weights builtin (nasnet_mobile trained for this package, not Google's), "
    "or --weights seeded:7 for a dry run."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Something local that can be opened."""

    path: Path  # a folder, a file, or a checkpoint prefix (`DIR/model.ckpt`, itself no file)
    handle: Handle | None  # the published module it is, if a handle was asked for
    origin: str  # `path`, `cache`, or the URL it was just downloaded from
    note: str  # what a user should know about it, or nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One call of `fetch` that goes through the cache.

    Attributes:
        text: what was asked for, as it was written.
        sources: where to ask, in order.
        keys: texts whose SHA-1 names folders that would do, the best first.
        care: how to treat what is found.
        handle: the published module it names, if it does.
        tried: what was of no use and why, in order; grows while the job runs.
    """

    text: str
    sources: tuple[Source, ...]
    keys: tuple[str, ...]
    care: Care
    handle: Handle | None = None
    tried: list[tuple[str, str]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The cache."""
        return cache.cache_root(self.care.options.cache_dir)

    def report(self, kind: EventKind, url: str, text: str = "") -> None:
        """Tell of progress."""
        self.care.report(FetchEvent(kind=kind, url=url, text=text))

    def give_up(self, where: str, reason: str) -> None:
        """Note that something was of no use, and why."""
        self.tried.append((where, reason))
        self.report("failed", where, reason)

    def found(self, folder: Path, key: str, origin: str) -> Fetched:
        """A good folder of the cache."""
        note = note_for(self.handle, key) if self.handle and key != self.text else ""
        path = content_of(folder, key)
        return Fetched(path=path, handle=self.handle, origin=origin, note=note)


def fetch(
    handle_or_path: str | os.PathLike[str],
    *,
    options: FetchOptions | None = None,
    verify: Verify,
    on_event: Report | None = None,
) -> Fetched:
    """Turn a handle, a path or a URL into something local and verified.

    An existing path wins over everything: a folder, a weight file, a checkpoint prefix, or an
    archive, which is unpacked into the cache under the digest of its content. A published handle
    (see `handles.parse_handle`) is looked up in the cache, tensorflow-hub's own included, and then
    downloaded from the first of its sources that answers well. Any other http(s) or gs:// URL is
    taken as an archive or weight file (see `staging.url_source`).

    Args:
        handle_or_path: what to fetch.
        options: how.
        verify: looks at a folder or file and raises if it cannot be used; nothing that is
            downloaded or unpacked enters the cache before it has passed.
        on_event: called for progress.

    Raises:
        FetchError: there is nothing verified to be had; the text lists what was tried and why it
            failed, and how to go on. What `verify` raises for a path of the user's own passes
            through as it is.
    """
    care = Care(
        options=options or FetchOptions(), verify=verify, report=on_event or (lambda event: None)
    )
    text = os.fspath(handle_or_path).strip()
    path = _local_path(text)
    if path is None:
        return _from_afar(text, care)
    if path.is_file() and is_archive(path.name):
        return _from_archive(path, care)
    care.report(FetchEvent(kind="verify", url=str(path)))
    verify(path)
    care.report(FetchEvent(kind="done", url=str(path)))
    return Fetched(path=path, handle=None, origin="path", note="")


def _local_path(text: str) -> Path | None:
    """The existing path a text names: file, folder or checkpoint prefix."""
    is_url = text.startswith("file:")
    try:
        name = text
        if is_url:
            from urllib.request import url2pathname  # brings the whole of http with it

            name = url2pathname(urlsplit(text).path)
        path = Path(name).expanduser()
        exists = bool(text) and (path.exists() or path.with_name(f"{path.name}.index").is_file())
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no home: no path of this system
        return None
    if is_url and not exists:
        raise FetchError(f"{text}: there is no {path}")
    return path if exists else None


def _from_archive(path: Path, care: Care) -> Fetched:
    """Unpack an archive of the user's into the cache, once for each content."""
    with os_errors(FetchError, f"cannot read {path}"):
        sha256 = digests(path)[1]
    source = Source(kind="url", url=str(path), key=f"sha256:{sha256}")
    job = _Job(text=str(path), sources=(source,), keys=(source.key,), care=care)
    folder = cache.folder_for(job.root, source.key)
    if not _is_usable(job, folder, source.key):
        with _lock(job, folder) as work:
            if not _is_usable(job, folder, source.key):
                staged = unpack(source, path, work, care)
                if isinstance(staged, str):
                    raise FetchError(staged if str(path) in staged else f"{path}: {staged}")
                _install(job, source, Staged(folder=staged, sha256=sha256), folder, work)
    return job.found(folder, source.key, "path")


def _from_afar(text: str, care: Care) -> Fetched:
    """A handle or URL, by way of the cache."""
    options = care.options
    offline = options.no_network
    if is_hub_handle(text):
        path = fetch_repository(text, offline=offline, report=care.report)
        care.verify(path)
        return Fetched(path=path, handle=None, origin=text, note="")
    handle = parse_handle(text)
    source = url_source(text)
    if handle is not None:
        mirrors = (*options.mirrors, *os.environ.get("NASNET_MIRRORS", "").split(","))
        sources = tuple(
            source for base in mirrors if base.strip() for source in mirror_sources(handle, base)
        )
        sources += handle.sources
        keys = tuple(dict.fromkeys((text, *handle.cache_keys)))
    elif source is not None:
        sources, keys = (source,), (source.key,)
    else:
        raise FetchError(
            f"{text!r} is not an existing file, folder or checkpoint, a URL, or a published "
            f"handle; the handles: {HANDLES_TEXT}, or nasnet_mobile, nasnet_large for short"
            + meant(text, ("builtin", "seeded:7", "nasnet_mobile", "nasnet_large"))
        )
    if os.environ.get("TFHUB_MODEL_LOAD_FORMAT", "").upper() == "UNCOMPRESSED":
        raise FetchError(
            "TFHUB_MODEL_LOAD_FORMAT=UNCOMPRESSED reads modules in place from Google's storage, "
            f"which is not supported; unset it (or set COMPRESSED) to fetch {text}"
        )
    job = _Job(text=text, handle=handle, sources=sources, keys=keys, care=care)
    found = _from_cache(job)
    if found is None and not offline:
        found = _from_sources(job)
    if found is None:
        raise FetchError(_failure(job, offline=offline))
    return found


def _from_cache(job: _Job) -> Fetched | None:
    """The first good folder of the cache, or of tensorflow-hub's default one (never written)."""
    default = cache.tensorflow_hub_root()
    for root in dict.fromkeys(root for root in (job.root, default) if root is not None):
        for key in job.keys:
            folder = cache.folder_for(root, key)
            if _is_usable(job, folder, key):
                return job.found(folder, key, "cache")
    return None


def _is_usable(job: _Job, folder: Path, key: str) -> bool:
    """Whether a folder of the cache is there and good; why it is not is noted in the job."""
    if not cache.is_filled(folder):
        return False
    if cache.has_manifest(folder):
        problem = cache.changes(folder)
        if problem:
            problem = f"{problem}; if that is meant, remove {folder}.files.json"
    else:  # tensorflow-hub or a hand put it there
        problem = job.care.problem_with(content_of(folder, key), str(folder))
    if not problem:
        job.report("cache", str(folder))
    elif (str(folder), problem) not in job.tried:
        job.give_up(str(folder), problem)
    return not problem


def _from_sources(job: _Job) -> Fetched | None:
    """Ask the sources in order; those that fill the same folder are asked under one lock."""
    unreachable: set[str] = set()
    for key, sources in groupby(job.sources, key=lambda source: source.key):
        folder = cache.folder_for(job.root, key)
        with _lock(job, folder) as work:
            if _is_usable(job, folder, key):  # another process may just have made it
                return job.found(folder, key, "cache")
            for source in sources:
                if _fill(job, source, folder, work, unreachable):
                    return job.found(folder, key, source.url)
    return None


def _fill(job: _Job, source: Source, folder: Path, work: Path, unreachable: set[str]) -> bool:
    """Fill a folder of the cache from a source, if that can be had."""
    host = urlsplit(source.url).netloc
    if host in unreachable:
        job.give_up(source.url, "not asked, its host could not be reached")
        return False
    staged = stage(source, work, job.care)
    if isinstance(staged, Trouble):
        job.give_up(source.url, staged.reason)
        if staged.unreachable:
            unreachable.add(host)
        return False
    _install(job, source, staged, folder, work)
    return True


def _install(job: _Job, source: Source, staged: Staged, folder: Path, work: Path) -> None:
    cache.install(
        staged.folder, folder, work=work, key=source.key, url=source.url, sha256=staged.sha256
    )
    job.report("done", source.url)


def _failure(job: _Job, *, offline: bool) -> str:
    """The one text that says what was tried, and how to go on."""
    name = job.text
    if job.handle and job.handle.canonical != job.text:
        name = f"{name} ({job.handle.canonical})"
    why = "no usable copy in the cache, and offline" if offline else "no source has a usable copy"
    lines = [f"{name} cannot be fetched: {why}.", "Tried:"]
    lines += [f"  {where}: {reason}" for where, reason in job.tried]
    if not job.tried:
        lines.append(f"  the cache {job.root}: not there")
    if offline:
        lines.append("  the network: not asked (NASNET_OFFLINE is set, or offline=True)")
    offered: dict[str, Source] = {}
    for source in job.handle.sources if job.handle else job.sources:
        offered.setdefault(source.key, source)
    lines.append("To put it there by hand, get one of these elsewhere and unpack it:")
    for key, source in offered.items():
        if source.kind != "kaggle":
            check = f" (md5 {source.md5})" if source.md5 else ""
            lines.append(f"  {source.url}{check}")
            lines.append(f"    into the folder {cache.folder_for(job.root, key)}")
    lines.append("or keep the file anywhere and give its path in place of the handle.")
    lines.append(_WITHOUT)
    return "\n".join(lines)


def _lock(job: _Job, folder: Path) -> AbstractContextManager[Path]:
    def on_wait(holder: str, size: int) -> None:
        text = f"another process is fetching the same ({holder})"
        job.care.report(FetchEvent(kind="wait", url=str(folder), done_bytes=size, text=text))

    options = job.care.options
    return cache.locked(
        folder, stale_s=options.lock_stale_s, poll_s=options.lock_poll_s, on_wait=on_wait
    )
