"""A folder of pictures to search in, computed beside the service while it runs.

Its feature set is kept in the user's cache and brought up to date. What is there can be searched at
once, what is new as soon as it is computed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nasnet.errors import NasnetError, OutputError, SourceError
from nasnet.features import parquet
from nasnet.features.embed import EmbedEvent, EmbedOptions, embed_to_file
from nasnet.features.feature_set import FeatureMeta, read_features
from nasnet.features.index import Index, open_index
from nasnet.features.reduction import unit
from nasnet.features.store import Batch, SinkOptions
from nasnet.features.store.output import open_output
from nasnet.hub.spec import ModuleSpec
from nasnet.pictures.sources import open_source
from nasnet.serve.options import RECIPE, ServeOptions
from nasnet.weights.fetch.cache import cache_root
from nasnet.weights.ranges import digest
from nasnet.weights.weights import fingerprint

State = Literal["reading", "computing", "done", "failed"]
Drawn = Literal["none", "drawing", "there"]
_BETWEEN = 0.5  # seconds between two indexes over what has been computed
_SAID = 10.0  # seconds between two lines for people
_RATE_AFTER = 5.0  # seconds after which the time left is worth telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a folder's vectors are.

    Attributes:
        state: `reading` the set that is there, `computing`, `done`, or `failed`.
        done: pictures of the folder that have been looked at.
        total: pictures in it.
        failures: of this run, without a vector.
        seconds_left: None where nothing can be said yet.
        problem: why it failed, or why pictures have no vector.
    """

    state: State
    done: int
    total: int
    failures: int = 0
    seconds_left: float | None = None
    problem: str = ""

    @property
    def text(self) -> str:
        """A line for people."""
        if self.state == "failed":
            return self.problem
        known = f"{self.done:,} of {self.total:,} pictures"
        failed = f", {self.failures:,} failed ({self.problem})" if self.failures else ""
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"{known}{failed}{left}"


class Photos:
    """A folder whose pictures get their vectors in a thread of their own.

    Attributes:
        output: the feature set's file; one a folder, weights and preprocessing.
        progress: how far it is.
        map: the page that shows where each picture lies, once the vectors are there.
        drawn: whether it is there.
        shown: ids of the folder's pictures; once all is done, of those that have a vector.
    """

    def __init__(
        self, spec: ModuleSpec, meta: FeatureMeta, dimensions: int, options: ServeOptions
    ) -> None:
        """Look through the folder; `start` does the rest.

        Raises:
            SourceError: there is no picture in the folder.
            OutputError: the cache cannot be written.
        """
        assert options.photos is not None
        self._folder = options.photos
        self._spec = spec
        self._meta = meta
        self._options = options
        self._source = open_source(self._folder)
        self._listed = [item.id for item in self._source]
        self.output = cache_root(options.fetch.cache_dir) / "photos" / _name(spec, options)
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = self.output.parent
            raise OutputError(f"{where} cannot be made: {error.strerror or error}") from error
        self.shown: Sequence[str] = self._listed
        self.progress = Progress(state="reading", done=0, total=len(self._listed))
        digest = hashlib.sha256("\0".join(self._listed).encode("utf-8", "surrogateescape"))
        self.map = self.output.with_suffix(f".{digest.hexdigest()[:16]}.html")
        self.drawn: Drawn = "none"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # For all that may come, once: pages that are not written to take no memory.
        self._vectors = np.empty((len(self._listed), dimensions), np.float32)
        self._ids: list[str] = []

    def start(
        self, on_index: Callable[[Index], None], on_event: Callable[[Progress], None]
    ) -> None:
        """Begin; `on_index` is given an index over all that has a vector, again and again.

        Both functions are called from a thread.
        """
        self._thread = threading.Thread(target=self._run, args=(on_index, on_event), name="photos")
        self._thread.start()

    def close(self) -> None:
        """Stop; what has been computed is kept."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, on_index: Callable[[Index], None], on_event: Callable[[Progress], None]) -> None:
        said = time.monotonic()

        def tell(**changed: Any) -> None:  # noqa: ANN401
            nonlocal said
            before, self.progress = self.progress, replace(self.progress, **changed)
            now = time.monotonic()
            if self.progress.state != before.state or now > said + _SAID:
                said = now
                on_event(self.progress)

        try:
            self._read()
            if self._ids:
                on_index(self._index())
            tell(state="computing", done=len(self._ids))
            problem = ""
            if len(self._ids) < len(self._listed):
                problem = self._compute(on_index, tell)
            if self._stopping.is_set():
                return
            if not _keep_present(self.output, self._listed):
                raise SourceError(
                    f"of its {len(self._listed):,} pictures none can be read: {problem}"
                )
            index = open_index(self.output)  # with all columns
            on_index(index)
            known = set(index.ids)
            self.shown = [id for id in self._listed if id in known]
            self._vectors = self._vectors[:0].copy()
            tell(state="done", done=len(self._listed), seconds_left=None, problem=problem)
            self._draw()
        except NasnetError as error:
            tell(state="failed", seconds_left=None, problem=str(error))

    def _read(self) -> None:
        """Take what an earlier run computed of pictures that are still there."""
        if not self.output.exists():
            return
        features = read_features(self.output)
        listed = set(self._listed)
        good = [
            row
            for row, (id, error) in enumerate(zip(features.ids, features.errors, strict=True))
            if error is None and id in listed
        ]
        self._take([features.ids[row] for row in good], features.vectors[good])

    def _take(
        self, ids: list[str], vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> None:
        start = len(self._ids)
        self._vectors[start : start + len(ids)] = unit(vectors)
        self._ids += ids

    def _index(self) -> Index:
        import pyarrow

        ids = pyarrow.table({"id": pyarrow.array(self._ids, pyarrow.string())})
        return Index(ids, [self._vectors[: len(self._ids)]], self._meta)

    def _compute(self, on_index: Callable[[Index], None], tell: Callable[..., None]) -> str:
        """Compute what has no vector; what a user should know of the failures."""
        options = self._options
        begun = shown = 0.0
        known = len(self._ids)
        resumed = failures = computed = first = 0

        def on_event(event: EmbedEvent) -> None:
            nonlocal resumed, failures
            resumed, failures = event.resumed, event.failures

        def on_batch(batch: Batch) -> None:
            nonlocal begun, shown, computed, first
            computed += len(batch.ids)
            good = [row for row, error in enumerate(batch.errors) if error is None]
            self._take([batch.ids[row] for row in good], batch.vectors[good])
            now = time.monotonic()
            if not begun:  # the first rows have waited for the engine, and tell no rate
                begun, first = now, computed
            if now < shown + _BETWEEN:
                return
            shown = now
            if self._ids:
                on_index(self._index())
            done = known + resumed + computed
            left = None
            if now > begun + _RATE_AFTER:
                left = (len(self._listed) - done) * (now - begun) / (computed - first)
            tell(done=done, failures=failures, seconds_left=left)

        # Where it ends early, what there is becomes the file: the next start has it at once.
        going = replace(
            self._source,
            start=lambda: takewhile(lambda _: not self._stopping.is_set(), self._source.start()),
        )
        done = embed_to_file(
            going,
            self.output,
            weights=self._spec,
            options=EmbedOptions(
                recipe=options.recipe or RECIPE,
                padding=options.padding,
                engine=options.engine,
                sink=SinkOptions(mode="append"),
                fetch=options.fetch,
            ),
            on_event=on_event,
            on_batch=on_batch,
        )
        if done.resumed:  # rows of a run that was killed, which are in the file now
            self._ids.clear()
            self._read()
        tell(failures=done.failures)
        return "; ".join(f"{reason} ({count:,})" for reason, count in done.reasons)

    def _draw(self) -> None:
        """Have the map drawn by a process of its own: UMAP holds the interpreter for seconds."""
        if not self.map.exists():
            self.drawn = "drawing"
            command: list[str | os.PathLike[str]]
            command = [sys.executable, "-m", "nasnet", "map", self.output, "-o", self.map]
            command += ["--source", self._folder.resolve()]
            if not all(map(importlib.util.find_spec, ("umap", "sklearn"))):
                command += ["--method", "pca", "--clusters", "0"]
            process = subprocess.Popen(
                command,
                # Where no configuration file lies, and without what is set for the service.
                cwd=self.output.parent,
                env={key: one for key, one in os.environ.items() if not key.startswith("NASNET_")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with suppress(AttributeError, OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, 5)
            while process.poll() is None:
                if self._stopping.wait(0.2):
                    process.kill()  # the map appears whole or not at all
            for other in self.output.parent.glob(f"{self.output.stem}.*.html"):
                if other != self.map:
                    other.unlink(missing_ok=True)
        self.drawn = "there" if self.map.exists() else "none"


def _name(spec: ModuleSpec, options: ServeOptions) -> str:
    """All that makes vectors differ: a path may hold other weights the next time."""
    assert options.photos is not None
    weights = spec.opened.weights
    what = (
        os.fspath(options.photos.resolve()),
        fingerprint(weights),
        weights.padding,
        options.recipe or RECIPE,
        options.engine.precision,
        digest(weights.ranges),
        *map(str, spec.image_size),
    )
    text = "\0".join(what).encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(text).hexdigest()[:24]}.parquet"


def _keep_present(output: Path, present: list[str]) -> bool:
    """Keep the rows of pictures that are there; whether any of them has a vector."""
    import pyarrow
    import pyarrow.compute

    ids = pyarrow.array(present)
    with parquet.reading(output) as file:
        rows = file.read(["id", "error"])
        kept = pyarrow.compute.is_in(rows["id"], ids)
        count = pyarrow.compute.sum(kept).as_py() or 0
        if rows.num_rows > count:
            schema = parquet.schema_of(file)
            tables = (
                table.filter(pyarrow.compute.is_in(table["id"], ids))
                for table in parquet.tables(file, schema.names)
            )
            open_output(output, {}).write(schema, count, tables)
    return bool(rows.filter(kept)["error"].null_count)
