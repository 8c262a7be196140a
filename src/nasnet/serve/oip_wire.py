"""Requests and answers of the Open Inference Protocol v2, between bytes and arrays.

Knows no HTTP. Binary tensors lie behind the JSON, little-endian, row-major.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.serve.pictures import Picture, base64_of, checked_batch
from nasnet.serve.refusals import Refusal
from nasnet.serve.service import softmax

_NUMBERS: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_MOST_CLASSES = 1001
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output that is asked for.

    Attributes:
        name: of it.
        binary: behind the JSON, instead of in it.
        classes: how many of the likeliest classes, as text; 0 for the numbers.
    """

    name: str
    binary: bool
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that fits the module.

    Attributes:
        id: to be sent back, or None.
        pictures: encoded, or arrays of the module's own size.
        outputs: in the order they were asked for.
    """

    id: str | None
    pictures: list[Picture]
    outputs: list[Output]


def header_length(text: str | None, size: int) -> int:
    """Bytes of JSON at the start of a body.

    Args:
        text: the header `Inference-Header-Content-Length`, None where all is JSON.
        size: of the body.

    Raises:
        Refusal: 400, it is no number, or larger than the body.
    """
    if text is None:
        return size
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > size:
        raise Refusal(
            400, f"Inference-Header-Content-Length is {text[:20]!r}, the body has {size} bytes"
        )
    return int(text)


def request_of(
    body: Mapping[str, Any],
    binary: memoryview,
    *,
    outputs: Sequence[str],
    height: int,
    width: int,
    most: int,
) -> Asked:
    """Check a request and take its pictures out.

    Args:
        body: the JSON.
        binary: what lies behind it.
        outputs: names the module has.
        height: of the module's input.
        width: of the same, in pixels.
        most: pictures in one request.

    Raises:
        Refusal: 400, it does not fit; 413, too many pictures.
    """
    name = body.get("id")
    if name is not None and (not isinstance(name, str) or len(name) > _LONGEST_ID):
        raise Refusal(400, f"id: expected a string of {_LONGEST_ID} characters at most")
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, "inputs: expected a list with the one input 'images'")
    tensor = inputs[0]
    if tensor.get("name") != "images":
        raise Refusal(400, f"unexpected inference input {str(tensor.get('name'))[:64]!r}: 'images'")
    shape = _shape(tensor.get("shape"), most)
    data = _data(tensor, binary)
    datatype = tensor.get("datatype")
    if datatype == "BYTES":
        pictures = _encoded(data, shape)
    elif isinstance(datatype, str) and datatype in _NUMBERS:
        pictures = list(_arrays(data, shape, _NUMBERS[datatype], height=height, width=width))
    else:
        raise Refusal(
            400, f"images: datatype {str(datatype)[:32]!r}; there are BYTES, {', '.join(_NUMBERS)}"
        )
    return Asked(id=name, pictures=pictures, outputs=_wanted(body, outputs))


def _parameters(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = holder.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(400, f"{where}: parameters: expected an object")
    return found


def _shape(value: object, most: int) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else []
    good = all(type(size) is int and 0 < size < 1 << 31 for size in sizes)
    if not (good and 1 <= len(sizes) <= 4):
        raise Refusal(400, "images: shape: expected one to four numbers above 0")
    if sizes[0] > most:
        raise Refusal(413, f"images: {sizes[0]} pictures, {most} at most in a request")
    return tuple(sizes)


def _data(tensor: Mapping[str, Any], binary: memoryview) -> list[Any] | memoryview:
    """The tensor's data, from the JSON or from behind it."""
    size = _parameters(tensor, "images").get("binary_data_size")
    if size is None:
        if len(binary):
            raise Refusal(400, f"{len(binary)} bytes behind the JSON belong to no tensor")
        data = tensor.get("data")
        if not isinstance(data, list):
            raise Refusal(400, "images: expected data, a list, or binary_data_size")
        return data
    if type(size) is not int or size != len(binary):
        raise Refusal(
            400, f"images: binary_data_size is {str(size)[:20]}, found {len(binary)} bytes"
        )
    if "data" in tensor:
        raise Refusal(400, "images: either data or binary_data_size")
    return binary


def _encoded(data: list[Any] | memoryview, shape: tuple[int, ...]) -> list[Picture]:
    if math.prod(shape[1:]) != 1:
        raise Refusal(400, f"images: BYTES of shape {list(shape)}; expected [pictures]")
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
    data: list[Any] | memoryview,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    height: int,
    width: int,
) -> npt.NDArray[Any]:
    if shape[1:] != (height, width, 3):
        raise Refusal(
            400, f"images: shape {list(shape)}, expected [pictures, {height}, {width}, 3]"
        )
    count = math.prod(shape)
    if isinstance(data, memoryview):
        if len(data) != count * dtype.itemsize:
            raise Refusal(
                400,
                f"images: {len(data)} bytes, {list(shape)} needs {count * dtype.itemsize}",
            )
        array: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    else:
        array = _of_lists(data, shape, dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for float32: infinite, and told below
            array = array.astype(np.float32)
    return checked_batch(array, "images", height=height, width=width)


def _of_lists(data: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Numbers, flat or nested, of any nesting that has as many."""
    flat: list[Any] = data
    for _ in range(4):
        if not flat or not isinstance(flat[0], list):
            break
        if not all(isinstance(one, list) for one in flat):
            raise Refusal(400, "images: data: lists and numbers side by side")
        flat = [number for one in flat for number in one]
    kinds = {int} if dtype.kind == "u" else {int, float}
    if len(flat) != math.prod(shape) or not set(map(type, flat)) <= kinds:
        raise Refusal(400, f"images: data: expected {math.prod(shape)} numbers")
    try:
        return np.array(flat, dtype).reshape(shape)
    except OverflowError:
        raise Refusal(400, f"images: data: a number does not fit {dtype}") from None


def _wanted(body: Mapping[str, Any], names: Sequence[str]) -> list[Output]:
    asked = body.get("outputs")
    every = _parameters(body, "request").get("binary_data_output", False)
    if type(every) is not bool:
        raise Refusal(400, "binary_data_output: expected true or false")
    if asked is None or asked == []:
        return [Output(name=name, binary=every, classes=0) for name in names]
    if not isinstance(asked, list) or len(asked) > len(names):
        raise Refusal(400, f"outputs: expected a list of {', '.join(names)}")
    return [_output(one, names, binary=every) for one in asked]


def _output(one: object, names: Sequence[str], *, binary: bool) -> Output:
    if not isinstance(one, dict) or one.get("name") not in names:
        name = str(one.get("name"))[:64] if isinstance(one, dict) else "none"
        raise Refusal(400, f"unexpected inference output {name!r}; there are {', '.join(names)}")
    parameters = _parameters(one, one["name"])
    binary = parameters.get("binary_data", binary)
    classes = parameters.get("classification", 0)
    if type(binary) is not bool:
        raise Refusal(400, f"{one['name']}: binary_data: expected true or false")
    if type(classes) is not int or not 0 <= classes <= _MOST_CLASSES:
        raise Refusal(400, f"{one['name']}: classification: expected a number of classes")
    if classes and one["name"] == "default" and len(names) == 1:
        raise Refusal(400, "default: this module has no classifier")
    return Output(name=one["name"], binary=binary, classes=classes)


def answer(
    asked: Asked,
    found: Sequence[Mapping[str, npt.NDArray[np.float32]]],
    *,
    labels: Sequence[str],
    name: str,
    version: str,
) -> tuple[dict[str, object], list[bytes]]:
    """The JSON of an answer, and the tensors behind it.

    Args:
        asked: the request.
        found: of each picture, `default` and, with a classifier, `Logits`.
        labels: names of the classes.
        name: of the module.
        version: of the module.
    """
    tensors: list[bytes] = []
    outputs = []
    for one in asked.outputs:
        source = "Logits" if one.name == "Predictions" else one.name
        values = np.stack([row[source] for row in found])
        if one.name == "Predictions":
            values = softmax(values)
        outputs.append(_tensor(one, values, labels, tensors))
    head: dict[str, object] = {"model_name": name, "model_version": version, "outputs": outputs}
    if asked.id is not None:
        head["id"] = asked.id
    return head, tensors


def _tensor(
    one: Output,
    values: npt.NDArray[np.float32],
    labels: Sequence[str],
    tensors: list[bytes],
) -> dict[str, object]:
    head: dict[str, object] = {"name": one.name}
    if one.classes:
        texts = _classes(values, labels, one.classes)
        head |= {"datatype": "BYTES", "shape": [len(texts), len(texts[0])]}
        flat = [text for row in texts for text in row]
        raw = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in flat)
        data: list[Any] = flat
    else:
        head |= {"datatype": "FP32", "shape": list(values.shape)}
        raw = values.astype("<f4").tobytes() if one.binary else b""
        data = [] if one.binary else values.ravel().tolist()
    if one.binary:
        head["parameters"] = {"binary_data_size": len(raw)}
        tensors.append(raw)
    else:
        head["data"] = data
    return head


def _classes(values: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> list[list[str]]:
    """The likeliest classes as Triton writes them: `value:index:label`."""
    order = np.argsort(-values, axis=1, kind="stable")[:, : min(count, values.shape[1])]
    named = len(labels) == values.shape[1]
    return [
        [f"{row[index]:f}:{index}" + (f":{labels[index]}" if named else "") for index in places]
        for row, places in zip(values, order.tolist(), strict=True)
    ]
