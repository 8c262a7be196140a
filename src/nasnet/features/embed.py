"""Pictures in, vectors out, in bulk: a source, an extractor and a store put together."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError
from nasnet.features.bars import progress_bar
from nasnet.features.continuing import after_committed, lacking
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import feature_schema
from nasnet.features.store import Batch, SinkOptions, check_place, open_sink, record_batch
from nasnet.network.plan import Borders
from nasnet.pictures.sources import Item, Source, SourceOptions, open_source
from nasnet.system import refuse_input
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE, Averages, WeightsSource

if TYPE_CHECKING:
    import pyarrow

_LOG = logging.getLogger(__name__)
_LOG_EVERY_S = 10.0  # between two lines about the same run


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """How to turn pictures into vectors.

    Attributes:
        recipe: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or cadene-eval; with
            or without a version (`photo/1`).
        picture_pixels: the largest picture that is unpacked in memory, against files that claim
            gigabytes; 179 megapixels if not given. A JPEG that is decoded reduced counts reduced.
        size: height and width the pictures are brought to; the network's own if not given.
        endpoint: which vector: `global_pool` (the features), `Logits`, `Predictions`, or a map,
            such as `Cell_5`, of which the mean over its positions is taken.
        engine: how to compute.
        decode_threads: how many pictures are decoded at once; as many as cores if not given.
        averages: of a training checkpoint: its `plain` variables or their moving `average`; `auto`
            takes the set that is published, else the average if there is one.
        padding: whose border pixels: `slim`, or `keras` for the numbers of keras.applications;
            what the weights say (`slim`, as a rule) if not given.
        source: how the source is read.
        sink: how a file is written.
        fetch: where to look for a handle and what is allowed.
    """

    recipe: str = "photo"
    picture_pixels: int | None = None
    size: tuple[int, int] | None = None
    endpoint: str = "global_pool"
    engine: EngineOptions = field(default_factory=EngineOptions)
    decode_threads: int | None = None
    averages: Averages = "auto"
    padding: Borders | None = None
    source: SourceOptions = field(default_factory=SourceOptions)
    sink: SinkOptions = field(default_factory=SinkOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedEvent:
    """How far a run is.

    Attributes:
        done: rows done, those of earlier runs included.
        total: rows to come in all, None where the source cannot tell.
        failures: rows of this run without a vector.
        resumed: rows of earlier runs that are kept.
        notes: what a user should know about the source, as far as it has been read.
    """

    done: int
    total: int | None
    failures: int
    resumed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSummary:
    """What a run did.

    Attributes:
        output: the finished file.
        rows: rows in it.
        failures: rows of it without a vector, with the reason.
        resumed: rows that were there before this run.
        seconds: time of this run, from opening the weights to the finished file.
        reasons: the most frequent reasons of failures of this run, with their counts.
        weights: where the weights come from.
        status: `genuine`, `builtin`, `untrained`, `modified` or `unknown`.
        engine: what computed, such as `openvino 2026.4.1, CPU, f32`.
        recipe: the preprocessing, with its version.
        notes: what a user should know about the weights and the source.
        computed: rows that this run computed.
        added: of a run that synchronises: pictures that the file had not.
        changed: of the same: pictures that are others than they were, computed anew.
        removed: of the same: rows of pictures that are gone.
    """

    output: Path
    rows: int
    failures: int
    resumed: int
    seconds: float
    reasons: tuple[tuple[str, int], ...]
    weights: str
    status: str
    engine: str
    recipe: str
    notes: tuple[str, ...]
    computed: int
    added: int = 0
    changed: int = 0
    removed: int = 0


def embed(
    source: Any,  # noqa: ANN401
    *,
    weights: WeightsSource = DEFAULT_HANDLE,
    options: EmbedOptions | None = None,
    progress: bool = False,
    on_event: Callable[[EmbedEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> pyarrow.Table:
    """Compute the vector of every picture of a source, in memory.

    Args:
        source: a folder, picture, glob, list file, archive or table (see `nasnet embed --help`),
            or an iterable of paths, bytes, arrays, PIL images, or (id, any of these).
        weights: a published handle, a file, `seeded:N`, or a module's spec.
        options: how.
        progress: draw a bar on standard error; the logger `nasnet` tells at INFO in any case.
        on_event: told how far it is.
        on_fetch: told of downloads.

    Returns:
        A table with the columns id, vector (fixed_size_list<float32>[1056], null where there is
        none), width, height, error (null where there is none), file_bytes and signature, and those
        that `options.source.keep` names, one row per picture, in order.
        Its metadata say which weights and which preprocessing made it.

    Raises:
        SourceError: the source cannot be opened, or is empty.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
        InputError: no such recipe, endpoint, or the like.
    """
    import pyarrow

    batches = embed_batches(
        source,
        weights=weights,
        options=options,
        progress=progress,
        on_event=on_event,
        on_fetch=on_fetch,
    )
    first = next(batches)
    return pyarrow.Table.from_batches([first, *batches])


def embed_batches(
    source: Any,  # noqa: ANN401
    *,
    weights: WeightsSource = DEFAULT_HANDLE,
    options: EmbedOptions | None = None,
    progress: bool = False,
    on_event: Callable[[EmbedEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Generator[pyarrow.RecordBatch, None, None]:
    """The same as `embed`, a few rows at a time: memory stays flat however many there are.

    Args and errors are those of `embed`; the stream may be left early.
    """
    options = options or EmbedOptions()
    pictures = open_source(source, options=options.source)
    with extractor_of(weights, options, on_fetch) as extractor:
        meta = extractor.meta(pictures.name)
        schema = feature_schema(extractor.dimensions, meta, kept=pictures.columns)
        for batch in _watched(
            extractor.batches(pictures, signed=True), pictures, on_event, progress=progress
        ):
            yield record_batch(batch, schema)


def embed_to_file(
    source: Any,  # noqa: ANN401
    output: str | os.PathLike[str],
    *,
    weights: WeightsSource = DEFAULT_HANDLE,
    options: EmbedOptions | None = None,
    progress: bool = False,
    on_event: Callable[[EmbedEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_batch: Callable[[Batch], None] | None = None,
) -> EmbedSummary:
    """Compute the vector of every picture of a source, into a file.

    Stopped at any moment, by Ctrl-C or kill -9, and started again, it continues after the last
    rows that are safe, and ends with every picture exactly once.

    Args:
        source: as for `embed`.
        output: `.parquet`, `.arrow`, or `.npy` (with `.ids.jsonl` and `.json` beside it).
        weights: as for `embed`.
        options: how.
        progress: draw a bar on standard error; the logger `nasnet` tells at INFO in any case.
        on_event: told how far it is.
        on_fetch: told of downloads.
        on_batch: given the rows of this run, some at a time, once they are written.

    Raises:
        OutputError: the file is in the way, or cannot be written; nothing finished is touched.
        SourceError: the source cannot be opened, is empty, or changed since the run began.
    """
    options = options or EmbedOptions()
    started = time.monotonic()
    pictures = open_source(source, options=options.source)
    _check_projection(options, pictures.count)
    refuse_input(Path(output), read_from(source, pictures))
    check_place(Path(output), options.sink.mode)
    reasons: Counter[str] = Counter()
    computed = 0
    with extractor_of(weights, options, on_fetch) as extractor:
        meta, width = extractor.meta(pictures.name), extractor.dimensions
        sink = open_sink(
            Path(output),
            meta=meta,
            dimensions=width,
            kept=pictures.columns,
            options=options.sink,
        )
        resumed = sink.resume_at
        try:
            synced = sink.synced
            items: Iterator[Item]
            if synced is not None:
                items = filter(synced.wants, pictures)
            else:
                wanted = (one for one in pictures if sink.wants(one.id))
                appends = options.sink.mode == "append"
                items = lacking(wanted, sink) if appends else after_committed(wanted, sink)
            counted = pictures
            if options.sink.mode in ("append", "sync"):  # those that are there already do not come
                counted = replace(pictures, count=None)
            batches = extractor.batches(items, signed=True)
            for batch in _watched(batches, counted, on_event, resumed=resumed, progress=progress):
                sink.write(batch)
                computed += len(batch.ids)
                if on_batch is not None:
                    on_batch(batch)
                reasons.update(error for error in batch.errors if error is not None)
            with ThreadPoolExecutor(1) as beside:
                beside.submit(extractor.close)  # takes a while, and the file needs no engine
                rows, failures = sink.finish()
        finally:
            sink.close()
    return EmbedSummary(
        output=Path(output),
        rows=rows,
        failures=failures,
        resumed=resumed,
        seconds=time.monotonic() - started,
        reasons=tuple(reasons.most_common(5)),
        weights=meta.module,
        status=meta.weights_status,
        engine=f"{meta.engine}, {meta.precision}",
        recipe=meta.recipe,
        notes=(*extractor.notes, *pictures.notes),
        computed=computed,
        added=synced.added if synced else 0,
        changed=synced.changed if synced else 0,
        removed=synced.removed if synced else 0,
    )


def read_from(source: Any, pictures: Source) -> list[str | os.PathLike[str]]:  # noqa: ANN401
    """The files that a source is read from, as far as they are told by name."""
    given = [source] if isinstance(source, str | os.PathLike) else []
    whole, _, _ = pictures.name.rpartition(", shard ")
    return [*given, whole, pictures.name, *pictures.files]


def _check_projection(options: EmbedOptions, count: int | None) -> None:
    """Refuse before anything is computed what would be refused when the file is made."""
    pca = options.sink.pca
    if not isinstance(pca, int) or options.sink.mode == "append":
        return
    if options.source.shard[1] > 1:
        raise InputError(
            f"--pca {pca} of a shard would be another projection than that of the next one: leave "
            "it to `nasnet merge`, or name a set whose projection all take (--pca FILE)"
        )
    if count is not None and count <= pca:
        raise InputError(f"--pca {pca} needs more than {pca} pictures, and there are {count:,}")


def extractor_of(
    weights: WeightsSource,
    options: EmbedOptions,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Extractor:
    """What computes as these options say; see `Extractor` for the errors."""
    return Extractor(
        weights,
        recipe=options.recipe,
        picture_pixels=options.picture_pixels,
        size=options.size,
        endpoint=options.endpoint,
        engine=options.engine,
        decode_threads=options.decode_threads,
        averages=options.averages,
        padding=options.padding,
        fetch=options.fetch,
        on_fetch=on_fetch,
    )


def _watched(
    batches: Iterable[Batch],
    pictures: Source,
    on_event: Callable[[EmbedEvent], None] | None,
    *,
    resumed: int = 0,
    progress: bool = False,
) -> Iterator[Batch]:
    """Hand batches on and report after each: to whom it may concern, to a log and on a bar."""
    done, failures = resumed, 0
    logged = time.monotonic()

    def report() -> None:
        if on_event is not None:
            on_event(
                EmbedEvent(
                    done=done,
                    total=pictures.count,
                    failures=failures,
                    resumed=resumed,
                    notes=pictures.notes,
                )
            )

    def log(what: str) -> None:
        of = "" if pictures.count is None else f" of {pictures.count:,}"
        _LOG.info("%s: %s: %s%s, %s failed", pictures.name, what, f"{done:,}", of, failures)

    log("embedding")
    with progress_bar(pictures.count, shown=progress) as advance:
        advance(resumed)
        report()
        for batch in batches:
            yield batch
            done += len(batch.ids)
            failures += sum(error is not None for error in batch.errors)
            advance(len(batch.ids))
            report()
            if time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                log("embedding")
    log("done")
