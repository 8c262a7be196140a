"""Classes by name: ImageNet's, a fine-tuned head's own, and pictures that have none."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.weights.classes import BACKGROUND, class_names, imagenet_classes
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.weights import Weights, seeded, write_safetensors
from tests.support.cli import invoke
from tests.support.pictures import jpeg, pixels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_the_classes_are_those_of_ilsvrc_in_their_order(mobile: Weights) -> None:
    classes = imagenet_classes()
    ids = [row.wordnet_id for row in classes]
    assert len(ids) == len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert (classes[0].wordnet_id, classes[0].name) == ("n01440764", "tench, Tinca tinca")
    assert ids[217] == "n02102040", "English springer is 217 in every table without background"
    names = class_names(mobile)
    assert (len(names), names[0], names[1]) == (1001, BACKGROUND, classes[0].name)
    assert class_names(replace(mobile, num_classes=1000)) == names[1:]
    assert class_names(replace(mobile, num_classes=2, labels=("cat", "dog"))) == ("cat", "dog")
    assert class_names(replace(mobile, num_classes=3)) == ("class 0", "class 1", "class 2")


def test_guesses_are_the_softmax_of_the_head(photos: Path) -> None:
    options = nasnet.ClassifyOptions(top=3, embed=nasnet.EmbedOptions(size=(64, 64)))
    found = list(nasnet.classify(photos, weights="builtin", options=options))
    assert [one.id for one in found] == ["0.jpg", "1.jpg", "broken.jpg"]
    table = nasnet.embed(
        photos,
        weights="builtin",
        options=nasnet.EmbedOptions(size=(64, 64), endpoint="Predictions"),
    )
    for one, expected in zip(found[:2], table["vector"].to_pylist()[:2], strict=True):
        best = np.argsort(-np.array(expected))[:3]
        assert [guess.index for guess in one.guesses] == best.tolist()
        assert [guess.probability for guess in one.guesses] == pytest.approx(
            [expected[n] for n in best]
        )
    assert found[2].guesses == ()
    assert found[2].error


def test_pictures_in_memory_and_more_classes_than_there_are(tmp_path: Path) -> None:
    arrays = seeded(7, num_classes=3)
    weights = replace(arrays, labels=("a", "b", "c"))
    module = ModuleFolder(weights=weights, task="classification", height=64, width=64)
    write_folder(module, tmp_path / "mine")
    (one,) = nasnet.classify([pixels(80, 80)], weights=str(tmp_path / "mine"))
    assert sorted(guess.name for guess in one.guesses) == ["a", "b", "c"]
    assert sum(guess.probability for guess in one.guesses) == pytest.approx(1, abs=1e-5)


def test_weights_without_a_classifier_are_refused(
    tmp_path: Path, photos: Path, mobile: Weights
) -> None:
    arrays = {n: a for n, a in mobile.arrays.items() if not n.startswith("final_layer")}
    write_safetensors(replace(mobile, arrays=arrays, num_classes=0), tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="has no classifier"):
        nasnet.classify(photos, weights=tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="top starts at 1"):
        nasnet.ClassifyOptions(top=0)


def test_the_command_prints_text_json_or_writes_a_table(tmp_path: Path, photos: Path) -> None:
    shared = [str(photos), "--weights", "builtin", "--size", "64", "-k", "2"]
    (photos / "notes.txt").write_text("x")
    text = invoke("classify", *shared)
    assert text.exit_code == 0, text.output
    assert "weights: builtin (builtin)" in text.output
    assert "note: passed over 1 file that is not called like a picture: 1 .txt" in text.output
    as_json = invoke("classify", *shared, "--json", "-q")
    rows = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [len(row.get("classes", ())) for row in rows] == [2, 2, 0]
    assert rows[2]["error"]
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"labels.{ending}"
        result = invoke("classify", *shared, "-o", str(out), "--strict")
        assert result.exit_code == 1
        assert "3 pictures, 1 failed" in result.output
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == ["0.jpg", "0.jpg", "1.jpg", "1.jpg", "broken.jpg"]
    assert found[0]["name"] == rows[0]["classes"][0]["name"]
    table = pyarrow.parquet.read_table(tmp_path / "labels.parquet")
    assert table["probability"].to_pylist()[0] == pytest.approx(float(found[0]["probability"]))
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 5
    refused = invoke("classify", *shared, "-o", str(tmp_path / "labels.txt"))
    assert refused.exit_code == 2
    assert "a table ends in" in refused.stderr
