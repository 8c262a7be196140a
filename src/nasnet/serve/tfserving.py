"""TensorFlow Serving's REST API: model status, metadata and predict, so its clients keep working.

Source: TensorFlow Serving, "RESTful API"; errors are `{"error": text}`, in its own words where its
clients look for them. So bodies are checked by hand: pydantic's texts are others, and would take a
second pass over the 150,528 numbers of a picture.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from nasnet.hub.signatures import Signature, TensorInfo
from nasnet.serve.answers import JSON, Refusal, add_route, json_answer, render_list
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import parse_json, read_body
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
            body = await parse_json(
                await read_body(request, service, held),
                pixels=model.height * model.width,
                pictures=service.limits.pictures,
            )
            return await _predict(body, model, service)

    for base in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        add_route(router, base, status, "Status of a module", refusals=(404,))
        add_route(router, f"{base}/metadata", metadata, "Signatures of a module", refusals=(404,))
        add_route(router, f"{base}:predict", predict, "Compute a signature", takes={JSON: Predict})
    return router


async def _predict(body: dict[str, Any], model: Model, service: Service) -> Response:
    called = _signature(body.get("signature_name", ""), model)
    rows = "instances" in body
    if rows == ("inputs" in body):
        raise Refusal(400, "expected either 'instances' (rows) or 'inputs' (columns)")
    where = "instances" if rows else "inputs"
    values = body["instances"] if rows else _column(body["inputs"])
    if not isinstance(values, list) or not values:
        raise Refusal(400, f"{where}: expected a list of pictures, one at least")
    if len(values) > service.limits.pictures:
        raise Refusal(
            413, f"{where}: {len(values)} pictures, {service.limits.pictures} at most in a request"
        )
    numbers = len(values) * sum(
        math.prod(size or 0 for size in info.shape[1:]) for info in called.outputs.values()
    )
    if numbers > service.limits.values:
        raise Refusal(
            413,
            f"an answer of {numbers:,} numbers, {service.limits.values:,} at most: send fewer "
            "pictures, or ask for the signature serving_default",
        )
    pictures = await _pictures(values, model, where)
    inner = not set(called.endpoints.values()) <= set(model.common.endpoints)
    found = await model.compute(pictures, inner=inner)
    first_error(found, where)

    if numbers > _INLINE:
        data = await asyncio.to_thread(_answer, found, called.endpoints, rows=rows)
    else:
        data = _answer(found, called.endpoints, rows=rows)
    return Response(data, media_type=JSON)


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


async def _pictures(values: Sequence[object], model: Model, where: str) -> list[Picture]:
    def one(value: object, place: int) -> Picture:
        here = f"{where}[{place}]"
        if isinstance(value, dict) and "b64" not in value:
            value = _only(value, here)
        if isinstance(value, dict):
            if set(value) != {"b64"}:
                raise Refusal(400, f"{here}: beside b64 there may be nothing")
            return base64_of(value["b64"], here)
        return array_of(value, here, height=model.height, width=model.width)

    def all_of_them() -> list[Picture]:
        return [one(value, place) for place, value in enumerate(values)]

    encoded = all(isinstance(value, dict) and "b64" in value for value in values)
    return all_of_them() if encoded else await asyncio.to_thread(all_of_them)


def _answer(found: Sequence[Computed], endpoints: Mapping[str, str], *, rows: bool) -> bytes:
    """Of one output the name is left out, as TensorFlow Serving does."""

    def column(endpoint: str) -> bytes:
        return render_list(one.outputs[endpoint].tolist() for one in found)

    if len(endpoints) == 1:
        (endpoint,) = endpoints.values()
        return b'{"%s":%s}' % (b"predictions" if rows else b"outputs", column(endpoint))
    if not rows:
        columns = (b'"%s":%s' % (key.encode(), column(one)) for key, one in endpoints.items())
        return b'{"outputs":{%s}}' % b",".join(columns)
    pictures = (
        {key: one.outputs[endpoint].tolist() for key, endpoint in endpoints.items()}
        for one in found
    )
    return b'{"predictions":%s}' % render_list(pictures)


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
