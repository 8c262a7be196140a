"""The HTTP service: TensorFlow Serving's REST, the Open Inference Protocol, plain routes, a page.

Needs the extra `serve` once something is served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nasnet.serve.options import (
    Limits,
    ModelChoice,
    NearestIndex,
    ServeEvent,
    ServeOptions,
    check_extra,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from nasnet.serve.service import Service

__all__ = [
    "Limits",
    "ModelChoice",
    "NearestIndex",
    "ServeEvent",
    "ServeOptions",
    "create_app",
    "serve",
]


def create_app(
    options: ServeOptions | None = None,
    *,
    index: NearestIndex | None = None,
    on_event: Callable[[ServeEvent], None] | None = None,
) -> tuple[FastAPI, Service]:
    """The application, and what it holds; for other servers than the one `serve` runs.

    Such a server has to see to slow headers and to the number of connections itself, and to
    call `Service.close` in the end.

    Args:
        options: what to serve, and how.
        index: nearest neighbours to answer `/search` from, instead of `options.index`.
        on_event: told what is being loaded.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
        InputError: options that contradict each other, or an index of other vectors.
    """
    check_extra()
    from nasnet.serve.app import build_app
    from nasnet.serve.service import open_service

    service = open_service(options or ServeOptions(), index=index, on_event=on_event)
    service.start_photos()
    service.warm_up()
    return build_app(service), service


def serve(
    options: ServeOptions | None = None,
    *,
    index: NearestIndex | None = None,
    on_event: Callable[[ServeEvent], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; what was taken by then is finished.

    In another thread than the main one, which alone hears signals, until `stop` says so.

    Args:
        options: what to serve, and how.
        index: nearest neighbours to answer `/search` from, instead of `options.index`.
        on_event: told what is being loaded, where it listens, and that it stops.
        stop: asked some times a second whether to stop.

    Raises:
        InputError: the address is taken, or is not this machine's and there is no key.
        MissingExtraError: the extra `serve` is not installed.
    """
    check_extra()
    from nasnet.serve.running import run

    run(options or ServeOptions(), index=index, on_event=on_event, stop=stop)
