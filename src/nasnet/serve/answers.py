"""How a request is answered, with JSON or a refusal, and how a route and its answers are described.

Bodies are read by `bodies`, not by FastAPI, which knows no limits of size and time while a body
streams in; so what a route takes is described here, and what it answers by pydantic's models.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy.typing as npt
import pydantic_core
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

TOO_LARGE = "too large"  # how reasons of ours begin that are about size
JSON = "application/json"
OCTETS = "application/octet-stream"
BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
OBJECT: Mapping[str, Any] = {"type": "object"}
_WORTH_PACKING = 512  # bytes
_AT_ONCE = 20_000  # numbers written in one go: about a millisecond
_REFERENCE = "#/components/schemas/{model}"
_POSTED = (400, 404, 408, 413, 415, 429)
_REFUSALS = {
    400: "The request does not fit; the text says how.",
    401: "The key is missing or wrong.",
    404: "There is no such module, or it cannot do this.",
    408: "The body came too slowly.",
    413: "Too large: the body, a picture, or their number.",
    415: "Content-Encoding other than gzip and deflate.",
    429: "Too much is waiting; Retry-After says how long to wait.",
    503: "Stopping.",
}

# Media type -> a model or a JSON schema.
Described = Mapping[str, type[BaseModel] | Mapping[str, Any]]


class Refused(BaseModel):
    """Why a request is refused."""

    error: str


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """An answer with a status of 4xx.

    Attributes:
        status: the HTTP status.
        text: one line that says what was found and what is expected.
        headers: to send along.
        close: whether the connection ends with the answer.
        param: the field of the request that it is about, for protocols that say so.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        headers: dict[str, str] | None = None,
        close: bool = False,
        param: str | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}
        self.close = close
        self.param = param


def overloaded(text: str, *, seconds: float) -> Refusal:
    """429 for too much of something, with the seconds to wait (RFC 6585, section 4)."""
    return Refusal(429, text, headers={"Retry-After": str(max(1, round(seconds)))})


def of_reason(where: str, reason: str) -> Refusal:
    """The refusal of a picture, such as `instances[2]`: 413 if it is too large, else 400."""
    return Refusal(413 if reason.startswith(TOO_LARGE) else 400, f"{where}: {reason}")


def render_json(value: object) -> bytes:
    """JSON as bytes, with the tokens NaN and Infinity, as TensorFlow Serving writes them."""
    return pydantic_core.to_json(value, inf_nan_mode="constants")


def render_array(array: npt.NDArray[Any]) -> bytes:
    """An array as nested lists, in pieces: other threads run between them.

    Writing JSON holds the interpreter's lock; a large answer in one go would hold up everybody.
    """
    if array.size <= _AT_ONCE or array.ndim == 1:
        return render_json(array.tolist())
    return b"[%s]" % b",".join(map(render_array, array))


def json_answer(value: object, status: int = 200) -> Response:
    """A small answer, written at once."""
    return Response(render_json(value), status, media_type=JSON)


async def packed(data: bytes, request: Request) -> tuple[bytes, dict[str, str]]:
    """An answer packed as the client wants it, and headers that say so.

    The answer is packed only if the client accepts exactly one kind, which means that its user
    asked for it (Triton's client has an option). HTTP libraries accept several kinds by default,
    and packing would make their answers slower.
    """
    accepted = request.headers.get("accept-encoding", "").split(",")
    kinds = [kind.strip().lower() for kind in accepted if kind.strip()]
    if kinds not in (["gzip"], ["deflate"]) or len(data) <= _WORTH_PACKING:
        return data, {}
    pack = gzip.compress if kinds == ["gzip"] else zlib.compress
    data = await asyncio.to_thread(pack, data, 1)
    return data, {"Content-Encoding": kinds[0], "Vary": "Accept-Encoding"}


class _Route(APIRoute):
    """Without a query, a handler is called as it stands.

    FastAPI's search for each parameter takes a third of the time that a request spends outside the
    engine, and finds nothing but defaults then, and what the path says.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual way, or past it."""
        usual = super().get_route_handler()
        names = [one.name for one in self.dependant.path_params]

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                return await usual(request)
            given = {name: request.path_params[name] for name in names}
            answer: Response = await self.endpoint(request=request, **given)
            return answer

        return handle


def add_route(
    router: APIRouter,
    path: str,
    handler: Callable[..., Awaitable[Response]],
    summary: str,
    *,
    answers: Described = MappingProxyType({JSON: OBJECT}),
    takes: Described | None = None,
    refusals: tuple[int, ...] = (),
    refused_as: type[BaseModel] = Refused,
) -> None:
    """Add a route: POST if it takes a body, else GET.

    The handler's parameters are those of the path and the query, as FastAPI reads them; those of a
    route with a body are the request, texts of the path, and have defaults else. `answers` come
    with 200; `refusals` are statuses besides 401 and, of a body, those that reading it can end in.
    """
    good: dict[str, Any] = {"description": "Good.", "content": {}}
    for kind, schema in answers.items():
        if isinstance(schema, Mapping):
            good["content"][kind] = {"schema": schema}
        else:
            good["model"] = schema
    refusals = tuple(sorted({401, *refusals, *(_POSTED if takes else ())}))
    extra: dict[str, Any] = {}
    if takes:
        content = {kind: {"schema": _schema(schema)} for kind, schema in takes.items()}
        extra["requestBody"] = {"required": True, "content": content}
    if "{version}" in path:  # handlers of paths with and without it read it from the request
        version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
        extra["parameters"] = [version]
    router.add_api_route(
        path,
        handler,
        methods=["POST" if takes else "GET"],
        summary=summary,
        response_class=Response,
        responses={200: good, **refused(*refusals, form=refused_as)},
        openapi_extra=extra,
        route_class_override=_Route if takes else None,
    )


def refused(*statuses: int, form: type[BaseModel] = Refused) -> dict[int | str, dict[str, Any]]:
    """What the document says of refusals with these statuses."""
    return {one: {"model": form, "description": _REFUSALS[one]} for one in statuses}


def _schema(described: type[BaseModel] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(described, Mapping):
        return described
    return {"$ref": _REFERENCE.format(model=described.__name__)}


def complete(document: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> None:
    """Add to the OpenAPI document what FastAPI cannot know, and take out what does not hold.

    `bodies` are the models of bodies that it does not read itself.
    """
    schemas = document["components"]["schemas"]
    _, made = models_json_schema([(one, "validation") for one in bodies], ref_template=_REFERENCE)
    schemas |= made["$defs"]
    # Parameters that do not fit are refused with 400, as everything else that does not.
    for methods in document["paths"].values():
        for route in methods.values():
            route["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
