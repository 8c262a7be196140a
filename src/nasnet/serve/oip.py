"""The Open Inference Protocol v2 over HTTP: health, metadata and infer, JSON and binary tensors.

Sources: the Open Inference Protocol's REST specification; Triton's "Binary Tensor Data Extension"
and "Classification Extension".
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from nasnet._version import __version__
from nasnet.serve import openapi
from nasnet.serve.bodies import parse_json, read_body, render_json
from nasnet.serve.oip_wire import Asked, answer, header_length, request_of
from nasnet.serve.pictures import first_error
from nasnet.serve.refusals import Refusal
from nasnet.serve.service import Model, Service

_JSON = "application/json"
_LENGTH = "Inference-Header-Content-Length"
_WORTH_PACKING = 512  # bytes


def routes(service: Service) -> APIRouter:
    """The routes under /v2."""
    router = APIRouter(tags=["Open Inference Protocol v2"])

    def model_of(request: Request, name: str) -> Model:
        version = request.path_params.get("version")
        model = service.models.get(name)
        if model is None:
            raise Refusal(404, f"Request for unknown model: '{name[:64]}' is not found")
        if version not in (None, model.version):
            raise Refusal(
                404,
                f"Request for unknown model: '{name}' version {version[:20]} is not found; "
                f"there is {model.version}",
            )
        return model

    async def server() -> Response:
        about = {
            "name": "nasnet",
            "version": __version__,
            "extensions": ["binary_tensor_data", "classification"],
        }
        return Response(render_json(about), media_type=_JSON)

    async def live() -> Response:
        return Response(render_json({"live": True}), media_type=_JSON)

    async def ready() -> Response:
        return Response(
            render_json({"ready": service.ready}), 200 if service.ready else 503, media_type=_JSON
        )

    async def model_ready(request: Request, name: str) -> Response:
        model = model_of(request, name)
        about = {"name": model.name, "ready": service.ready}
        return Response(render_json(about), 200 if service.ready else 503, media_type=_JSON)

    async def model_metadata(request: Request, name: str) -> Response:
        return Response(render_json(_metadata(model_of(request, name))), media_type=_JSON)

    async def infer(request: Request, name: str) -> Response:
        with service.holding() as held:
            model = model_of(request, name)
            body = await read_body(request, service, held)
            length = header_length(request.headers.get(_LENGTH.lower()), len(body))
            text = await parse_json(
                body[:length],
                pixels=model.height * model.width,
                pictures=service.limits.pictures,
            )
            asked = await asyncio.to_thread(
                request_of,
                text,
                memoryview(body)[length:],
                outputs=tuple(_outputs(model)),
                height=model.height,
                width=model.width,
                most=service.limits.pictures,
            )
            return await _infer(asked, model, request)

    add = openapi.adder(router)
    add("/v2", "GET", server, openapi.OIP_SERVER)
    add("/v2/health/live", "GET", live, openapi.OIP_LIVE)
    add("/v2/health/ready", "GET", ready, openapi.OIP_READY)
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        add = openapi.adder(router, versioned="{version}" in base)
        add(base, "GET", model_metadata, openapi.OIP_METADATA)
        add(f"{base}/ready", "GET", model_ready, openapi.OIP_MODEL_READY)
        add(f"{base}/infer", "POST", infer, openapi.OIP_INFER)
    return router


def _outputs(model: Model) -> dict[str, tuple[int, ...]]:
    """Names of a module's outputs and their shapes without batch axis."""
    shapes: dict[str, tuple[int, ...]] = {"default": (model.dimensions,)}
    if model.labels:
        shapes |= {"Logits": (len(model.labels),), "Predictions": (len(model.labels),)}
    return shapes


def _metadata(model: Model) -> dict[str, object]:
    outputs = [
        {"name": name, "datatype": "FP32", "shape": [-1, *shape]}
        for name, shape in _outputs(model).items()
    ]
    images = {"name": "images", "datatype": "FP32", "shape": [-1, model.height, model.width, 3]}
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": f"nasnet_{model.engine.name.split()[0]}",
        "inputs": [images],
        "outputs": outputs,
    }


async def _infer(asked: Asked, model: Model, request: Request) -> Response:
    found = await model.compute(asked.pictures)
    first_error(found, "images")
    main = model.spec.signature("default").endpoints["default"]
    head, tensors = answer(
        asked,
        [{**one.outputs, "default": one.outputs[main]} for one in found],
        labels=model.labels,
        name=model.name,
        version=model.version,
    )
    headers: dict[str, str] = {}
    text = render_json(head)
    if tensors:
        headers[_LENGTH] = str(len(text))
    data = b"".join((text, *tensors))
    encoding = _encoding(request.headers.get("accept-encoding", ""))
    if encoding and len(data) > _WORTH_PACKING:
        headers |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        data = await asyncio.to_thread(_packed, data, encoding)
    media_type = "application/octet-stream" if tensors else _JSON
    return Response(data, media_type=media_type, headers=headers)


def _encoding(accepted: str) -> str:
    """What a client that asks for one kind only wants; others are not made to wait for packing.

    HTTP libraries offer several kinds by themselves; Triton's client names the one it was told.
    """
    kinds: Sequence[str] = [kind.strip().lower() for kind in accepted.split(",") if kind.strip()]
    return kinds[0] if len(kinds) == 1 and kinds[0] in ("gzip", "deflate") else ""


def _packed(data: bytes, encoding: str) -> bytes:
    return gzip.compress(data, 1) if encoding == "gzip" else zlib.compress(data, 1)
