"""The service's plain routes, TensorFlow Serving's REST, keys and names; over real sockets."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.pictures.recipes import get_recipe, prepare
from nasnet.pictures.sources import open_source
from nasnet.serve import Limits, ModelChoice, ServeOptions, serve
from nasnet.weights import weights
from nasnet.weights.module_folder import ModuleFolder, write_folder
from tests.support import ROOT, pictures
from tests.support.serving import Serving, form

SEEDED = ModelChoice(handle="seeded:7", name="nasnet")
JPEGS = [pictures.jpeg(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def module() -> nasnet.Module:
    return nasnet.Module("seeded:7")


@pytest.fixture(scope="module")
def expected(module: nasnet.Module) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    recipe = get_recipe("photo")
    images = np.stack([prepare(data, recipe, 224, 224).pixels for data in JPEGS])
    return np.asarray(module(images))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, data in enumerate(JPEGS):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder.parent / "secret.jpg").write_bytes(JPEGS[0])
    (folder / "map.html").write_text("<!doctype html><title>map</title>", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Serving]:
    index_file = folder.parent / "features.parquet"
    nasnet.embed_to_file(folder, index_file, weights="seeded:7")
    options = ServeOptions(
        models=(SEEDED, ModelChoice(handle="seeded:8", name="other")),
        port=0,
        index=index_file,
        pictures=folder,
        map=folder / "map.html",
    )
    with Serving(options) as running:
        yield running
        assert running.faults() == []


def close(found: object, expected: object) -> bool:
    return np.allclose(np.asarray(found), np.asarray(expected), rtol=1e-4, atol=1e-5)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def test_a_tensorflow_serving_client_gets_the_modules_vectors(
    service: Serving, module: nasnet.Module, expected: object
) -> None:
    def predict(request: object) -> dict[str, object]:
        """Written from the documented request format alone."""
        url = service.url + "/v1/models/nasnet:predict"
        data = json.dumps(request).encode()
        with urllib.request.urlopen(url, data=data) as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found

    images = np.random.default_rng(0).random((2, 224, 224, 3)).astype(np.float32)
    vectors = module(images)
    assert close(predict({"instances": images.tolist()})["predictions"], vectors)
    rows = [{"images": image.tolist()} for image in images]
    request = {"signature_name": "serving_default", "instances": rows}
    assert close(predict(request)["predictions"], vectors)
    assert close(predict({"inputs": {"images": images.tolist()}})["outputs"], vectors)
    assert close(predict({"instances": [b64(data) for data in JPEGS]})["predictions"], expected)
    encoded = {"inputs": {"images": [b64(data) for data in JPEGS]}}
    assert close(predict(encoded)["outputs"], expected)


def test_a_signature_with_several_outputs_names_them(
    service: Serving, module: nasnet.Module
) -> None:
    request = {"signature_name": "image_feature_vector", "instances": [b64(JPEGS[0])]}
    row = service.post("/v1/models/nasnet/versions/1:predict", request).json["predictions"][0]
    outputs = module.get_output_info_dict("image_feature_vector")
    assert set(row) == set(outputs)
    for key, info in outputs.items():
        assert np.shape(row[key]) == info.shape[1:]
    many = {"signature_name": "image_feature_vector", "instances": [b64(JPEGS[0])] * 9}
    assert service.post("/v1/models/nasnet:predict", many).status == 413


def test_status_and_metadata_look_like_tensorflow_servings(service: Serving) -> None:
    assert service.get("/v1/models/nasnet").json == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    found = service.get("/v1/models/nasnet/versions/1/metadata").json
    assert found["model_spec"] == {"name": "nasnet", "signature_name": "", "version": "1"}
    main = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert main["method_name"] == "tensorflow/serving/predict"
    assert main["inputs"]["images"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in ("-1", "224", "224", "3")],
            "unknown_rank": False,
        },
        "name": "images:0",
    }


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/models/half:predict", 404, "Servable not found for request: Latest(half)"),
        ("/v1/models/nasnet/versions/9:predict", 404, "Specific(nasnet, 9)"),
        ("/v2/models/half/infer", 404, "unknown model"),
    ],
)
def test_what_is_not_there_is_said(service: Serving, path: str, status: int, text: str) -> None:
    answer = service.post(path, {"instances": [1.0]})
    assert answer.status == status
    assert text in answer.error


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "no JSON"),
        ([1], "expected a JSON object"),
        ({}, "either 'instances'"),
        ({"instances": [], "inputs": []}, "either 'instances'"),
        ({"instances": []}, "one at least"),
        ({"instances": 3}, "expected a list"),
        ({"instances": ["text"]}, "instances[0]"),
        ({"instances": [{"b64": "!"}]}, "no base64"),
        ({"instances": [{"b64": "aGFsbG8="}]}, "instances[0]: not a picture"),
        ({"instances": [{"other": []}]}, "the one input 'images'"),
        ({"instances": [[[1, 2], [3]]]}, "expected [224, 224, 3]"),
        ({"instances": [np.full((224, 224, 3), 255).tolist()]}, "looks like 0..255"),
        ({"instances": [[[["0"] * 3] * 224] * 224]}, "something else"),
        ({"instances": [[[[10**400, 0, 0]] + [[0, 0, 0]] * 223] + [[[0, 0, 0]] * 224] * 223]}, ""),
        ({"instances": [[[[float("nan")] * 3] * 224] * 224]}, "not a finite number"),
        ({"signature_name": "train", "instances": [1]}, "not found"),
        ({"signature_name": 3, "instances": [1]}, "expected a string"),
    ],
)
def test_a_request_that_does_not_fit_is_told_why(service: Serving, body: object, text: str) -> None:
    answer = service.post("/v1/models/nasnet:predict", body)
    assert answer.status == 400
    assert text in answer.error


def test_embed_takes_a_file_or_a_form_and_gives_three_formats(
    service: Serving, expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    one = service.post("/embed", JPEGS[0], Content_Type="image/jpeg").json
    assert one["weights_status"] == "untrained"
    assert one["recipe"] == "photo/1"
    assert close(one["results"][0]["vector"], expected[0])
    assert (one["results"][0]["width"], one["results"][0]["height"]) == (80, 60)

    body, kind = form(*JPEGS, b"no picture")
    rows = service.post("/embed?format=json", body, Content_Type=kind).json["results"]
    assert [row["id"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [row["error"] for row in rows] == [None, None, None, "not a picture (text)"]
    assert close([row["vector"] for row in rows[:3]], expected)

    answer = service.post("/embed", body, Content_Type=kind, Accept="application/x-npy")
    vectors = np.load(io.BytesIO(answer.data))
    assert close(vectors[:3], expected)
    assert np.isnan(vectors[3]).all()

    answer = service.post("/embed?format=arrow", body, Content_Type=kind)
    table = pyarrow.ipc.open_stream(answer.data).read_all()
    assert table.column_names == ["id", "vector", "width", "height", "error"]
    assert table["vector"].null_count == 1


def test_a_module_that_classifies_gives_vectors_in_every_format(tmp_path: Path) -> None:
    tuned = weights.seeded(7, num_classes=10)
    folder = ModuleFolder(weights=tuned, task="classification", height=224, width=224)
    write_folder(folder, tmp_path / "tuned")
    choice = ModelChoice(handle=str(tmp_path / "tuned"), name="tuned")
    body, kind = form(*JPEGS[:2])
    with Serving(ServeOptions(models=(choice,), port=0)) as running:
        rows = running.post("/embed", body, Content_Type=kind).json["results"]
        array = running.post("/embed?format=npy", body, Content_Type=kind)
        table = running.post("/embed?format=arrow", body, Content_Type=kind)
        similar = running.post("/similarity", body, Content_Type=kind)
        about = running.get("/v2/models/tuned").json
        assert running.faults() == []
    vectors = np.array([row["vector"] for row in rows])
    assert vectors.shape == (2, 1056)
    assert close(np.load(io.BytesIO(array.data)), vectors)
    found = pyarrow.ipc.open_stream(table.data).read_all()["vector"].to_pylist()
    assert close(found, vectors)
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors, axis=1).prod()
    assert similar.json["cosine"] == pytest.approx(cosine, abs=1e-5)
    assert about["outputs"][0] == {"name": "default", "datatype": "FP32", "shape": [-1, 10]}


def test_a_body_may_be_packed(service: Serving, expected: object) -> None:
    packed = gzip.compress(json.dumps({"instances": [b64(JPEGS[0])]}).encode())
    answer = service.post("/v1/models/nasnet:predict", packed, Content_Encoding="gzip")
    assert close(answer.json["predictions"], np.asarray(expected)[:1])


def test_another_module_is_called_by_name(service: Serving, expected: object) -> None:
    other = service.post("/embed?model=other", JPEGS[0]).json
    assert other["model"] == "other"
    assert not close(other["results"][0]["vector"], np.asarray(expected)[0])
    assert service.post("/embed?model=third", JPEGS[0]).status == 404


def test_classify_gives_the_likeliest_first(service: Serving, module: nasnet.Module) -> None:
    rows = service.post("/classify?top=3", JPEGS[0]).json["results"]
    shares = [one["probability"] for one in rows[0]["classes"]]
    image = prepare(JPEGS[0], get_recipe("photo"), 224, 224).pixels[None]
    logits = nasnet.compute.engine.run(module.engine, image, ("Logits",))["Logits"][0]
    assert rows[0]["classes"][0]["index"] == int(np.argmax(logits))
    assert shares == sorted(shares, reverse=True)
    assert len(service.post("/classify?top=1001", JPEGS[0]).json["results"][0]["classes"]) == 1001


def test_search_finds_the_picture_itself_first(service: Serving) -> None:
    for number, data in enumerate(JPEGS):
        nearest = service.post("/search?k=2", data).json["results"][0]["neighbours"]
        assert nearest[0]["id"] == f"{number}.jpg"
        assert nearest[0]["score"] == pytest.approx(1.0, abs=1e-4)
        assert len(nearest) == 2


def test_an_index_of_other_vectors_is_refused(folder: Path) -> None:
    options = ServeOptions(
        models=(ModelChoice(handle="seeded:8"),), port=0, index=folder.parent / "features.parquet"
    )
    with pytest.raises(InputError, match="cannot be compared: weights fingerprint"):
        serve(options)


def test_similarity_of_a_picture_with_itself_is_one(service: Serving) -> None:
    body, kind = form(JPEGS[0], JPEGS[0])
    same = service.post("/similarity", body, Content_Type=kind).json
    assert same["cosine"] == pytest.approx(1.0, abs=1e-5)
    body, kind = form(JPEGS[0], JPEGS[1])
    assert service.post("/similarity", body, Content_Type=kind).json["cosine"] < 0.9999
    body, kind = form(JPEGS[0])
    assert service.post("/similarity", body, Content_Type=kind).status == 400


def test_small_pictures_come_from_the_folder_only(service: Serving) -> None:
    answer = service.get("/picture?id=1.jpg")
    assert answer.status == 200
    assert answer.data.startswith(b"\xff\xd8\xff")
    for id in ("../secret.jpg", "..%2Fsecret.jpg", "/etc/passwd", "map.html", "", "a%00b", "."):
        assert service.get(f"/picture?id={id}").status in (400, 404), id


def test_pictures_that_were_indexed_are_shown_whatever_they_are_called(
    service: Serving, folder: Path
) -> None:
    (folder / ".hidden.jpg").write_bytes(JPEGS[0])
    (folder / "linked.jpg").symlink_to(folder.parent / "secret.jpg")
    try:
        (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEGS[0])
    except OSError:
        pytest.skip("this file system has Unicode names only")
    listed = [item.id for item in open_source(folder)]
    assert {"linked.jpg", r"caf\xe9.jpg"} <= set(listed)
    for id in listed:
        assert service.get(f"/picture?id={quote(id)}").status == 200, id
    assert service.get("/picture?id=.hidden.jpg").status == 404


def test_a_map_that_is_gone_is_not_found(tmp_path: Path) -> None:
    options = ServeOptions(models=(SEEDED,), port=0, map=tmp_path / "gone.html")
    with Serving(options) as service:
        answer = service.get("/map")
        assert (answer.status, answer.error) == (
            404,
            "the map cannot be read: No such file or directory",
        )
        assert service.faults() == []


def test_head_is_get_without_the_body(service: Serving) -> None:
    for path in ("/", "/healthz", "/info", "/docs"):
        answer = service.ask("HEAD", path)
        assert (answer.status, answer.data) == (200, b"")
        assert answer.headers["content-length"] == service.get(path).headers["content-length"]
    assert service.ask("HEAD", "/embed").status == 405


def test_the_map_may_reach_nothing(service: Serving) -> None:
    answer = service.get("/map")
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy


def test_health_counters_and_docs(service: Serving) -> None:
    service.post("/embed", JPEGS[0])
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert service.get(path).status == 200
    text = service.get("/metrics").data.decode()
    assert 'nasnet_requests_total{method="POST",route="/embed",status="200"}' in text
    assert 'nasnet_pictures_total{model="nasnet",outcome="computed"}' in text
    assert 'nasnet_pictures_waiting{model="nasnet"} 0.0' in text
    assert "nasnet_request_bytes 0.0" in text
    page = service.get("/docs").data.decode()
    assert "/v2/models/{name}/infer" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert service.get("/openapi.json").json["openapi"].startswith("3.")


def test_every_answer_is_guarded_against_use_by_other_sites(service: Serving) -> None:
    headers = service.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert service.get("/info", Host="evil.example").status == 421
    assert service.post("/embed", JPEGS[0], Origin="https://evil.example").status == 403
    assert service.post("/embed", JPEGS[0], Origin=service.url).status == 200


def test_a_key_is_asked_for_where_there_is_one() -> None:
    options = ServeOptions(
        models=(SEEDED,), port=0, api_key="open sesame", limits=Limits(body_bytes=100_000)
    )
    with Serving(options) as service:
        for path in ("/", "/healthz", "/v2/health/live", "/assets/page.js"):
            assert service.get(path).status == 200, path
        for path in ("/info", "/metrics", "/openapi.json", "/docs", "/v1/models/nasnet"):
            assert service.get(path).status == 401, path
        assert service.post("/embed", JPEGS[0]).status == 401
        assert service.post("/embed", JPEGS[0], X_API_Key="open sesam").status == 401
        assert service.post("/embed", JPEGS[0], X_API_Key="open sesame").status == 200
        assert service.get("/info", Authorization="Bearer open sesame").status == 200
        answer = service.post("/session", b"", Authorization="Bearer open sesame")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "open" not in cookie.lower().replace("httponly", "")
        assert service.get("/info", Cookie=cookie.partition(";")[0]).status == 200
        assert service.post("/embed", b"x" * 100_001, X_API_Key="open sesame").status == 413


def test_it_does_not_listen_to_the_world_by_accident() -> None:
    with pytest.raises(InputError, match="API key"):
        ServeOptions(host="0.0.0.0")
    assert ServeOptions(host="0.0.0.0", api_key="long enough").host == "0.0.0.0"
    assert ServeOptions(host="0.0.0.0", allow_anyone=True).api_key is None
    with pytest.raises(InputError, match="8 ASCII characters"):
        ServeOptions(api_key="short")
    with pytest.raises(InputError, match="cannot be a module's name"):
        ModelChoice(name="a/b")


def test_a_taken_port_is_said_before_anything_is_loaded(service: Serving) -> None:
    options = ServeOptions(models=(ModelChoice(handle="seeded:no"),), port=service.port)
    with pytest.raises(InputError, match="--port 0"):
        serve(options)


@pytest.mark.parametrize(
    "command",
    re.findall(r"^curl .*", (ROOT / "docs/serve.md").read_text(), re.M),
)
def test_the_documented_commands_work(service: Serving, command: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("no curl and bash")
    for name, data in zip(("cat.jpg", "dog.jpg"), JPEGS, strict=False):
        (tmp_path / name).write_bytes(data)
    line = command.replace("http://127.0.0.1:8000", service.url).replace("nasnet_mobile", "nasnet")
    assert line != command
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout or np.load(tmp_path / "vectors.npy").shape == (2, 1056)
