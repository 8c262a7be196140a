"""The service within what columns say, and by the names of classes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pyarrow as pa
import pytest

import nasnet
from nasnet.features.feature_set import as_features
from nasnet.features.index import classifier_of
from nasnet.serve import ModelChoice, ServeOptions
from nasnet.weights.opening import open_weights
from tests.support.pictures import jpeg
from tests.support.serving import Serving

JPEGS = [jpeg(seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("columns")
    pictures = ((f"{'ab'[number % 2]}/{number}.jpg", data) for number, data in enumerate(JPEGS))
    table = nasnet.embed(pictures, weights="seeded:7")
    for name, values in {"price": [1.5, 20, None, 30], "brand": ["x", "y", "x", "it's"]}.items():
        table = table.append_column(name, pa.array(values))
    nasnet.build_index(as_features(table), folder / "i")
    options = ServeOptions(models=(ModelChoice(handle="seeded:7"),), port=0, index=folder / "i")
    with Serving(options) as running:
        yield running
        assert running.faults() == []


def test_what_is_found_fits_the_condition_and_has_its_columns(service: Serving) -> None:
    told = service.get("/collection").json
    assert told["columns"] == ["price", "brand"]
    assert told["labels"]
    query = urlencode({"where": "price < 25 and folder = 'b'", "k": 3})
    (found,) = service.post(f"/search?{query}", JPEGS[0]).json["results"]
    assert [(one["id"], one["columns"]) for one in found["neighbours"]] == [
        ("b/1.jpg", {"price": 20.0, "brand": "y"})
    ]
    query = urlencode({"id": "a/0.jpg", "where": "brand = 'x'"})
    near = service.get(f"/neighbours?{query}").json["neighbours"]
    assert [(one["id"], one["columns"]["price"]) for one in near] == [("a/2.jpg", None)]
    query = urlencode({"where": "price is not null and not brand = 'y'", "count": 1, "start": 1})
    found = service.get(f"/collection/rows?{query}").json
    assert found == {"rows": 2, "ids": ["b/3.jpg"]}


def test_a_class_is_found_by_its_name(service: Serving) -> None:
    query = urlencode({"label": "Golden Retriever", "k": 2, "where": "folder = 'a'"})
    found = service.get(f"/neighbours?{query}").json
    assert found["id"] == "golden retriever"
    assert {one["id"] for one in found["neighbours"]} == {"a/0.jpg", "a/2.jpg"}
    classifier = classifier_of(open_weights("seeded:7").weights)
    assert 0 < found["neighbours"][0]["score"] < 1
    assert classifier.place("golden retriever") == 208
    answer = service.get("/neighbours?label=retriver")
    assert answer.status == 404
    assert "near it: flat-coated retriever" in answer.json["error"]


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("/collection/rows?where=prize+%3C+2", 400, "no column 'prize'; there are id (string)"),
        ("/neighbours?id=a/0.jpg&where=price", 400, "price is double: write one of"),
        ("/neighbours?id=a/0.jpg&label=dog", 400, "expected id or label, one of them"),
        ("/neighbours", 400, "expected id or label, one of them"),
    ],
)
def test_a_wrong_question_is_answered_in_a_line(
    service: Serving, path: str, status: int, why: str
) -> None:
    answer = service.get(path)
    assert answer.status == status
    assert why in answer.json["error"]
    assert service.post("/search?where=prize+%3C+2", JPEGS[0]).status == 400
