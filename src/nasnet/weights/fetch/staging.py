"""One source in, a verified folder in a working folder out: download, check, unpack, verify."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from nasnet.errors import FetchError, NasnetError, needs
from nasnet.weights.fetch.archive import extract
from nasnet.weights.fetch.events import Downloaded, FetchEvent, FetchOptions, Trouble
from nasnet.weights.fetch.handles import Source

Verify = Callable[[Path], None]
Report = Callable[[FetchEvent], None]

_ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".zip")
# Weights in one file, which is kept as it is. Old files of PyTorch are called .pth.tar, and are
# no tar archives.
_FILES: Final = (
    *(".safetensors", ".h5", ".keras", ".pth", ".pth.tar", ".pt"),
    *(".tflite", ".pb", ".npz", ".ckpt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How one call of `fetch` treats everything it touches."""

    options: FetchOptions  # how to fetch
    verify: Verify  # raises if a folder or file cannot be used
    report: Report  # told of progress

    def problem_with(self, path: Path, name: str) -> str:
        """What `verify` has against a path, which messages call `name`; empty if nothing."""
        self.report(FetchEvent(kind="verify", url=name))
        try:
            self.verify(path)
        except (NasnetError, OSError, ValueError) as error:
            return str(error).replace(str(path), name) or type(error).__name__
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A verified folder that waits to be put in its place."""

    folder: Path  # where it is
    sha256: str  # digest of the file it came in, hex; empty where there was none


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked before it is opened."""
    return name.lower().endswith(_ARCHIVES) and not name.lower().endswith(_FILES)


def url_source(text: str) -> Source | None:
    """The source a plain URL speaks of; None if the text is no http, https or gs URL.

    `gs://` becomes https. A URL without the ending of an archive or weight file is asked for its
    compressed form, as tensorflow-hub does. `#sha256=...` or `#md5=...` pins the content.
    """
    try:
        parts = urlsplit(text)
        pins = {name: values[0].lower() for name, values in parse_qs(parts.fragment).items()}
        if parts.scheme not in ("http", "https", "gs") or not parts.hostname:
            return None
    except ValueError:
        return None
    key = text.partition("#")[0]
    url = key
    if parts.scheme == "gs":
        url = f"https://storage.googleapis.com/{key.removeprefix('gs://')}"
    elif not _suffix(key) and "tf-hub-format=" not in parts.query:
        url = f"{key}{'&' if parts.query else '?'}tf-hub-format=compressed"
    return Source(kind="url", url=url, key=key, md5=pins.get("md5"), sha256=pins.get("sha256"))


def content_of(folder: Path, key: str) -> Path:
    """What is opened in a cache folder.

    That is its lone weight file if its key is the URL of one; else the folder, or the one within
    it where an archive wrapped all it holds in a folder.
    """
    if _suffix(key) in _FILES:
        return folder / Path(urlsplit(key).path).name
    while True:
        inner = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(inner) != 1 or not inner[0].is_dir() or inner[0].name == "variables":
            return folder
        folder = inner[0]


def stage(source: Source, work: Path, care: Care) -> Staged | Trouble:
    """Get the content of a source into a verified folder within `work`.

    Raises:
        FetchError: the working folder cannot be written.
    """
    if source.kind == "kaggle":
        return _from_kaggle(source, work, care)
    if source.kind == "keras":
        try:
            needs("h5py", extra="keras")  # without it nobody could open what is downloaded
        except ImportError as error:
            return Trouble(reason=str(error))
    name = "".join(character if character.isalnum() else "_" for character in source.url)
    part = work / f"{name[-120:]}.part"
    # The standard library's network code takes longer to import than all the rest of this room.
    from nasnet.weights.fetch.download import download

    while True:
        got = download(source.url, part, options=care.options, on_event=care.report)
        if isinstance(got, Trouble):
            return got
        problem = _wrong_digest(source, got)
        if not problem:
            folder = unpack(source, part, work, care)
            if isinstance(folder, Path):
                part.unlink(missing_ok=True)
                return Staged(folder=folder, sha256=got.sha256)
            problem = folder
        part.unlink(missing_ok=True)  # no later run may resume from what is bad
        if not got.resumed:
            return Trouble(reason=problem)
        # the pieces may not have belonged together: once more, in one piece
        care.report(FetchEvent(kind="retry", url=source.url, text=problem))


def unpack(source: Source, file: Path, work: Path, care: Care) -> Path | str:
    """Lay a file out as a folder within `work` and verify it.

    Returns:
        The folder, or why it cannot be used, in one line.
    """
    staged = _empty(work)
    if _suffix(source.key) in _FILES:
        staged.mkdir()
        file.rename(content_of(staged, source.key))
    else:
        care.report(FetchEvent(kind="unpack", url=source.url))
        try:
            extract(file, staged, max_bytes=care.options.max_unpacked_bytes)
        except FetchError as error:
            return str(error).removeprefix(f"{file}: ").replace(str(file), source.url)
    return care.problem_with(content_of(staged, source.key), source.url) or staged


def _from_kaggle(source: Source, work: Path, care: Care) -> Staged | Trouble:
    try:
        kagglehub = needs("kagglehub", extra="kaggle")
    except ImportError as error:
        return Trouble(reason=str(error))
    care.report(FetchEvent(kind="start", url=source.url))
    staged = _empty(work)
    try:
        theirs = kagglehub.model_download(source.url.partition("/models/")[2])
        shutil.copytree(theirs, staged)
    except Exception as error:  # whatever kagglehub and its HTTP library may raise
        return Trouble(reason=" ".join(f"kagglehub: {type(error).__name__}: {error}".split()))
    problem = care.problem_with(content_of(staged, source.key), source.url)
    return Trouble(reason=problem) if problem else Staged(folder=staged, sha256="")


def _empty(work: Path) -> Path:
    """Where a folder is made within `work`; nothing is there."""
    staged = work / "module"
    shutil.rmtree(staged, ignore_errors=True)
    return staged


def _wrong_digest(source: Source, got: Downloaded) -> str:
    pairs = (("md5", source.md5, got.md5), ("sha256", source.sha256, got.sha256))
    for name, expected, found in pairs:
        if expected and found != expected:
            return f"its {name} is {found}, expected {expected}"
    return ""


def _suffix(key: str) -> str:
    """The known ending of a URL's path, if it has one."""
    path = urlsplit(key).path.lower()
    return next((ending for ending in (*_FILES, *_ARCHIVES) if path.endswith(ending)), "")
