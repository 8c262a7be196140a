"""TensorFlow Serving's REST API: model status, metadata and predict, so its clients keep working.

Source: TensorFlow Serving, "RESTful API"; errors are `{"error": text}`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from nasnet.hub.signatures import Signature, TensorInfo
from nasnet.serve import openapi
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import parse_json, read_body, render_json
from nasnet.serve.pictures import Picture, array_of, base64_of, first_error
from nasnet.serve.refusals import Refusal
from nasnet.serve.service import Model, Service

_JSON = "application/json"
_INPUTS = ("images", "image_bytes", "inputs")  # names that clients give the one input
_DEFAULTS = ("serving_default", "default")  # TensorFlow 2's name of the signature, and hub's
_INLINE = 50_000  # numbers; larger answers are written in a thread, beside the event loop


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
        return Response(render_json({"model_version_status": [state]}), media_type=_JSON)

    async def metadata(request: Request, name: str) -> Response:
        return Response(render_json(_metadata(model_of(request, name))), media_type=_JSON)

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
        add = openapi.adder(router, versioned="{version}" in base)
        add(base, "GET", status, openapi.TF_STATUS)
        add(f"{base}/metadata", "GET", metadata, openapi.TF_METADATA)
        add(f"{base}:predict", "POST", predict, openapi.TF_PREDICT)
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

    def answer() -> bytes:
        return render_json(_answer(found, called.endpoints, rows=rows))

    data = await asyncio.to_thread(answer) if numbers > _INLINE else answer()
    return Response(data, media_type=_JSON)


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


def _answer(
    found: Sequence[Computed], endpoints: Mapping[str, str], *, rows: bool
) -> dict[str, object]:
    """Of one output the name is left out, as TensorFlow Serving does."""
    columns = {
        key: [one.outputs[endpoint].tolist() for one in found]
        for key, endpoint in endpoints.items()
    }
    if len(columns) == 1:
        return {"predictions" if rows else "outputs": next(iter(columns.values()))}
    if not rows:
        return {"outputs": columns}
    return {
        "predictions": [
            {key: values[place] for key, values in columns.items()} for place in range(len(found))
        ]
    }


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
