"""OpenAI's embeddings route, for the clients and frameworks that speak it: pictures for texts.

Source: OpenAI, "API reference", embeddings, list models, error codes. As there, one bad input
refuses the request; errors have OpenAI's form, which its clients take apart.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from nasnet.serve.answers import (
    JSON,
    Refusal,
    add_route,
    json_answer,
    of_reason,
    render_array,
    render_json,
)
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import beside, read_body, while_there
from nasnet.serve.numbers import parse_json
from nasnet.serve.pictures import base64_of
from nasnet.serve.service import Model, Service

EMBEDDINGS = "/v1/embeddings"
_MODELS = "/v1/models"
_DATA = re.compile(r"data:[^,]{0,128};base64,", re.IGNORECASE)
_FORMATS = ("float", "base64")
_KNOWN = ("input", "model", "encoding_format", "dimensions", "user")

_Encoded = Annotated[str, Field(json_schema_extra={"format": "byte"})]


class EmbeddingRequest(BaseModel):
    """A picture or several, each a data URL or base64, and what to compute of them.

    `dimensions` can only be the module's own; `user` is not looked at.
    """

    model_config = ConfigDict(extra="forbid")
    input: _Encoded | Annotated[list[_Encoded], Field(min_length=1)]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Embedding(BaseModel):
    """A picture's vector: numbers, or little-endian float32 in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Where OpenAI counts tokens, pictures are counted."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Served(BaseModel):
    """A module, by the name that requests give as `model`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ServedModels(BaseModel):
    """What is served."""

    object: Literal["list"]
    data: list[Served]


class OpenaiError(BaseModel):
    """What is wrong, for people (`message`) and programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenaiRefused(BaseModel):
    """Why a request is refused."""

    error: OpenaiError


def routes(service: Service) -> APIRouter:
    """The routes of OpenAI's clients."""
    router = APIRouter(tags=["OpenAI"])

    async def embeddings(request: Request) -> Response:
        with service.holding() as held:
            body = await read_body(request, service, held)
            most = service.limits.pictures
            asked = await beside(service, len(body), lambda: _asked(body, service, most))
            found = await while_there(request, asked[0].compute(asked[1]))
        for at, one in enumerate(found):
            if one.error is not None:
                wrong = of_reason(f"input[{at}]", f"{one.error}; {_EXPECTED}")
                wrong.param = "input"
                raise wrong
        return Response(_written(asked[0], found, asked[2]), media_type=JSON)

    async def models() -> Response:
        return json_answer(
            ServedModels(
                object="list",
                data=[
                    Served(id=name, object="model", created=0, owned_by="nasnet")
                    for name in service.models
                ],
            )
        )

    add_route(
        router,
        EMBEDDINGS,
        embeddings,
        "Vectors of pictures, as OpenAI's clients ask for them",
        takes={JSON: EmbeddingRequest},
        answers={JSON: Embeddings},
        refused_as=OpenaiRefused,
    )
    add_route(router, _MODELS, models, "What is served", answers={JSON: ServedModels})
    return router


def error_of(status: int, text: str, param: str | None) -> OpenaiRefused:
    """A refusal in OpenAI's form; `param` is the field of the request that it is about."""
    codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    error = OpenaiError(message=text, type=kind, param=param, code=codes.get(status))
    return OpenaiRefused(error=error)


def _asked(data: bytes, service: Service, most: int) -> tuple[Model, list[bytes], bool]:
    """The module, the pictures, and whether vectors are wanted in base64.

    Raises:
        Refusal: the request does not fit.
    """
    body = parse_json(data)
    for name in body:
        if name not in _KNOWN:
            raise Refusal(
                400,
                f"unknown field {name[:64]!r}; there are {', '.join(_KNOWN)}",
                param=name[:64],
            )
    name = body.get("model", "")
    if not isinstance(name, str):
        raise Refusal(400, "model: expected a string", param="model")
    if name and name not in service.models:
        raise Refusal(
            404,
            f"the model {name[:64]!r} does not exist; there are {', '.join(service.models)}",
            param="model",
        )
    model = service.model(name)
    form = body.get("encoding_format", "float")
    if form not in _FORMATS:
        raise Refusal(
            400, f"encoding_format: expected {' or '.join(_FORMATS)}", param="encoding_format"
        )
    wide = model.extractor.dimensions
    if body.get("dimensions") not in (None, wide):
        raise Refusal(400, f"dimensions: these vectors have {wide}", param="dimensions")
    value = body.get("input")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Refusal(400, f"input: {_EXPECTED}", param="input")
    if len(values) > most:
        raise Refusal(413, f"input: {len(values)} pictures, {most} at most", param="input")
    pictures = [
        _picture(one, f"input[{at}]" if value is values else "input")
        for at, one in enumerate(values)
    ]
    return model, pictures, form == "base64"


_EXPECTED = "expected a picture as a data URL or in base64, or a list of such strings"


def _picture(text: object, where: str) -> bytes:
    if not isinstance(text, str):
        raise Refusal(400, f"{where}: {_EXPECTED}; tokens are no pictures", param="input")
    if text[:8].lower().startswith(("http://", "https://")):
        raise Refusal(400, f"{where}: this service downloads nothing: {_EXPECTED}", param="input")
    if text[:5].lower() == "data:":
        head = _DATA.match(text)
        if head is None:
            raise Refusal(400, f"{where}: a data URL without ';base64,'", param="input")
        text = text[head.end() :]
    try:
        data = base64_of(text, where)
    except Refusal:
        data = b""
    if not data:
        raise Refusal(400, f"{where}: {_EXPECTED}", param="input")
    return data


def _written(model: Model, found: list[Computed], packed: bool) -> bytes:
    rows = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%s}'
        % (at, _vector(one.outputs["global_pool"], packed))
        for at, one in enumerate(found)
    )
    return b'{"object":"list","data":[%s],"model":%s,"usage":%s}' % (
        rows,
        render_json(model.name),
        render_json(Usage(prompt_tokens=len(found), total_tokens=len(found))),
    )


def _vector(vector: npt.NDArray[np.float32], packed: bool) -> bytes:
    if packed:
        return b'"%s"' % base64.b64encode(np.asarray(vector, "<f4").tobytes())
    return render_array(vector)
