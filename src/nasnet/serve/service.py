"""What a service holds while it runs: modules by name, the index, counters, the bytes in work."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow

from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine
from nasnet.errors import InputError
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import check_same_space, feature_schema
from nasnet.features.index import Index, open_index
from nasnet.hub.spec import ModuleSpec, load_module_spec
from nasnet.serve.answers import Refusal, overloaded
from nasnet.serve.batching import Batcher, Computed, Lane
from nasnet.serve.metrics import Metrics
from nasnet.serve.options import (
    RECIPE,
    Limits,
    ModelChoice,
    NearestIndex,
    ServeEvent,
    ServeOptions,
    is_loopback,
)
from nasnet.serve.photos import Photos, Progress
from nasnet.serve.pictures import check_picture
from nasnet.weights.classes import class_names

Floats = npt.NDArray[np.float32]
_VERSION = re.compile(r"https://tfhub\.dev/.*/(\d+)")


class Model:
    """One module that is served: its engines and its queue."""

    def __init__(
        self, name: str, spec: ModuleSpec, options: ServeOptions, metrics: Metrics
    ) -> None:
        opened = spec.opened
        self.name = name
        self.spec = spec
        published = _VERSION.fullmatch(opened.weights.source)
        self.version = published[1] if published else "1"
        self.extractor = Extractor(spec, recipe=options.recipe or RECIPE, engine=options.engine)
        self.height, self.width = self.extractor.height, self.extractor.width
        self.labels = labels_of(spec)
        self._limits = options.limits
        # Inner endpoints are compiled apart, so that asking for them by turns cannot drive the
        # common models out of an engine's few places; and when they are first asked for, which
        # hardly anyone does: a model takes a hundred megabytes.
        # One picture a batch: an answer of some of them has a million numbers as it is.
        single = replace(options.engine, batch_size=1)
        self._inner = engines.create(opened.weights, single)
        self._few = engines.create(opened.weights, single)
        endpoints = ("global_pool", "Logits") if self.labels else ("global_pool",)
        self.common = Lane(engine=self.engine, few=self._few, endpoints=endpoints)
        inner = spec.signature("image_feature_vector").endpoints.values()
        every = tuple(dict.fromkeys((*inner, *endpoints)))
        self.inner = Lane(engine=self._inner, few=self._inner, endpoints=every)
        self._batcher = Batcher(
            self.extractor.prepare,
            pixels=lambda data: check_picture(data, options.limits.picture_pixels),
            streams=self.engine.streams,
            decode_threads=options.engine.cores,
            queue=options.limits.queue,
            linger_seconds=options.limits.linger_seconds,
            watch=metrics.of_model(name),
        )
        metrics.watch_queue(name, lambda: self._batcher.waiting)
        # Once, not for each answer: the fingerprint reads all weights.
        self.meta = self.extractor.meta("request")
        self.schema = feature_schema(self.extractor.dimensions, self.meta, signed=False)
        named = {one: spec.signature(one) for one in spec.get_signature_names()}
        # Those whose only input is the pictures; the others belong to training.
        self.signatures = {one: made for one, made in named.items() if len(made.inputs) == 1}

    @property
    def engine(self) -> Engine:
        """What computes."""
        return self.extractor.engine

    async def compute(
        self, pictures: Sequence[bytes | npt.NDArray[Any]], *, inner: bool = False
    ) -> list[Computed]:
        """Compute pictures, sharing batches with other requests.

        They are encoded, or of the module's own size; `inner` gives the inner endpoints as well.

        Raises:
            Refusal: too many at once, or the queue is full.
        """
        if len(pictures) > self._limits.pictures:
            raise Refusal(
                413, f"{len(pictures)} pictures in one request; {self._limits.pictures} at most"
            )
        lane = self.inner if inner else self.common
        return await self._batcher.compute(pictures, lane, seconds=self._limits.compute_seconds)

    def to_warm_up(self) -> list[Callable[[], object]]:
        """What compiles all that common requests need: pictures (uint8), numbers (float32)."""
        # The first array of pyarrow imports pandas where it is installed: half a second in which
        # nobody would be answered.
        steps: list[Callable[[], object]] = [lambda: pyarrow.array(np.zeros(1, np.float32))]
        for dtype in (np.uint8, np.float32):
            black = np.zeros((1, self.height, self.width, 3), dtype)
            for engine, alone in ((self.engine, True), (self.engine, False), (self._few, False)):
                steps.append(partial(engine.infer, black, self.common.endpoints, alone=alone))
        return steps

    def close(self) -> None:
        """Finish what was taken, and give the memory back."""
        self._batcher.close()
        self.extractor.close()
        self._inner.close()
        self._few.close()


class Held:
    """Bytes that one request holds, given back when it is answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.size = 0

    def add(self, size: int) -> None:
        """Take more.

        Raises:
            Refusal: 429, all requests together hold too much.
        """
        most = self._service.limits.bodies_bytes
        if self._service.held_bytes + size > most:
            raise overloaded(f"requests of {most >> 20} MiB are in work: try again", seconds=1)
        self._service.held_bytes += size
        self.size += size


@dataclass(slots=True, kw_only=True)
class Service:
    """All that the routes work on.

    Attributes:
        options: as it was told.
        models: by name; the first is the default one.
        photos: the folder that becomes an index meanwhile, or None.
        index: nearest neighbours, or None; another one whenever more is computed.
        metrics: counters.
        session: what the page's cookie holds once it has shown the key.
        on_event: told of requests and faults.
        workers: threads for large bodies; few, so that the event loop gets its turn among them.
        held_bytes: of all bodies in work; changed in the event loop only.
        ready: True from when all is compiled until it has to stop.
        stopping: True from then on.
        folder: where the pictures of the index are; None where they are not served.
        pages_sent: how often somebody asked for the page.
        small_sent: small pictures answered, as of its gallery.
    """

    options: ServeOptions
    models: Mapping[str, Model]
    photos: Photos | None
    index: NearestIndex | None
    metrics: Metrics
    session: str
    on_event: Callable[[ServeEvent], None]
    workers: ThreadPoolExecutor
    folder: Path | None = None
    held_bytes: int = 0
    ready: bool = False
    stopping: bool = False
    pages_sent: int = 0
    small_sent: int = 0

    @property
    def limits(self) -> Limits:
        """Of requests."""
        return self.options.limits

    @property
    def default(self) -> Model:
        """The module of requests that name none."""
        return next(iter(self.models.values()))

    def model(self, name: str | None) -> Model:
        """The module of that name.

        Raises:
            Refusal: 404, there is none.
        """
        if not name:
            return self.default
        if name not in self.models:
            raise Refusal(404, f"no module {name[:64]!r}; there are {', '.join(self.models)}")
        return self.models[name]

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """Count a request's bytes while it is in work."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held_bytes -= held.size

    def start_photos(self) -> None:
        """Begin with the folder's vectors, where there is one."""
        if self.photos is not None:
            self.photos.start(self._search_in, self._tell_photos)

    def warm_up(self) -> None:
        """Compile all that requests need; given up where it is to stop."""
        for step in [step for model in self.models.values() for step in model.to_warm_up()]:
            if self.stopping:
                return
            step()
        self.ready = not self.stopping

    def _search_in(self, index: NearestIndex) -> None:
        self.index = index

    def _tell_photos(self, progress: Progress) -> None:
        self.on_event(ServeEvent(kind="photos", text=f"{self.options.photos}: {progress.text}"))

    def close(self) -> None:
        """Finish what was taken, and give the memory back."""
        if self.photos is not None:
            self.photos.close()
        self.workers.shutdown()
        for model in self.models.values():
            model.close()


def open_service(
    options: ServeOptions,
    *,
    index: NearestIndex | None = None,
    on_event: Callable[[ServeEvent], None] | None = None,
) -> Service:
    """Load all that is to be served; nothing is compiled yet.

    Raises:
        FetchError: weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
        InputError: two modules of one name, or an index of other vectors.
    """
    tell = on_event or (lambda event: None)
    metrics = Metrics()
    models: dict[str, Model] = {}
    try:
        for choice in options.models:
            model = _open_model(choice, options, metrics, tell)
            if model.name in models:
                model.close()
                raise InputError(
                    f"two modules are called {model.name}: name them, --weights name=handle"
                )
            models[model.name] = model
        if index is None and options.index is not None:
            tell(ServeEvent(kind="loading", text=f"reading {options.index}"))
            index = open_index(options.index)
        first = next(iter(models.values()))
        if index is not None:
            check_same_space(first.meta, index.meta)
        photos = None
        if options.photos is not None:
            photos = Photos(first.spec, first.meta, first.extractor.dimensions, options)
    except BaseException:
        for model in models.values():
            model.close()
        raise
    service = Service(
        options=options,
        models=models,
        photos=photos,
        index=index,
        metrics=metrics,
        session=secrets.token_urlsafe(32),
        on_event=tell,
        folder=options.folder or _folder_of(index, options),
        workers=ThreadPoolExecutor(max(2, options.engine.cores // 2), thread_name_prefix="body"),
    )
    metrics.watch_bodies(lambda: service.held_bytes)
    metrics.watch_index(lambda: len(service.index or ()))
    if photos is not None:
        metrics.watch_photos(lambda: photos.progress.done, photos.progress.total)
    return service


def _folder_of(index: NearestIndex | None, options: ServeOptions) -> Path | None:
    """Where an index says that its pictures are; for this machine alone, and nobody has to say it.

    A file of somebody else may name any folder: to other machines it opens none. They may come by a
    proxy too, under names that are allowed.
    """
    if not isinstance(index, Index) or not is_loopback(options.host) or options.allowed_hosts:
        return None
    folder = Path(index.meta.source)
    return folder if folder.is_dir() else None


def _open_model(
    choice: ModelChoice,
    options: ServeOptions,
    metrics: Metrics,
    tell: Callable[[ServeEvent], None],
) -> Model:
    tell(ServeEvent(kind="loading", text=f"loading {choice.handle}"))
    spec = load_module_spec(choice.handle, padding=options.padding, fetch_options=options.fetch)
    weights = spec.opened.weights
    name = replace(choice, name=choice.name or weights.network).name
    assert name is not None
    model = Model(name, spec, options, metrics)
    engine = model.engine
    tell(
        ServeEvent(
            kind="loading",
            text=f"{name}: {weights.described}, {model.height}x{model.width} px, "
            f"{model.extractor.recipe.name}, {engine.name} {engine.precision}",
        )
    )
    return model


def labels_of(spec: ModuleSpec) -> tuple[str, ...]:
    """Names of the classes a module can tell; empty where it has no classifier."""
    weights = spec.opened.weights
    if not weights.num_classes or "final_layer/FC/weights" not in weights.arrays:
        return ()
    return class_names(weights)


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits, over the last axis, float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
