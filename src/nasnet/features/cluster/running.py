"""Drives a run on a cluster: takes up what an earlier run left, shares out the rest, ends it.

What makes it right: the same source is cut into the same shards each time; a part appears whole or
not at all under its shard's number; a shard is done when its part is there, and the run when all
are. Who computes it, how often it was begun, and whether two did it at once, changes nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import ClusterError, InputError, OutputError, SourceError
from nasnet.features.cluster.options import (
    ClusterEvent,
    ClusterOptions,
    ClusterSummary,
    WorkerInfo,
)
from nasnet.features.cluster.tasks import Outcome, Tasks, connected
from nasnet.features.embed import EmbedOptions, extractor_of
from nasnet.features.store import FORMATS
from nasnet.features.store.beginning import Run, open_parts, pending, take_up
from nasnet.features.store.form import Form, wanted_form
from nasnet.features.store.manifest import Manifest
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import Shard, Split, split_source
from nasnet.system import refuse_input
from nasnet.weights.fetch import FetchEvent
from nasnet.weights.opening import DEFAULT_HANDLE, WeightsSource

if TYPE_CHECKING:
    import pyarrow

_TROUBLED = 16  # shards given up, after which nothing more is tried
_TICK = 5.0  # seconds between two reports at most


def embed_on_cluster(
    source: Any,  # noqa: ANN401
    output: str | os.PathLike[str],
    *,
    weights: WeightsSource = DEFAULT_HANDLE,
    options: EmbedOptions | None = None,
    cluster: ClusterOptions | None = None,
    on_event: Callable[[ClusterEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> ClusterSummary:
    """Compute the vector of every picture of a source, on all machines of a Ray cluster.

    The rows are those of `embed_to_file`. Workers and machines may end at any moment: what they
    were at is computed anew. Stopped or killed and started again alike, a run continues with the
    shards whose parts are not there.

    Args:
        source: as for `embed`; all machines must see it at the same path or URL, unless its
            pictures are in this program's memory.
        output: a folder for the parts, or a file (`.parquet`, `.arrow`, `.npy`) that is joined of
            them at the end; at any path all machines see or URL fsspec knows.
        weights: as for `embed`; read here and sent to the workers.
        options: how to compute; `append` and shards are for single machines.
        cluster: how to spread the work.
        on_event: told how far it is.
        on_fetch: told of downloads.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no machine has room for a worker, or shards fail each time; what is done is
            safe, and the same command continues with it.
        OutputError: the output is in the way, or cannot be written.
        SourceError: the source cannot be opened, is empty, or changed since the run began.
    """
    options, cluster = options or EmbedOptions(), cluster or ClusterOptions()
    started = time.monotonic()
    if options.sink.mode in ("append", "sync"):
        raise InputError(
            "a run on a cluster cannot add to a file: write the new pictures to an output of their "
            "own and join the two by nasnet merge"
        )
    if options.source.shard != (0, 1):
        raise InputError("a cluster shares out the work itself: leave --shard to single machines")
    text, mode = os.fspath(output), options.sink.mode
    folder = Path(text.rstrip("/")).suffix not in FORMATS
    if isinstance(source, str | os.PathLike):
        refuse_input(Path(text), [source])
    parts = open_parts(text, cluster.storage_options, folder=folder)
    with parts.held():
        pending(parts, mode, shards=True)
        split = split_source(source, options=options.source)
        extractor = extractor_of(weights, options, on_fetch)
        form = wanted_form(
            options.sink.vector_dtype,
            normalize=options.sink.normalize,
            pca=options.sink.pca,
            dimensions=extractor.dimensions,
        )
        if folder and form.parts_dtype != (form.dtype or "float32"):
            raise InputError(
                "parts in a folder hold vectors as they are computed: name a file for --normalize, "
                "--pca and int8, or give them to `nasnet merge`, which makes a file of the folder"
            )
        with connected(cluster, extractor) as ray:
            tasks = Tasks(ray, extractor, parts, options, cluster)
            first = tasks.begin()
            rows = cluster.shard_rows or _usual_rows(split.count, tasks.layout.workers)
            begun = take_up(
                parts,
                extractor.meta(split.name, engine=first.engine, precision=first.precision),
                mode,
                dimensions=extractor.dimensions,
                form=form,
                kept=split.columns,
                shard_rows=rows,
            )
            run = _Progress(split=split, begun=begun, on_event=on_event)
            _drive(run, tasks, cluster.attempts)
        manifest = _finish(parts, run, form)
    return ClusterSummary(
        output=text,
        rows=run.done,
        failures=run.failures,
        resumed=run.resumed,
        seconds=time.monotonic() - started,
        reasons=tuple(run.reasons.most_common(5)),
        weights=manifest.meta.module,
        status=manifest.meta.weights_status,
        engine=f"{manifest.meta.engine}, {manifest.meta.precision}",
        recipe=manifest.meta.recipe,
        notes=(*extractor.notes, *split.notes),
        shards=run.shards,
        workers=run.most,
        retried=run.retried,
    )


@dataclass(slots=True, kw_only=True)
class _Progress:
    """How far a run is."""

    split: Split
    begun: Run
    on_event: Callable[[ClusterEvent], None] | None
    done: int = 0
    failures: int = 0
    resumed: int = 0
    shards: int = 0
    most: int = 0
    retried: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)

    def todo(self) -> Iterator[Shard]:
        """The shards whose parts are not there."""
        for shard in self.split.shards(self.begun.manifest.shard_rows):
            self.shards += 1
            part = self.begun.found.get(shard.number)
            if part is None:
                yield shard
            elif part.shard != shard.name or (shard.rows is not None and shard.rows != part.rows):
                raise SourceError(
                    f"the source has changed since the run began: shard {shard.number} was "
                    f"{part.shard}, now it is {shard.name}; use --overwrite to start anew"
                )

    def take(self, outcome: Outcome) -> None:
        """Note what became of a shard.

        Raises:
            ClusterError: its machine computes in another precision than the first.
        """
        part = outcome.part
        if part is None:
            self.given_up.append(f"{outcome.shard.name}: {outcome.error}")
            return
        precision = self.begun.manifest.meta.precision
        if part.worker.precision != precision:
            raise ClusterError(
                f"the machines differ: {' and '.join(sorted((part.worker.precision, precision)))} "
                "are their fastest arithmetics; name one by --precision"
            )
        self.done += part.rows
        self.failures += part.failures
        self.reasons.update(part.reasons)
        self.retried += part.attempt

    def report(self, workers: tuple[WorkerInfo, ...]) -> None:
        self.most = max(self.most, len(workers))
        if self.on_event is not None:
            self.on_event(
                ClusterEvent(
                    done=self.done,
                    total=self.split.count,
                    failures=self.failures,
                    resumed=self.resumed,
                    workers=workers,
                    retried=self.retried,
                )
            )


def _drive(run: _Progress, tasks: Tasks, attempts: int) -> None:
    """Hand out the shards until all are done, or given up."""
    found = run.begun.found.values()
    run.resumed = run.done = sum(part.rows for part in found)
    run.failures = sum(part.failures for part in found)
    run.report(tasks.workers)
    todo = run.todo()
    shard = next(todo, None)
    while (shard is not None or tasks.busy) and len(run.given_up) < _TROUBLED:
        if shard is not None and tasks.free:
            tasks.submit(shard, run.begun.schema)
            shard = next(todo, None)
            continue
        for outcome in tasks.wait(_TICK):
            run.take(outcome)
        run.report(tasks.workers)
    if run.given_up:
        raise ClusterError(
            f"{len(run.given_up)} shards could not be computed, tried {attempts} times each; all "
            "others are safe, and the same command continues with these: "
            + "; ".join(run.given_up[:3])
        )


def _usual_rows(count: int | None, workers: int) -> int:
    """Enough shards that all workers end about together; large enough that files stay few."""
    if count is None:
        return 4096
    wanted = -(-count // (16 * workers))
    return max(64, min(16_384, wanted))


def _finish(parts: Parts, run: _Progress, form: Form) -> Manifest:
    """Make sure that all is there, say so, and make the file if one is asked for."""
    there, schema = parts.numbers(), run.begun.schema
    if there != list(range(run.shards)):
        odd = sorted(set(there) ^ set(range(run.shards)))[0]
        raise SourceError(
            f"{parts.place.name}: part {odd} is {'missing' if odd < run.shards else 'too many'} of "
            f"{run.shards}: the source or the folder has changed since the run began; use "
            "--overwrite to start anew"
        )
    if run.done == 0:
        parts.clear()
        raise SourceError(f"{run.split.name}: no pictures in it")
    manifest = replace(run.begun.manifest, shards=run.shards, rows=run.done, failures=run.failures)
    parts.write_manifest(manifest)
    if parts.output is None:
        return manifest
    raw = chain.from_iterable(parts.tables(number, ("vector", "error")) for number in there)
    form, seen = form.made(raw, run.done), 0
    schema = form.schema(schema, manifest.meta)

    def tables() -> Iterator[pyarrow.Table]:
        nonlocal seen
        for table in chain.from_iterable(map(parts.tables, there)):
            seen += table.num_rows
            yield form.given_to(table, schema).cast(schema)
        if seen != run.done:
            raise OutputError(
                f"{parts.place.name}: {seen} rows where {run.done} were computed: damaged"
            )

    parts.publish(manifest, schema, run.done, tables())
    return manifest
