"""TensorFlow Serving's REST API: model status, metadata and predict, so its clients keep working.

Source: TensorFlow Serving, "RESTful API"; errors are `{"error": text}`, in its own words where its
clients look for them. So bodies are checked by hand: pydantic's texts are others, and would take a
second pass over the 150,528 numbers of a picture.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from nasnet.hub.signatures import Signature, TensorInfo
from nasnet.serve.answers import JSON, Refusal, add_route, json_answer, render_array
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import beside, read_body, while_there
from nasnet.serve.numbers import parse_json
from nasnet.serve.options import Limits
from nasnet.serve.pictures import Picture, array_of, base64_of, first_error
from nasnet.serve.service import Model, Service

_INPUTS = ("images", "image_bytes", "inputs")  # names that clients give the one input
_DEFAULTS = ("serving_default", "default")  # TensorFlow 2's name of the signature, and hub's
_INLINE = 50_000  # numbers; larger answers are written in a thread, beside the event loop


class Encoded(BaseModel):
    """An encoded picture in base64."""

    model_config = ConfigDict(extra="forbid")
    b64: str = Field(json_schema_extra={"format": "byte"})


Pictures = list[Encoded | list[list[list[float]]]]


class Predict(BaseModel):
    """Either instances or inputs: encoded pictures, or [height][width][3] RGB in [0, 1]."""

    signature_name: str = ""
    instances: Pictures = Field(default=[], min_length=1)
    inputs: Pictures = Field(default=[], min_length=1)


def routes(service: Service) -> APIRouter:
    """The routes under /v1."""
    router = APIRouter(tags=["TensorFlow Serving"])

    def model_of(request: Request, name: str) -> Model:
        version = request.path_params.get("version")
        model = service.models.get(name)
        if model is None or version not in (None, model.version):
            which = f"Latest({name[:64]})"
            if version is not None:
                which = f"Specific({name[:64]}, {version[:20]})"
            raise Refusal(404, f"Servable not found for request: {which}")
        return model

    async def status(request: Request, name: str) -> Response:
        state = {
            "version": model_of(request, name).version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return json_answer({"model_version_status": [state]})

    async def metadata(request: Request, name: str) -> Response:
        return json_answer(_metadata(model_of(request, name)))

    async def predict(request: Request, name: str) -> Response:
        with service.holding() as held:
            model = model_of(request, name)
            body = await read_body(request, service, held)
            asked = await beside(service, len(body), lambda: _asked(body, model, service.limits))
            work = model.compute(asked.pictures, inner=asked.inner)
            found = await while_there(request, work)
            first_error(found, asked.where)
            return await _answer(asked, found)

    for base in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        add_route(router, base, status, "Status of a module", refusals=(404,))
        add_route(router, f"{base}/metadata", metadata, "Signatures of a module", refusals=(404,))
        add_route(router, f"{base}:predict", predict, "Compute a signature", takes={JSON: Predict})
    return router


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request wants.

    Attributes:
        endpoints: name of an output -> where in the network it is taken.
        inner: whether some of them are not among the common ones.
        where: `instances`, a row each; or `inputs`, a column each.
        pictures: the input.
        numbers: in the answer.
    """

    endpoints: Mapping[str, str]
    inner: bool
    where: str
    pictures: list[Picture]
    numbers: int


def _asked(data: bytes, model: Model, limits: Limits) -> _Asked:
    body = parse_json(data)
    called = _signature(body.get("signature_name", ""), model)
    rows = "instances" in body
    if rows == ("inputs" in body):
        raise Refusal(400, "expected either 'instances' (rows) or 'inputs' (columns)")
    where = "instances" if rows else "inputs"
    values = body["instances"] if rows else _column(body["inputs"])
    if not isinstance(values, list | np.ndarray) or not len(values):
        raise Refusal(400, f"{where}: expected a list of pictures, one at least")
    if len(values) > limits.pictures:
        raise Refusal(
            413, f"{where}: {len(values)} pictures, {limits.pictures} at most in a request"
        )
    numbers = len(values) * sum(
        math.prod(size or 0 for size in info.shape[1:]) for info in called.outputs.values()
    )
    if numbers > limits.values:
        raise Refusal(
            413,
            f"an answer of {numbers:,} numbers, {limits.values:,} at most: send fewer "
            "pictures, or ask for the signature serving_default",
        )
    return _Asked(
        endpoints=called.endpoints,
        inner=not set(called.endpoints.values()) <= set(model.common.endpoints),
        where=where,
        pictures=[_picture(one, model, f"{where}[{at}]") for at, one in enumerate(values)],
        numbers=numbers,
    )


def _signature(name: object, model: Model) -> Signature:
    if not isinstance(name, str):
        raise Refusal(400, "signature_name: expected a string")
    offered = _offered(model)
    if name and name not in offered:
        raise Refusal(
            400,
            f'Serving signature key "{name[:64]}" not found; there are {", ".join(offered)}',
        )
    return offered[name or _DEFAULTS[0]]


def _offered(model: Model) -> dict[str, Signature]:
    """All that can be called, under TensorFlow 2's name of the default too."""
    return {_DEFAULTS[0]: model.signatures["default"], **model.signatures}


def _column(value: object) -> object:
    """The one input of a columnar request; a single encoded picture is a batch of one."""
    if isinstance(value, dict) and "b64" not in value:
        value = _only(value, "inputs")
    return [value] if isinstance(value, dict) else value


def _only(value: Mapping[str, object], where: str) -> object:
    if len(value) != 1 or next(iter(value)) not in _INPUTS:
        found = ", ".join(str(key)[:32] for key in list(value)[:5])
        raise Refusal(400, f"{where}: expected the one input 'images', found {found or 'none'}")
    return next(iter(value.values()))


def _picture(value: object, model: Model, where: str) -> Picture:
    if isinstance(value, dict) and "b64" not in value:
        value = _only(value, where)
    if isinstance(value, dict):
        if set(value) != {"b64"}:
            raise Refusal(400, f"{where}: beside b64 there may be nothing")
        return base64_of(value["b64"], where)
    return array_of(value, where, height=model.height, width=model.width)


async def _answer(asked: _Asked, found: Sequence[Computed]) -> Response:
    def write() -> bytes:
        return _written(found, asked.endpoints, rows=asked.where == "instances")

    data = await asyncio.to_thread(write) if asked.numbers > _INLINE else write()
    return Response(data, media_type=JSON)


def _written(found: Sequence[Computed], endpoints: Mapping[str, str], *, rows: bool) -> bytes:
    """Of one output the name is left out, as TensorFlow Serving does."""

    def column(endpoint: str) -> bytes:
        return b"[%s]" % b",".join(render_array(one.outputs[endpoint]) for one in found)

    if len(endpoints) == 1:
        (endpoint,) = endpoints.values()
        return b'{"%s":%s}' % (b"predictions" if rows else b"outputs", column(endpoint))
    if not rows:
        columns = (b'"%s":%s' % (key.encode(), column(one)) for key, one in endpoints.items())
        return b'{"outputs":{%s}}' % b",".join(columns)

    def row(one: Computed) -> bytes:
        return b"{%s}" % b",".join(
            b'"%s":%s' % (key.encode(), render_array(one.outputs[endpoint]))
            for key, endpoint in endpoints.items()
        )

    return b'{"predictions":[%s]}' % b",".join(map(row, found))


def _metadata(model: Model) -> dict[str, object]:
    """`GetModelMetadataResponse` as protocol buffers write it in JSON."""
    signatures = {
        name: {
            "inputs": {key: _tensor(key, info) for key, info in one.inputs.items()},
            "outputs": {key: _tensor(key, info) for key, info in one.outputs.items()},
            "method_name": "tensorflow/serving/predict",
        }
        for name, one in _offered(model).items()
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor(key: str, info: TensorInfo) -> dict[str, object]:
    dimensions = [{"size": str(-1 if size is None else size), "name": ""} for size in info.shape]
    return {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": f"{key}:0",
    }
