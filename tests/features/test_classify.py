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
from nasnet import ClassifyOptions, EmbedOptions, EngineOptions
from nasnet.errors import InputError
from nasnet.features.embed import EmbedEvent
from nasnet.features.label_table import classify_to_file
from nasnet.train.head import with_head
from nasnet.weights.classes import BACKGROUND, class_names, imagenet_classes
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.weights import Weights, read_safetensors, seeded, write_safetensors
from tests.support.cli import invoke
from tests.support.heads import blank_head
from tests.support.pictures import jpeg, pixels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def stopped(photos: Path, out: Path, *, after: int) -> ClassifyOptions:
    """Stop a run after so many pictures; gives what it was asked."""

    def stop(event: EmbedEvent) -> None:
        if event.done == after:
            raise KeyboardInterrupt

    one_by_one = EngineOptions(batch_size=1, threads=1)
    options = ClassifyOptions(top=1, embed=EmbedOptions(size=(64, 64), engine=one_by_one))
    with pytest.raises(KeyboardInterrupt):
        classify_to_file(photos, out, weights="builtin", options=options, on_event=stop)
    return options


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


def test_a_name_is_told_from_the_confidence_that_the_weights_say(
    tmp_path: Path, photos: Path
) -> None:
    """All numbers stay in JSON and tables; the text names nothing that is less probable."""
    arrays = dict(seeded(7, num_classes=3).arrays)
    arrays["final_layer/FC/weights"] = np.zeros_like(arrays["final_layer/FC/weights"])
    arrays["final_layer/FC/biases"] = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    named = replace(seeded(7, num_classes=3), arrays=arrays, labels=("a", "b", "c"))
    write_safetensors(named, tmp_path / "said.safetensors")
    packed = tmp_path / "packed.safetensors"
    said = ["pack", str(tmp_path / "said.safetensors"), "-o", str(packed)]
    assert invoke("weights", *said, "--min-confidence", "0.65").exit_code == 0
    assert "min confidence       0.65" in invoke("weights", "inspect", str(packed)).output
    shared = [str(photos / "0.jpg"), "-w", str(packed), "--size", "64"]
    text = invoke("classify", *shared)
    assert "  not sure: no class has 65%, the first has 60%\n" in text.stdout
    assert "1 of 1 pictures have no class at or above 65%; --min-confidence 0" in text.stderr
    (one,) = nasnet.classify(photos / "0.jpg", weights=packed)
    assert not one.sure
    assert len(one.guesses) == 3
    row = json.loads(invoke("classify", *shared, "--json").stdout)
    assert [each["sure"] for each in row["classes"]] == [False] * 3
    half = invoke("classify", *shared, "--min-confidence", "0.25")
    assert half.stdout.endswith("0.jpg\n   60.0%  a\n   30.0%  b\n")
    every = invoke("classify", *shared, "--min-confidence", "0")
    assert "   10.0%  c\n" in every.stdout
    out = tmp_path / "labels.csv"
    invoke("classify", *shared, "--min-confidence", "0.5", "-o", str(out))
    with out.open(newline="", encoding="utf-8") as file:
        assert [row["sure"] for row in csv.DictReader(file)] == ["True", "False", "False"]
    assert invoke("classify", *shared, "--min-confidence", "2").exit_code == 2
    # A new classifier on the same trunk has not been measured.
    head = blank_head(1056)
    assert with_head(read_safetensors(packed), head, ("x", "y"), source="s").min_confidence == 0


def test_builtin_calls_coins_no_golf_ball() -> None:
    """What a newcomer saw first: a label with 60 % that is plainly wrong."""
    data = pytest.importorskip("skimage.data")
    (one,) = nasnet.classify([data.coins()], weights="builtin")
    assert one.guesses[0].name == "golf ball"
    assert not one.sure


def test_a_temperature_divides_the_logits(tmp_path: Path, photos: Path) -> None:
    packed = tmp_path / "packed.safetensors"
    assert (
        invoke("weights", "pack", "builtin", "-o", str(packed), "--temperature", "2").exit_code == 0
    )
    options = nasnet.EmbedOptions(size=(64, 64), endpoint="Logits")
    was, now = (
        np.array(nasnet.embed(photos / "0.jpg", weights=w, options=options)["vector"].to_pylist())
        for w in ("builtin", packed)
    )
    assert np.allclose(now, was / 2, atol=0.02)
    refused = invoke("weights", "pack", "builtin", "-o", str(packed), "--temperature", "0")
    assert refused.exit_code == 2


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
    assert "weights: builtin\n" in text.output
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


def test_a_table_that_was_stopped_continues_and_is_the_same(tmp_path: Path, photos: Path) -> None:
    shared = ["-w", "builtin", "--size", "64", "-k", "2", "-o"]
    whole, out = tmp_path / "whole.csv", tmp_path / "labels.csv"
    assert invoke("classify", str(photos), *shared, str(whole)).exit_code == 0

    options = stopped(photos, out, after=2)
    assert not out.exists()
    done = invoke("classify", str(photos), *shared, str(out))
    assert done.exit_code == 0, done.output
    assert "continued after 2 pictures of an earlier run" in done.output
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "photos", "whole.csv"]
    # Killed between the last picture and the table.
    out.unlink()
    asked = replace(options.embed, endpoint="Predictions")
    between = tmp_path / "labels.csv.probabilities.parquet"
    nasnet.embed_to_file(photos, between, weights="builtin", options=asked)
    again = invoke("classify", str(photos), *shared, str(out))
    assert "continued after 2 pictures of an earlier run" in again.output  # one cannot be read
    assert out.read_bytes() == whole.read_bytes()
    assert not between.exists()


def test_what_is_left_of_a_table_is_of_its_source_as_it_is_now(
    tmp_path: Path, photos: Path
) -> None:
    """Rows of another folder, or of pictures that are gone, stood in the table."""
    out, asked = tmp_path / "labels.csv", ("-w", "builtin", "--size", "64", "-k", "1", "-o")
    options = EmbedOptions(size=(64, 64), endpoint="Predictions")
    between = tmp_path / "labels.csv.probabilities.parquet"
    nasnet.embed_to_file(photos, between, weights="builtin", options=options)
    others = tmp_path / "others"
    others.mkdir()
    (others / "5.jpg").write_bytes(jpeg(seed=5))
    refused = invoke("classify", others, *asked, out)
    assert refused.exit_code == 1, refused.output
    assert f"was made with source {photos}, this run has {others}" in refused.stderr
    assert not out.exists()
    (photos / "0.jpg").unlink()
    (photos / "1.jpg").write_bytes(jpeg(seed=5))
    assert invoke("classify", photos, *asked, out).exit_code == 0
    alone = tmp_path / "alone.csv"
    assert invoke("classify", photos, *asked, alone).exit_code == 0
    assert sorted(out.read_text().splitlines()) == sorted(alone.read_text().splitlines())
    # Stopped in the middle: a picture that came first costs none of those that are done.
    out.unlink()

    stopped(photos, out, after=1)
    (photos / "0.jpg").write_bytes(jpeg(seed=3))
    done = invoke("classify", photos, *asked, out)
    assert done.exit_code == 0, done.output
    assert "continued after 1 pictures" in done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert sorted(ids) == ["0.jpg", "1.jpg", "broken.jpg"]


def test_a_source_that_is_not_there_is_told_before_weights_are_asked_for(tmp_path: Path) -> None:
    done = invoke("classify", str(tmp_path / "nowhere"), "-w", "no/such/weights")
    assert f"{tmp_path / 'nowhere'}: no such file or folder" in done.stderr


def test_a_shard_is_classified_once_cut(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture")
    done = invoke("classify", str(tmp_path), "-w", "seeded:7", "--shard", "1/2", "--json")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["2.jpg", "3.jpg"]
