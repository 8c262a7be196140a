"""What the OpenAPI document says about each route, as tables, and how a route is added with it.

Bodies are read by our own code, so they are described here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

Schema = Mapping[str, Any]

_ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
_REFUSALS = {
    400: "The request does not fit; the text says how.",
    401: "The key is missing or wrong.",
    404: "There is no such module, or it cannot do this.",
    408: "The body came too slowly.",
    413: "Too large: the body, a picture, or their number.",
    415: "Content-Encoding other than gzip and deflate.",
    429: "Too much is waiting; Retry-After says how long to wait.",
}
_OBJECT: Schema = {"type": "object"}
_STRING: Schema = {"type": "string"}
_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
_B64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "required": ["b64"],
    "additionalProperties": False,
}
_PIXELS: Schema = {
    "description": "[height][width][3], RGB in [0, 1].",
    "type": "array",
    "items": {"type": "array", "items": _NUMBERS},
}
_PREDICT: Schema = {
    "type": "object",
    "description": "Either instances or inputs.",
    "properties": {
        "signature_name": {"type": "string"},
        "instances": {"type": "array", "minItems": 1, "items": {"anyOf": [_B64, _PIXELS]}},
        "inputs": {"type": "array", "minItems": 1, "items": {"anyOf": [_B64, _PIXELS]}},
    },
}
_INFER: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": {
            "type": "object",
            "properties": {"binary_data_output": {"type": "boolean"}},
        },
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": ["images"]},
                    "datatype": {"type": "string", "enum": ["BYTES", "UINT8", "FP32"]},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                    "parameters": {"type": "object"},
                    "data": {"type": "array", "items": {}},
                },
                "required": ["name", "datatype", "shape"],
            },
        },
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                "required": ["name"],
            },
        },
    },
    "required": ["inputs"],
}
_FORM: Schema = {
    "type": "object",
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}
_RAW: Schema = {"type": "string", "format": "binary"}
_MODEL = {
    "name": "model",
    "in": "query",
    "description": "A module by name; the first if left.",
    "schema": _STRING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is written about a route.

    Attributes:
        summary: in a few words.
        body: media type -> schema of the request's body; none for GET.
        answers: media type -> schema of the answer.
        parameters: of the query, as OpenAPI has them.
        refusals: statuses besides 401.
    """

    summary: str
    body: Mapping[str, Schema] = field(default_factory=dict)
    answers: Mapping[str, Schema] = field(default_factory=lambda: {"application/json": _OBJECT})
    parameters: tuple[Mapping[str, Any], ...] = ()
    refusals: tuple[int, ...] = ()


_JSON = "application/json"
_OCTETS = "application/octet-stream"
_POSTED = (400, 404, 408, 413, 415, 429)
_PICTURES = {"multipart/form-data": _FORM, _OCTETS: _RAW, "image/jpeg": _RAW, "image/png": _RAW}


def _number(name: str, text: str, default: int, most: int) -> Mapping[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return {"name": name, "in": "query", "description": text, "schema": schema}


TF_STATUS = Described(summary="Status of a module", refusals=(404,))
TF_METADATA = Described(summary="Signatures of a module", refusals=(404,))
TF_PREDICT = Described(summary="Compute a signature", body={_JSON: _PREDICT}, refusals=_POSTED)
OIP_SERVER = Described(summary="Name, version and extensions of the server")
OIP_LIVE = Described(summary="Whether it runs")
OIP_READY = Described(summary="Whether it takes requests", refusals=(503,))
OIP_METADATA = Described(summary="Inputs and outputs of a module", refusals=(404,))
OIP_MODEL_READY = Described(summary="Whether a module takes requests", refusals=(404, 503))
OIP_INFER = Described(
    summary="Compute, with tensors as JSON or binary",
    body={_JSON: _INFER, _OCTETS: _RAW},
    answers={_JSON: _OBJECT, _OCTETS: _RAW},
    refusals=_POSTED,
)
EMBED = Described(
    summary="Vectors of pictures",
    body=_PICTURES,
    answers={
        _JSON: _OBJECT,
        "application/x-npy": _RAW,
        "application/vnd.apache.arrow.stream": _RAW,
    },
    parameters=(
        _MODEL,
        {
            "name": "format",
            "in": "query",
            "description": "What to answer; else as the header Accept says.",
            "schema": {"type": "string", "enum": ["json", "npy", "arrow"]},
        },
    ),
    refusals=_POSTED,
)
CLASSIFY = Described(
    summary="The likeliest classes of pictures, where the module has a classifier",
    body=_PICTURES,
    parameters=(_MODEL, _number("top", "How many classes.", 5, 1001)),
    refusals=_POSTED,
)
SEARCH = Described(
    summary="Nearest neighbours of pictures, where there is an index",
    body=_PICTURES,
    parameters=(_number("k", "How many neighbours.", 12, 1000),),
    refusals=_POSTED,
)
SIMILARITY = Described(
    summary="How alike two pictures are",
    body={"multipart/form-data": _FORM},
    parameters=(_MODEL,),
    refusals=_POSTED,
)
PICTURE = Described(
    summary="A picture of the index, made small",
    answers={"image/jpeg": _RAW},
    parameters=(
        {
            "name": "id",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        },
    ),
    refusals=(400, 404, 429),
)
INFO = Described(summary="What is served")
SESSION = Described(summary="A cookie for the page, for who has the key", answers={}, refusals=())
HEALTH = Described(summary="Whether it runs")
READY = Described(summary="Whether it takes requests", refusals=(503,))
METRICS = Described(summary="Counters for Prometheus", answers={"text/plain": _STRING})


def adder(
    router: APIRouter, *, versioned: bool = False
) -> Callable[[str, str, Callable[..., Any], Described], None]:
    """A function that adds a route with what is written about it.

    Args:
        router: what to add to.
        versioned: the path has a `{version}` that the handler takes from the request by itself.
    """

    def add(path: str, method: str, handler: Callable[..., Any], described: Described) -> None:
        extra: dict[str, Any] = {}
        parameters: list[Mapping[str, Any]] = list(described.parameters)
        if versioned:
            parameters.append(
                {"name": "version", "in": "path", "required": True, "schema": _STRING}
            )
        if parameters:
            extra["parameters"] = parameters
        if described.body:
            content = {kind: {"schema": schema} for kind, schema in described.body.items()}
            extra["requestBody"] = {"required": True, "content": content}
        good: dict[str, Any] = {"description": "Good."}
        good["content"] = {kind: {"schema": schema} for kind, schema in described.answers.items()}
        responses: dict[int | str, dict[str, Any]] = {200: good}
        for status in sorted({401, *described.refusals}):
            responses[status] = {
                "description": _REFUSALS.get(status, "Stopping."),
                "content": {_JSON: {"schema": _ERROR}},
            }
        router.add_api_route(
            path,
            handler,
            methods=[method],
            summary=described.summary,
            response_class=Response,
            responses=responses,
            openapi_extra=extra,
        )

    return add
