"""The application: all routes together, who may call them, and how errors are answered."""

from __future__ import annotations

import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from nasnet._version import __version__
from nasnet.serve import collection, oip, openai, operation, plain, site, tfserving
from nasnet.serve.answers import Refusal, complete, json_answer
from nasnet.serve.options import ServeEvent, is_loopback
from nasnet.serve.service import Service

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What a browser has to be able to load before it can show where to type the key in, and what
# those ask who only look whether the service is there.
_OPEN = frozenset(
    {"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/favicon.ico"}
)
_OPEN_BELOW = "/assets/"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Name or address, and port (RFC 9110, 7.2).
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^\s\[\]:/?#@]*)(?::\d*)?")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def build_app(service: Service) -> FastAPI:
    """The application over a service."""
    app = FastAPI(
        title="nasnet serve",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.include_router(plain.routes(service))
    app.include_router(tfserving.routes(service))
    app.include_router(oip.routes(service))
    app.include_router(openai.routes(service))
    app.include_router(operation.routes(service, app))
    app.include_router(collection.routes(service))
    app.include_router(site.routes(service))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(_Guard, service=service)
    if origins := service.options.cors_origin:
        # Outermost, so that a page elsewhere can read refusals too; what a browser asks
        # beforehand comes without the key and tells nothing.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("Retry-After", "Inference-Header-Content-Length"),
            max_age=3600,
        )
    complete(app.openapi(), [tfserving.Predict, oip.Infer, openai.EmbeddingRequest])
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = dict(error.headers)
    if error.close:
        headers["Connection"] = "close"
    return _error(request.url.path, error.status, error.text, headers, error.param)


async def _not_found(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or another method."""
    assert isinstance(error, HTTPException)
    return _error(request.url.path, error.status_code, str(error.detail), dict(error.headers or {}))


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _error(request.url.path, 400, f"{where}: {first['msg']}", {})


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this."""
    return _error(request.url.path, 400, "the client went away", {"Connection": "close"})


def _error(
    path: str, status: int, text: str, headers: dict[str, str], param: str | None = None
) -> Response:
    """An answer that says what is wrong, in the form that clients of this path look for."""
    wrong: object = {"error": text}
    if path == openai.EMBEDDINGS:
        wrong = openai.error_of(status, text, param)
    answer = json_answer(wrong, status)
    answer.headers.update(headers)
    return answer


class _Guard:
    """The outermost layer: who may call, headers of safety, counting, and errors of ours."""

    def __init__(self, app: App, *, service: Service) -> None:
        self._app = app
        self._service = service
        options = service.options
        # A web page elsewhere can make a browser call a service on this machine, under a name of
        # its own even (DNS rebinding); so the names have to be known.
        self._hosts: frozenset[str] | None = None
        if is_loopback(options.host) or options.allowed_hosts:
            names = (*options.allowed_hosts, *_LOOPBACK_NAMES, options.host)
            self._hosts = frozenset(name.lower().strip("[]") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0
        # HEAD is GET without the body (RFC 9110, 9.3.2), which the server itself leaves out.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_safety(message.get("headers", ()))
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, sending)
            else:
                await self._app(asked, receive, sending)
        except Exception as error:
            text = "".join(traceback.format_exception(error)).strip()
            self._service.on_event(ServeEvent(kind="fault", text=text))
            if not status:
                fault = _error(scope["path"], 500, "an error of the service; it is in its log", {})
                await fault(scope, receive, sending)
        finally:
            self._note({**asked, "method": scope["method"]}, status, time.monotonic() - started)

    def _refusal(self, scope: Scope) -> Response | None:
        path: str = scope["path"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = _HOST.fullmatch("".join(hosts))
        if len(hosts) > 1 or host is None:
            return _error(
                path, 400, "expected one header Host: a name and a port", {"Connection": "close"}
            )
        name = host[1].strip("[]").lower()
        if self._hosts is not None and name not in self._hosts:
            return _error(
                path,
                421,
                f"this service is not called {name[:64]!r}: --allowed-hosts adds a name",
                {"Connection": "close"},
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._own(origin.decode("latin-1"), headers):
            return _error(
                path,
                403,
                "requests of other web sites are not taken: --cors-origin adds one",
                {"Connection": "close"},
            )
        key = self._service.options.api_key
        if key is None or path in _OPEN or path.startswith(_OPEN_BELOW):
            return None
        if any(_same(given, key) for given in _keys(headers)):
            return None
        if any(_same(given, self._service.session) for given in _sessions(headers)):
            return None
        return _error(
            path,
            401,
            "expected the API key: Authorization: Bearer KEY, or X-API-Key: KEY",
            {"WWW-Authenticate": "Bearer", "Connection": "close"},
        )

    def _own(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        if not {"*", origin}.isdisjoint(self._service.options.cors_origin):
            return True
        host = headers.get(b"host", b"").decode("latin-1").lower()
        try:
            return urlsplit(origin).netloc.lower() == host
        except ValueError:
            return False

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "other")
        self._service.metrics.request(path, scope["method"], status, seconds)
        shown = scope["path"][:200].encode("unicode_escape").decode("ascii")
        self._service.on_event(
            ServeEvent(
                kind="request",
                text=f"{scope['method'][:16]} {shown} {status} {seconds * 1000:.1f} ms",
            )
        )


def _with_safety(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    found = list(headers)
    names = {name.lower() for name, _ in found}
    found += [pair for pair in _HEADERS if pair[0] not in names]
    if b"content-security-policy" not in names:
        found.append((b"content-security-policy", site.PAGE_POLICY.encode()))
    return found


def _keys(headers: dict[bytes, bytes]) -> list[str]:
    bearer = headers.get(b"authorization", b"").decode("latin-1")
    keys = [headers.get(b"x-api-key", b"").decode("latin-1")]
    if bearer[:7].lower() == "bearer ":
        keys.append(bearer[7:].strip())
    return [key for key in keys if key]


def _sessions(headers: dict[bytes, bytes]) -> list[str]:
    pairs = (
        pair.strip().partition("=")
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";")
    )
    return [value for name, _, value in pairs if name == operation.COOKIE]


def _same(one: str, other: str) -> bool:
    """Compare without telling by the time it takes how much is right."""
    return secrets.compare_digest(
        one.encode("latin-1", "replace"), other.encode("latin-1", "replace")
    )
