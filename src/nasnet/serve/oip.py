"""The Open Inference Protocol v2 over HTTP: health, metadata and infer, JSON and binary tensors.

Sources: the Open Inference Protocol's REST specification; Triton's "Binary Tensor Data Extension"
and "Classification Extension". Binary tensors lie behind the JSON, little-endian, row-major.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from nasnet._version import __version__
from nasnet.serve.answers import (
    BINARY,
    JSON,
    OBJECT,
    OCTETS,
    Described,
    Refusal,
    add_route,
    json_answer,
    packed,
    render_json,
)
from nasnet.serve.batching import Computed
from nasnet.serve.bodies import beside, read_body, while_there
from nasnet.serve.numbers import parse_json
from nasnet.serve.pictures import Picture, base64_of, checked_batch, first_error
from nasnet.serve.service import Model, Service, softmax

_LENGTH = "Inference-Header-Content-Length"
Data = list[Any] | npt.NDArray[np.float32] | memoryview
_ANSWER_BYTES = 60_000  # of one picture, if all outputs are wanted as JSON
_NUMBERS: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


# `json_schema_extra` only documents: what goes beyond it is refused in Triton's words further down.
class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class TensorParameters(_Strict):
    """Of an input."""

    binary_data_size: int | None = None


class Tensor(_Strict):
    """An input: pictures encoded (BYTES), or numbers [pictures, height, width, 3]."""

    name: str = Field(json_schema_extra={"enum": ["images"]})
    datatype: str = Field(json_schema_extra={"enum": ["BYTES", *_NUMBERS]})
    shape: list[Annotated[int, Field(ge=1, lt=1 << 31)]] = Field(min_length=1, max_length=4)
    parameters: TensorParameters | None = None
    # Checked by hand: an array where `numbers` found many.
    data: Annotated[Any, WithJsonSchema({"type": "array", "items": {}})] = None


class OutputParameters(_Strict):
    """Of an output: behind the JSON; how many of the likeliest classes, as text."""

    binary_data: bool | None = None
    classification: int = Field(default=0, ge=0, le=1001)


class Output(_Strict):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(_Strict):
    """Of a request."""

    binary_data_output: bool = False


class Infer(_Strict):
    """A request to compute outputs of pictures."""

    id: str | None = Field(default=None, max_length=256)
    parameters: RequestParameters | None = None
    inputs: list[Tensor] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
    outputs: list[Output] | None = None


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
        return json_answer(about)

    async def live() -> Response:
        return json_answer({"live": True})

    async def ready() -> Response:
        return json_answer({"ready": service.ready}, 200 if service.ready else 503)

    async def model_ready(request: Request, name: str) -> Response:
        model = model_of(request, name)
        about = {"name": model.name, "ready": service.ready}
        return json_answer(about, 200 if service.ready else 503)

    async def metadata(request: Request, name: str) -> Response:
        return json_answer(_metadata(model_of(request, name)))

    async def infer(request: Request, name: str) -> Response:
        with service.holding() as held:
            model = model_of(request, name)
            body = await read_body(request, service, held)
            length = _header_length(request.headers.get(_LENGTH), len(body))
            text, binary = body[:length], memoryview(body)[length:]
            asked, pictures = await beside(
                service,
                len(body),
                lambda: _pictures(parse_json(text), binary, model, service.limits.pictures),
            )
            found = await while_there(request, model.compute(pictures))
            first_error(found, "images")
            text, tensors = await beside(
                service, len(found) * _ANSWER_BYTES, lambda: _answer(asked, found, model)
            )
            data, headers = await packed(b"".join((text, *tensors)), request)
            if tensors:
                headers[_LENGTH] = str(len(text))
            return Response(data, media_type=OCTETS if tensors else JSON, headers=headers)

    add_route(router, "/v2", server, "Name, version and extensions of the server")
    add_route(router, "/v2/health/live", live, "Whether it runs")
    add_route(router, "/v2/health/ready", ready, "Whether it takes requests", refusals=(503,))
    about = "Whether a module takes requests"
    compute = "Compute, with tensors as JSON or binary"
    takes: Described = {JSON: Infer, OCTETS: BINARY}
    gives: Described = {JSON: OBJECT, OCTETS: BINARY}
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        add_route(router, base, metadata, "Inputs and outputs of a module", refusals=(404,))
        add_route(router, f"{base}/ready", model_ready, about, refusals=(404, 503))
        add_route(router, f"{base}/infer", infer, compute, takes=takes, answers=gives)
    return router


def _outputs(model: Model) -> dict[str, tuple[int, ...]]:
    """Names of a module's outputs and their shapes without batch axis."""
    # Of a module that classifies these are the logits, not the vectors.
    width = model.spec.signature("default").outputs["default"].shape[1] or 0
    shapes: dict[str, tuple[int, ...]] = {"default": (width,)}
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


def _header_length(text: str | None, size: int) -> int:
    """Bytes of JSON at the start of a body of that size: all of it unless the header says less."""
    if text is None:
        return size
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > size:
        raise Refusal(400, f"{_LENGTH} is {text[:20]!r}, the body has {size} bytes")
    return int(text)


def _pictures(
    body: Mapping[str, Any], binary: memoryview, model: Model, most: int
) -> tuple[Infer, list[Picture]]:
    """Check a request, whose JSON is `body`, and take its pictures out.

    Raises:
        Refusal: 400, it does not fit; 413, too many pictures.
    """
    try:
        asked = Infer.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(400, f"{where}: {first['msg']}") from None
    if len(asked.inputs) != 1:
        raise Refusal(400, "inputs: expected a list with the one input 'images'")
    tensor = asked.inputs[0]
    shape = tensor.shape
    if tensor.name != "images":
        raise Refusal(400, f"unexpected inference input {tensor.name[:64]!r}: 'images'")
    if shape[0] > most:
        raise Refusal(413, f"images: {shape[0]} pictures, {most} at most in a request")
    _check_outputs(asked.outputs or [], list(_outputs(model)))
    data = _data(tensor, binary)
    if tensor.datatype == "BYTES":
        return asked, _encoded(data, shape)
    if tensor.datatype not in _NUMBERS:
        kinds = ", ".join(_NUMBERS)
        raise Refusal(400, f"images: datatype {tensor.datatype[:32]!r}; there are BYTES, {kinds}")
    dtype = _NUMBERS[tensor.datatype]
    return asked, list(_arrays(data, shape, dtype, height=model.height, width=model.width))


def _check_outputs(outputs: Sequence[Output], names: Sequence[str]) -> None:
    if len(outputs) > len(names):
        raise Refusal(400, f"outputs: expected a list of {', '.join(names)}")
    for one in outputs:
        if one.name not in names:
            raise Refusal(
                400, f"unexpected inference output {one.name[:64]!r}; there are {', '.join(names)}"
            )
        if one.parameters and one.parameters.classification and names == ["default"]:
            raise Refusal(400, "default: this module has no classifier")


def _data(tensor: Tensor, binary: memoryview) -> Data:
    """The tensor's data, from the JSON or from behind it."""
    size = tensor.parameters and tensor.parameters.binary_data_size
    if size is None:
        if len(binary):
            raise Refusal(400, f"{len(binary)} bytes behind the JSON belong to no tensor")
        if not isinstance(tensor.data, list | np.ndarray):
            raise Refusal(400, "images: expected data, a list, or binary_data_size")
        return tensor.data
    if size != len(binary):
        raise Refusal(400, f"images: binary_data_size is {size}, found {len(binary)} bytes")
    if "data" in tensor.model_fields_set:
        raise Refusal(400, "images: either data or binary_data_size")
    return binary


def _encoded(data: Data, shape: Sequence[int]) -> list[Picture]:
    if math.prod(shape[1:]) != 1:
        raise Refusal(400, f"images: BYTES of shape {shape}; expected [pictures]")
    if isinstance(data, np.ndarray):
        raise Refusal(400, "images: BYTES: expected base64 in strings, found numbers")
    if isinstance(data, list):
        while len(data) == 1 and isinstance(data[0], list):
            data = data[0]
        flat = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]
        pictures: list[Picture] = [
            base64_of(text, f"images[{place}]") for place, text in enumerate(flat)
        ]
    else:
        pictures = []
        while len(data):
            length = int.from_bytes(data[:4], "little") if len(data) >= 4 else len(data)
            if 4 + length > len(data):
                raise Refusal(400, "images: BYTES: a length reaches beyond the data")
            pictures.append(bytes(data[4 : 4 + length]))
            data = data[4 + length :]
            if len(pictures) > shape[0]:
                break
    if len(pictures) != shape[0]:
        raise Refusal(400, f"images: shape says {shape[0]} pictures, the data have others")
    return pictures


def _arrays(
    data: Data,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    *,
    height: int,
    width: int,
) -> npt.NDArray[Any]:
    if tuple(shape[1:]) != (height, width, 3):
        raise Refusal(400, f"images: shape {shape}, expected [pictures, {height}, {width}, 3]")
    count = math.prod(shape)
    if isinstance(data, memoryview):
        if len(data) != count * dtype.itemsize:
            raise Refusal(
                400,
                f"images: {len(data)} bytes, {shape} needs {count * dtype.itemsize}",
            )
        array: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    else:
        array = _of_numbers(data, shape, dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for float32: infinite, refused below
            array = array.astype(np.float32)
    return checked_batch(array, "images", height=height, width=width)


def _of_numbers(data: Data, shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Numbers, flat or nested, of any nesting that has as many."""
    if not isinstance(data, np.ndarray) or data.size != math.prod(shape):
        raise Refusal(400, f"images: data: expected {math.prod(shape)} numbers")
    if dtype.kind == "f":
        return data.reshape(shape)
    with np.errstate(invalid="ignore"):  # refused below
        pixels = data.astype(dtype)
    if not np.array_equal(pixels, data):
        raise Refusal(400, f"images: data: a number does not fit {dtype}")
    return pixels.reshape(shape)


def _answer(asked: Infer, found: Sequence[Computed], model: Model) -> tuple[bytes, list[bytes]]:
    """The answer's JSON, and the tensors that lie behind it."""
    main = model.spec.signature("default").endpoints["default"]
    every = asked.parameters is not None and asked.parameters.binary_data_output
    tensors: list[bytes] = []
    outputs: list[bytes] = []
    for one in asked.outputs or [Output(name=name) for name in _outputs(model)]:
        source = main if one.name == "default" else "Logits"
        values = np.stack([row.outputs[source] for row in found])
        if one.name == "Predictions":
            values = softmax(values)
        parameters = one.parameters or OutputParameters()
        output, raw = _tensor(one.name, values, parameters, model.labels, binary=every)
        outputs.append(render_json(output))  # one by one: others have their turn between them
        tensors += raw
    head = {"model_name": model.name, "model_version": model.version}
    if asked.id is not None:
        head["id"] = asked.id
    return b'%s,"outputs":[%s]}' % (render_json(head)[:-1], b",".join(outputs)), tensors


def _tensor(
    name: str,
    values: npt.NDArray[np.float32],
    parameters: OutputParameters,
    labels: Sequence[str],
    *,
    binary: bool,
) -> tuple[dict[str, object], list[bytes]]:
    """An output as JSON, and what of it lies behind the JSON."""
    if parameters.binary_data is not None:
        binary = parameters.binary_data
    if parameters.classification:
        flat: list[Any]
        texts = _classes(values, labels, parameters.classification)
        head = {"name": name, "datatype": "BYTES", "shape": [len(texts), len(texts[0])]}
        flat = [text for row in texts for text in row]
        raw = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in flat)
    else:
        head = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
        flat = [] if binary else values.ravel().tolist()
        raw = values.astype("<f4").tobytes() if binary else b""
    if not binary:
        return {**head, "data": flat}, []
    return {**head, "parameters": {"binary_data_size": len(raw)}}, [raw]


def _classes(values: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> list[list[str]]:
    """The likeliest classes as Triton writes them: `value:index:label`."""
    order = np.argsort(-values, axis=1, kind="stable")[:, : min(count, values.shape[1])]
    named = len(labels) == values.shape[1]
    return [
        [f"{row[index]:f}:{index}" + (f":{labels[index]}" if named else "") for index in places]
        for row, places in zip(values, order.tolist(), strict=True)
    ]
