"""The published NASNet-A handles: what each one is, and where its weights can come from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from nasnet.errors import FetchError
from nasnet.weights.module_folder import Task

Architecture = Literal["mobile", "large"]

HANDLES_TEXT: Final = (
    "google/imagenet/nasnet_{mobile,large}/{feature_vector,classification}/{1,3,4,5}"
)


class _Version(NamedTuple):
    is_tf1: bool  # a TF1 hub module, not a TF2 SavedModel
    batch_norm_momentum: float
    has_bn_hparams: bool  # its signatures come *_with_bn_hparams as well


_VERSIONS: Final[dict[int, _Version]] = {
    1: _Version(True, 0.9997, False),
    3: _Version(True, 0.99, True),
    4: _Version(False, 0.99, True),
    5: _Version(False, 0.99, True),
}

# task -> its own signatures; the classifier carries the trunk, so it has the vectors too
_SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    "feature_vector": ("image_feature_vector",),
    "classification": ("image_classification", "image_feature_vector"),
}

# architecture -> (TF-Slim's tarball, its published md5)
_SLIM_BASE: Final = "https://storage.googleapis.com/download.tensorflow.org/models"
_SLIM: Final[dict[str, tuple[str, str]]] = {
    "mobile": ("nasnet-a_mobile_04_10_2017.tar.gz", "7777886f3de3d733d3a6bf8b80e63555"),
    "large": ("nasnet-a_large_04_10_2017.tar.gz", "5286bdbb29bab27c4d3431c70f8becf9"),
}

# architecture -> (the file of Keras applications without its classifier, the md5 in their source).
# The one with it lacks the background class, so that it cannot stand in for the module's.
_KERAS_BASE: Final = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet"
_KERAS: Final[dict[str, tuple[str, str]]] = {
    "mobile": ("NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
    "large": ("NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"),
}

_CANONICAL: Final = "https://tfhub.dev/"
_COMPRESSED: Final = "tf-hub-format=compressed"

# host -> the part of its paths that comes before google/imagenet/...
_HUB_HOSTS: Final[dict[str, str]] = {
    "tfhub.dev": "/",
    "www.tfhub.dev": "/",
    "hub.tensorflow.google.cn": "/",
    "storage.googleapis.com": "/tfhub-modules/",
    "gcs.tensorflow.google.cn": "/tfhub-modules/",
}
_GCS_BUCKET: Final = "tfhub-modules"
_KAGGLE_HOSTS: Final = ("www.kaggle.com", "kaggle.com")

# Kaggle numbers a module's versions from 1 within one framework, and has no gap where /2 was
_KAGGLE_VERSIONS: Final[dict[tuple[str, int], int]] = {
    ("tensorflow1", 1): 1,
    ("tensorflow1", 2): 3,
    ("tensorflow1", 3): 3,
    ("tensorflow2", 1): 4,
    ("tensorflow2", 2): 5,
}

# beginning of a hub path -> what such a module is; its files can be opened, but are not fetched
_OTHER_FORMATS: Final[dict[str, str]] = {
    "google/tfjs-model/imagenet/nasnet_": "a TensorFlow.js copy",
    "tensorflow/nasnet/": "a TensorFlow Lite copy",
    "tensorflow/lite-model/nasnet/": "a TensorFlow Lite copy",
}

_PUBLISHED = re.compile(r"google/imagenet/nasnet_(mobile|large)/(\w+)/([0-9]{1,9})")
_SHORT = re.compile(r"nasnet_(mobile|large)(?:/(feature_vector|classification)(?:/([0-9]{1,9}))?)?")
_KAGGLE_LONG = re.compile(
    r"google/nasnet/frameworks/(\w+)/variations/([\w-]+)/versions/([0-9]{1,9})"
)
_KAGGLE_SHORT = re.compile(r"google/nasnet/(\w+)/([\w-]+)/([0-9]{1,9})")
_KAGGLE_VARIATION = re.compile(r"(mobile|large)-(feature-vector|classification)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place that may hold the weights of a handle.

    Attributes:
        kind: `hub` (a TF1 hub module as tar.gz), `slim` (the checkpoint's tarball), `keras` (the
            HDF5 file of Keras applications), `kaggle`, or `url` for an address that belongs to no
            handle.
        url: what is downloaded; for `kaggle` the page of the model.
        key: the text whose SHA-1 names the cache folder, as in tensorflow-hub's cache.
        md5: known checksum of the file, where there is one.
        sha256: the same.
    """

    kind: Literal["hub", "slim", "keras", "kaggle", "url"]
    url: str
    key: str
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """One published module.

    Attributes:
        architecture: `mobile` (224 px, 1056-d) or `large` (331 px, 4032-d).
        task: `feature_vector` or `classification` (1001 classes, 0 is background).
        version: 1, 3, 4 or 5; there never was a 2.
    """

    architecture: Architecture
    task: Task
    version: int

    @property
    def batch_norm_momentum(self) -> float:
        """Default decay of batch norm's moving averages while training."""
        return _VERSIONS[self.version].batch_norm_momentum

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of its signatures, `default` first."""
        names = _SIGNATURES[self.task]
        if _VERSIONS[self.version].has_bn_hparams:
            names += tuple(f"{name}_with_bn_hparams" for name in names)
        return ("default", *names)

    @property
    def note(self) -> str:
        """Why other files than its own are downloaded, or nothing."""
        is_tf1 = _VERSIONS[self.version].is_tf1
        return "" if is_tf1 else f"{self.path} is a TF2 SavedModel of the same network"

    @property
    def path(self) -> str:
        """The publisher's path, such as `google/imagenet/nasnet_mobile/feature_vector/3`."""
        return _path(self.architecture, self.task, self.version)

    @property
    def canonical(self) -> str:
        """The handle as its page states it: `https://tfhub.dev/` and the path."""
        return _CANONICAL + self.path

    @property
    def loadable_path(self) -> str:
        """Path of the TF1 module with the same weights: this one, or /3 where this is TF2."""
        version = self.version if _VERSIONS[self.version].is_tf1 else 3
        return _path(self.architecture, self.task, version)

    @property
    def cache_keys(self) -> tuple[str, ...]:
        """Texts whose SHA-1 may name a cache folder with these weights, the best first."""
        keys = [self.canonical, _CANONICAL + self.loadable_path]
        keys += [_CANONICAL + _path(self.architecture, self.task, version) for version in (3, 1)]
        keys += [source.key for source in self.sources]
        return tuple(dict.fromkeys(keys))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the weights can be had, in the order in which to ask."""
        path = self.loadable_path
        key = _CANONICAL + path
        urls = (
            f"{key}?{_COMPRESSED}",
            f"https://storage.googleapis.com/tfhub-modules/{path}.tar.gz",
            f"https://gcs.tensorflow.google.cn/tfhub-modules/{path}.tar.gz",
        )
        hub = tuple(Source(kind="hub", url=url, key=key) for url in urls)
        variation = f"{self.architecture}-{self.task.replace('_', '-')}"
        kaggle = f"https://www.kaggle.com/models/google/nasnet/tensorFlow1/{variation}"
        return (
            *hub,
            _slim_source(self.architecture, _SLIM_BASE),
            *_keras_sources(self, _KERAS_BASE),
            Source(kind="kaggle", url=kaggle, key=kaggle),
        )


def note_for(handle: Handle, key: str) -> str:
    """What to tell a user whose weights come from the content of one cache key.

    One sentence; nothing where the content is the module's own.
    """
    if key == handle.canonical:
        return ""
    origin = key.removeprefix(_CANONICAL)
    if key == _slim_source(handle.architecture, _SLIM_BASE).key:
        origin = f"TF-Slim's {_SLIM[handle.architecture][0]}"
    elif key in {source.key for source in _keras_sources(handle, _KERAS_BASE)}:
        origin = f"Keras applications' {_KERAS[handle.architecture][0]}"
    beginning = f"{handle.note}; the" if handle.note else "the"
    return f"{beginning} weights come from {origin}, the same checkpoint"


def mirror_sources(handle: Handle, base: str) -> tuple[Source, ...]:
    """Where a user's own mirror may hold the weights of a handle.

    Below the URL `base` it keeps the publisher's paths: `BASE/PATH.tar.gz`, the compressed hub
    protocol at `BASE/PATH`, and TF-Slim's tarball and Keras's file of the same numbers by their
    names.
    """
    base = base.strip().rstrip("/")
    path = handle.loadable_path
    key = _CANONICAL + path
    return (
        Source(kind="hub", url=f"{base}/{path}.tar.gz", key=key),
        Source(kind="hub", url=f"{base}/{path}?{_COMPRESSED}", key=key),
        _slim_source(handle.architecture, base),
        *_keras_sources(handle, base),
    )


def parse_handle(text: str) -> Handle | None:
    """Recognise a published NASNet-A module by any of its names; None for any other text.

    These are read: the publisher's path with or without `https://tfhub.dev/` (also http, a slash
    at the end, a `tf-hub-format` query), the same on `hub.tensorflow.google.cn`, objects of the
    `tfhub-modules` bucket (`gs://` or https), pages of the model on kaggle.com, and the short
    names `nasnet_mobile`, `nasnet_large` (feature vectors, /3), which a task and a version may
    follow.

    Raises:
        FetchError: the text names a NASNet module that was never published, or a copy in a format
            that is not fetched; the text lists the modules that exist.
    """
    text = text.strip()
    if found := _SHORT.fullmatch(text.strip("/")):
        return _handle_or_refuse(text, found[1], found[2] or "feature_vector", found[3] or "3")
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "") if parts.scheme or parts.netloc else ""
    except ValueError:  # such as "http://[": no URL, perhaps a path
        return None
    if host in _KAGGLE_HOSTS:
        return _parse_kaggle(text, parts.path)
    path = _hub_path(parts, host)
    if path is None:
        return None
    for beginning, what in _OTHER_FORMATS.items():
        if path.startswith(beginning):
            raise FetchError(
                f"{text!r} is {what} of the network, which is not fetched by its handle: "
                f"name the file you have of it, or one of the modules {HANDLES_TEXT}"
            )
    if not path.startswith("google/imagenet/nasnet_"):
        return None
    found = _PUBLISHED.fullmatch(path)
    if found is None:
        raise _unknown(text)
    return _handle_or_refuse(text, found[1], found[2], found[3])


def _hub_path(parts: SplitResult, host: str) -> str | None:
    """The publisher's path in a handle or in the address of a hub's object."""
    path = parts.path
    if parts.scheme in ("http", "https"):
        prefix = _HUB_HOSTS.get(host)
        if prefix is None or not path.startswith(prefix):
            return None
        path = path.removeprefix(prefix)
    elif parts.scheme == "gs":
        if host != _GCS_BUCKET:
            return None
    elif parts.scheme:
        return None
    elif not path.startswith(("google/", "tensorflow/")):
        path, dot, rest = path.partition("tfhub.dev/")  # the handle without its scheme
        if path or not dot:
            return None
        path = rest
    path = path.strip("/")
    for ending in (".tar.gz", "/uncompressed"):
        path = path.removesuffix(ending)
    return path


def _parse_kaggle(text: str, path: str) -> Handle | None:
    path = path.strip("/").removeprefix("models/")
    if not path.startswith("google/nasnet"):
        return None
    found = _KAGGLE_LONG.fullmatch(path) or _KAGGLE_SHORT.fullmatch(path)
    variation = _KAGGLE_VARIATION.fullmatch(found[2]) if found else None
    version = _KAGGLE_VERSIONS.get((found[1].lower(), int(found[3]))) if found else None
    if variation is None or version is None:
        raise FetchError(
            f"{text!r} is not a NASNet module known on Kaggle (known: google/nasnet/"
            "{tensorFlow1,tensorFlow2}/{mobile,large}-{feature-vector,classification}/{1,2}); "
            f"the same weights are at {HANDLES_TEXT}"
        )
    return _handle_or_refuse(text, variation[1], variation[2].replace("-", "_"), str(version))


def _handle_or_refuse(text: str, architecture: str, task: str, version: str) -> Handle:
    if architecture not in _SLIM or task not in _SIGNATURES or int(version) not in _VERSIONS:
        raise _unknown(text)
    return Handle(
        architecture=cast(Architecture, architecture), task=cast(Task, task), version=int(version)
    )


def _unknown(text: str) -> FetchError:
    return FetchError(
        f"there is no published module {text!r}; NASNet-A was published as {HANDLES_TEXT} "
        "(there is no /2)"
    )


def _path(architecture: str, task: str, version: int) -> str:
    return f"google/imagenet/nasnet_{architecture}/{task}/{version}"


def _slim_source(architecture: str, base: str) -> Source:
    name, md5 = _SLIM[architecture]
    return Source(
        kind="slim",
        url=f"{base}/{name}",
        key=f"{_SLIM_BASE}/{name}",
        md5=md5,
    )


def _keras_sources(handle: Handle, base: str) -> tuple[Source, ...]:
    if handle.task != "feature_vector":
        return ()
    name, md5 = _KERAS[handle.architecture]
    return (Source(kind="keras", url=f"{base}/{name}", key=f"{_KERAS_BASE}/{name}", md5=md5),)


def is_keras_file(name: str) -> bool:
    """Whether a file of this name is one of Keras applications' that a handle may stand for."""
    return any(name == known for known, _ in _KERAS.values())
