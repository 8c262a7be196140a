"""OpenAI's embeddings route, and pages of other web sites that call the service."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.serve import Limits, ModelChoice, ServeOptions
from tests.support import pictures
from tests.support.serving import Serving

JPEGS = [pictures.jpeg(seed=seed) for seed in range(2)]
TEXTS = [base64.b64encode(data).decode() for data in JPEGS]
SITE = "https://photos.example"
KEY = "a key of eight"


@pytest.fixture(scope="module")
def service() -> Iterator[Serving]:
    options = ServeOptions(
        models=(ModelChoice(handle="seeded:7", name="nasnet"),),
        port=0,
        api_key=KEY,
        cors_origin=(SITE,),
        limits=Limits(pictures=4),
    )
    with Serving(options) as running:
        yield running
        assert running.faults() == []


def asked(service: Serving, body: object, key: str = KEY) -> Any:
    return service.post("/v1/embeddings", body, Authorization=f"Bearer {key}")


def test_vectors_come_as_numbers_or_packed_in_the_order_of_the_input(service: Serving) -> None:
    found = nasnet.embed([JPEGS[0], JPEGS[1]], weights="seeded:7")["vector"].to_pylist()
    urls = [f"data:image/jpeg;base64,{text}" for text in TEXTS]
    plain = asked(service, {"model": "nasnet", "input": urls, "user": "me"}).json
    assert plain["object"] == "list"
    assert plain["model"] == "nasnet"
    assert plain["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert [one["index"] for one in plain["data"]] == [0, 1]
    vectors = [one["embedding"] for one in plain["data"]]
    assert np.allclose(vectors, found, rtol=1e-4, atol=1e-5)
    packed = asked(service, {"input": TEXTS, "encoding_format": "base64", "dimensions": 1056}).json
    unpacked = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed["data"]]
    assert np.allclose(unpacked, vectors, rtol=1e-4, atol=1e-5)
    single = asked(service, {"input": TEXTS[1]}).json
    assert np.allclose(single["data"][0]["embedding"], vectors[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"model": "nasnet"}, 400, "input", "expected a picture as a data URL or in base64"),
        ({"input": []}, 400, "input", "a list of such strings"),
        ({"input": "a photo of a cat"}, 400, "input", "expected a picture as a data URL"),
        ({"input": [[1, 2, 3]]}, 400, "input", "input[0]: expected a picture"),
        ({"input": [1, 2, 3]}, 400, "input", "tokens are no pictures"),
        ({"input": list(range(500))}, 400, "input", "expected a picture"),
        ({"input": "https://x.example/cat.jpg"}, 400, "input", "downloads nothing"),
        ({"input": "data:image/jpeg,abc"}, 400, "input", ";base64,"),
        ({"input": [TEXTS[0], "aGVsbG8="]}, 400, "input", "input[1]: "),
        ({"input": TEXTS * 3}, 413, "input", "6 pictures, 4 at most"),
        ({"input": TEXTS, "model": "other"}, 404, "model", "'other' does not exist"),
        ({"input": TEXTS, "model": 3}, 400, "model", "expected a string"),
        ({"input": TEXTS, "dimensions": 256}, 400, "dimensions", "1056"),
        ({"input": TEXTS, "encoding_format": "npy"}, 400, "encoding_format", "float or base64"),
        ({"input": TEXTS, "inptu": 1}, 400, "inptu", "unknown field 'inptu'"),
        (b"{", 400, None, "no JSON"),
    ],
)
def test_what_does_not_fit_is_refused_in_openais_form(
    service: Serving, body: object, status: int, param: str | None, told: str
) -> None:
    answer = asked(service, body)
    error = answer.json["error"]
    assert (answer.status, error["param"]) == (status, param)
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == ("model_not_found" if status == 404 else None)


def test_a_wrong_key_and_a_wrong_method_are_told_in_openais_form(service: Serving) -> None:
    answer = asked(service, {"input": TEXTS[0]}, key="another key")
    assert answer.status == 401
    assert answer.json["error"]["code"] == "invalid_api_key"
    answer = service.get("/v1/embeddings", Authorization=f"Bearer {KEY}")
    assert answer.status == 405
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_models_are_listed_beside_tensorflow_servings_of_one(service: Serving) -> None:
    listed = service.get("/v1/models", Authorization=f"Bearer {KEY}").json
    assert [one["id"] for one in listed["data"]] == ["nasnet"]
    one = service.get("/v1/models/nasnet", Authorization=f"Bearer {KEY}").json
    assert one["model_version_status"][0]["state"] == "AVAILABLE"


def test_pages_of_a_site_that_is_named_may_call_and_others_may_not(service: Serving) -> None:
    asking = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-a"}
    before = service.ask("OPTIONS", "/v1/embeddings", headers={"Origin": SITE, **asking})
    assert before.status == 200
    assert before.headers["access-control-allow-origin"] == SITE
    assert "x-a" in before.headers["access-control-allow-headers"]
    body = json.dumps({"input": TEXTS[0]}).encode()
    headers = {"Origin": SITE, "Authorization": f"Bearer {KEY}"}
    answer = service.ask("POST", "/v1/embeddings", body, headers)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, SITE)
    # A page can read why it is refused, too.
    answer = service.ask("POST", "/v1/embeddings", body, {"Origin": SITE})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, SITE)
    other = {"Origin": "https://other.example"}
    assert service.ask("OPTIONS", "/embed", headers={**other, **asking}).status == 400
    answer = service.ask("POST", "/embed", JPEGS[0], {**headers, **other})
    assert answer.status == 403
    assert "--cors-origin" in answer.error
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("*", "give an API key"),
        ("photos.example", "write it as browsers do"),
        ("https://photos.example/", "a slash at the end"),
        ("https://photos.example/app", "without a path"),
    ],
)
def test_an_origin_that_would_never_match_or_match_all_is_refused(origin: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        ServeOptions(cors_origin=(origin,))
    assert ServeOptions(cors_origin=("*",), api_key=KEY).cors_origin == ("*",)
