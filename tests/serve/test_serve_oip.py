"""The Open Inference Protocol v2, spoken by Triton's own client where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.pictures.recipes import get_recipe, prepare
from nasnet.serve import ModelChoice, ServeOptions
from tests.support import pictures
from tests.support.serving import Serving

JPEGS = [pictures.jpeg(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def service() -> Iterator[Serving]:
    options = ServeOptions(models=(ModelChoice(handle="seeded:7", name="nasnet"),), port=0)
    with Serving(options) as running:
        yield running
        assert running.faults() == []


@pytest.fixture(scope="module")
def images() -> Any:
    recipe = get_recipe("photo")
    return np.stack([prepare(data, recipe, 224, 224).pixels for data in JPEGS])


@pytest.fixture(scope="module")
def expected(images: Any) -> Any:
    return nasnet.Module("seeded:7")(images)


def close(found: Any, expected: Any) -> bool:
    return np.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("datatype", ["FP32", "UINT8", "BYTES"])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_the_modules_vectors(
    service: Serving, images: Any, expected: Any, datatype: str, packing: str | None, binary: bool
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    values = {
        "FP32": images.astype(np.float32) / 255,
        "UINT8": images,
        "BYTES": np.array(JPEGS, object),
    }[datatype]
    tensor = triton.InferInput("images", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary or datatype == "BYTES")
    found = client.infer(
        "nasnet",
        [tensor],
        outputs=[triton.InferRequestedOutput("default", binary_data=binary)],
        request_id="mine",
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    client.close()
    assert close(found.as_numpy("default"), expected)
    assert found.get_response()["id"] == "mine"
    assert found.get_response()["model_version"] == "1"


def test_tritons_client_sees_health_metadata_and_classes(service: Serving, images: Any) -> None:
    triton = pytest.importorskip("tritonclient.http")
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("nasnet")
    assert client.is_model_ready("nasnet", "1")
    assert not client.is_model_ready("nasnet", "2")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    about = client.get_model_metadata("nasnet")
    assert about["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 224, 224, 3]}]
    assert [one["name"] for one in about["outputs"]] == ["default", "Logits", "Predictions"]

    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    found = client.infer("nasnet", [tensor])
    assert set(found.get_response()["outputs"][0]) == {"name", "datatype", "shape", "parameters"}
    shares = found.as_numpy("Predictions")
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    asked = triton.InferRequestedOutput("Predictions", class_count=2)
    classes = client.infer("nasnet", [tensor], outputs=[asked]).as_numpy("Predictions")
    assert classes.shape == (3, 2)
    value, index, label = classes[0, 0].decode().split(":")
    assert int(index) == int(np.argmax(shares[0]))
    assert float(value) == pytest.approx(float(shares[0].max()), abs=1e-5)
    assert label
    with pytest.raises(InferenceServerException, match="unknown model"):
        client.infer("other", [tensor])
    client.close()


def infer(service: Serving, tensor: object, **more: object) -> Any:
    return service.post("/v2/models/nasnet/infer", {"inputs": [tensor], **more})


def test_json_alone_will_do(service: Serving, images: Any, expected: Any) -> None:
    import base64

    text = [base64.b64encode(data).decode() for data in JPEGS]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [3], "data": text}
    outputs = infer(service, tensor, outputs=[{"name": "default"}]).json["outputs"]
    assert outputs[0]["shape"] == [3, 1056]
    assert close(np.reshape(outputs[0]["data"], (3, 1056)), expected)
    nested = {
        "name": "images",
        "datatype": "UINT8",
        "shape": [1, 224, 224, 3],
        "data": images[:1].tolist(),
    }
    outputs = infer(service, nested, outputs=[{"name": "default"}]).json["outputs"]
    assert close(outputs[0]["data"], expected[0])


GOOD = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["aGFsbG8="]}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "inputs"),
        ({"inputs": [GOOD, GOOD]}, 400, "the one input"),
        ({"inputs": [{**GOOD, "name": "x"}]}, 400, "unexpected inference input"),
        ({"inputs": [{**GOOD, "shape": [-1]}]}, 400, "shape"),
        ({"inputs": [{**GOOD, "shape": [True]}]}, 400, "shape"),
        ({"inputs": [{**GOOD, "shape": [10**9]}]}, 413, "64 at most"),
        ({"inputs": [{**GOOD, "shape": [2]}]}, 400, "shape says 2"),
        ({"inputs": [{**GOOD, "datatype": "INT64"}]}, 400, "datatype"),
        ({"inputs": [{**GOOD, "data": [3]}]}, 400, "base64"),
        ({"inputs": [{**GOOD, "parameters": 3}]}, 400, "parameters"),
        ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 8}}]}, 400, "binary_data_size"),
        ({"inputs": [{**GOOD, "datatype": "FP32"}]}, 400, "expected [pictures, 224, 224, 3]"),
        ({"inputs": [GOOD]}, 400, "images[0]: not a picture"),
        ({"inputs": [GOOD], "id": 3}, 400, "id"),
        ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, 400, "unexpected inference output"),
        (
            {
                "inputs": [
                    {"name": "images", "datatype": "UINT8", "shape": [1, 224, 224, 3], "data": [1]}
                ]
            },
            400,
            "150528 numbers",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_told_why(
    service: Serving, body: object, status: int, text: str
) -> None:
    answer = service.post("/v2/models/nasnet/infer", body)
    assert (answer.status, text in answer.error) == (status, True), answer.error


@pytest.mark.parametrize(
    "length", ["-1", "x", "99999999999999999999", "1e3", "10000"], ids=lambda text: text[:8]
)
def test_a_length_of_json_that_is_none_is_refused(service: Serving, length: str) -> None:
    body = json.dumps({"inputs": [GOOD]}).encode()
    answer = service.post("/v2/models/nasnet/infer", body, Inference_Header_Content_Length=length)
    assert answer.status == 400
    assert "Inference-Header-Content-Length" in answer.error


def test_lengths_in_binary_bytes_are_not_trusted(service: Serving) -> None:
    for raw in (b"\xff\xff\xff\xff", b"\1\0", b"\0\0\0\0" * 3, b"\5\0\0\0abc"):
        tensor = {
            "name": "images",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"binary_data_size": len(raw)},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        answer = service.post(
            "/v2/models/nasnet/infer",
            head + raw,
            Inference_Header_Content_Length=str(len(head)),
        )
        assert answer.status == 400, answer.data
