"""The service as a process: its socket, uvicorn, signals, and an end that finishes what it took."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from nasnet.errors import InputError
from nasnet.serve.app import build_app
from nasnet.serve.connections import protocol
from nasnet.serve.options import NearestIndex, ServeEvent, ServeOptions
from nasnet.serve.service import Service, open_service
from nasnet.system import STOP_SIGNALS, handled

_BACKLOG = 512
_LOOK_SECONDS = 0.05  # between two looks at whether to stop
# Computing takes all cores: a page that is being opened has its first pictures before it begins.
_PAGE_SECONDS = 1.0  # for somebody to ask for the page
_GALLERY_SECONDS = 5.0  # for its pictures
_GALLERY = 12
_ACCEPTED = 16  # connections taken in one go, which takes a few milliseconds


def run(
    options: ServeOptions,
    *,
    index: NearestIndex | None = None,
    on_event: Callable[[ServeEvent], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; see `nasnet.serve.serve`.

    Raises:
        InputError: the address is taken, or is not this machine's.
    """
    listening = _bound(options.host, options.port)  # first: it is what most often goes wrong
    try:
        service = open_service(options, index=index, on_event=on_event)
        try:
            came: list[int] = []

            # uvicorn handles some of them, and raises these once more after it has ended.
            def take(number: int, frame: FrameType | None) -> None:
                came.append(number)

            with handled(STOP_SIGNALS, take):
                told = stop or (lambda: False)
                asyncio.run(_serve(service, listening, lambda: bool(came) or told()))
        finally:
            service.close()
            service.on_event(ServeEvent(kind="stopped", text="stopped; all that was taken is done"))
    finally:
        listening.close()


async def _serve(service: Service, listening: socket.socket, stop: Callable[[], bool]) -> None:
    limits = service.limits
    # Else anyone who sends a broken form writes a line into the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        build_app(service),
        http=protocol(limits),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # else anyone who sends no HTTP writes a line into the log
        access_log=False,
        backlog=_ACCEPTED,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=max(1, round(limits.grace_seconds)),
    )
    config.load()
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    server = uvicorn.Server(config)
    server_task = asyncio.ensure_future(server.serve(sockets=[listening]))
    loop = asyncio.get_running_loop()
    while not (server.started or server_task.done()):
        await asyncio.sleep(0.01)
    warming: asyncio.Future[None] | None = None
    listened: float | None = None
    if server.started:
        listening.listen(_BACKLOG)  # asyncio has taken the one number for both
        service.on_event(ServeEvent(kind="listening", text=f"listening at {url}", url=url))
        listened = loop.time()
    while not server_task.done():
        waits = listened is not None and not service.stopping
        if waits and _page_is_there(service, loop.time() - (listened or 0.0)):
            listened = None
            service.start_photos()
            warming = loop.run_in_executor(None, service.warm_up)
        if warming is not None and warming.done() and not service.stopping:
            await warming
            warming = None
            service.on_event(ServeEvent(kind="ready", text=f"ready at {url}", url=url))
        server.should_exit = server.should_exit or stop()
        if server.should_exit and not service.stopping:
            service.stopping, service.ready = True, False
            service.on_event(ServeEvent(kind="stopping", text="stopping: finishing what was taken"))
        due = loop.time() + _LOOK_SECONDS
        await asyncio.wait([server_task], timeout=_LOOK_SECONDS)
        service.metrics.loop(max(0.0, loop.time() - due))
    await server_task


def _page_is_there(service: Service, seconds: float) -> bool:
    """Whether the engine may begin, so long after the service began to listen."""
    if service.photos is None:
        return True
    if service.small_sent >= min(_GALLERY, service.photos.progress.total):
        return True
    return seconds > (_GALLERY_SECONDS if service.pages_sent else _PAGE_SECONDS)


def _bound(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
    except OSError as error:
        raise InputError(f"cannot listen at {host}: {error.strerror or error}") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; --port 0 takes a "
            "free port"
        ) from None
    return made
