"""What the service counts, for Prometheus.

One registry a service, nothing global.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from nasnet._version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LATE = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})


class Metrics:
    """The service's counters; safe in all threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        ProcessCollector(registry=registry)
        Gauge("nasnet_info", "Version.", ["version"], registry=registry).labels(__version__).set(1)
        self._requests = Counter(
            "nasnet_requests", "Requests.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "nasnet_request_seconds",
            "Time from a request's headers to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "nasnet_pictures", "Pictures.", ["model", "outcome"], registry=registry
        )
        self._rows = Histogram(
            "nasnet_batch_pictures",
            "Pictures in one call of the engine.",
            ["model"],
            buckets=_ROWS,
            registry=registry,
        )
        self._engine = Histogram(
            "nasnet_batch_seconds",
            "Time of one call of the engine.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "nasnet_pictures_waiting", "Taken and not yet done.", ["model"], registry=registry
        )
        self._late = Histogram(
            "nasnet_loop_late_seconds",
            "How late the event loop was, looked at some times a second.",
            buckets=_LATE,
            registry=registry,
        )
        self._index = Gauge("nasnet_index_rows", "Pictures to search in.", registry=registry)
        self._bodies = Gauge(
            "nasnet_request_bytes", "Bodies of requests in work.", registry=registry
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path's template, so that there are only so many."""
        name = method if method in _METHODS else "other"
        self._requests.labels(route, name, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def loop(self, late: float) -> None:
        """Count how late the event loop came to something, in seconds."""
        self._late.observe(late)

    def watch_bodies(self, held: Callable[[], int]) -> None:
        """Read the bytes in work when asked."""
        self._bodies.set_function(held)

    def watch_index(self, rows: Callable[[], int]) -> None:
        """Read the size of the index when asked."""
        self._index.set_function(rows)

    def watch_photos(self, done: Callable[[], int], total: int) -> None:
        """Read how far a folder is when asked, of how many pictures."""
        registry = self._registry
        Gauge("nasnet_photos", "Pictures in the folder.", registry=registry).set(total)
        watched = Gauge("nasnet_photos_done", "Of them, looked at.", registry=registry)
        watched.set_function(done)

    def watch_queue(self, model: str, waiting: Callable[[], int]) -> None:
        """Read a module's queue when asked."""
        self._waiting.labels(model).set_function(waiting)

    def of_model(self, model: str) -> ModelMetrics:
        """The counters of one module."""
        return ModelMetrics(
            good=self._pictures.labels(model, "computed"),
            bad=self._pictures.labels(model, "failed"),
            rows=self._rows.labels(model),
            seconds=self._engine.labels(model),
        )

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class ModelMetrics:
    """One module's counters; a `batching.Watch`."""

    def __init__(self, *, good: Counter, bad: Counter, rows: Histogram, seconds: Histogram) -> None:
        self._good = good
        self._bad = bad
        self._rows = rows
        self._seconds = seconds

    def batch(self, rows: int, seconds: float) -> None:
        """A call of the engine has ended."""
        self._rows.observe(rows)
        self._seconds.observe(seconds)

    def picture(self, error: str | None) -> None:
        """A picture has been computed, or could not be."""
        (self._good if error is None else self._bad).inc()
