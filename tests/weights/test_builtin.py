"""The weights in the package: there without a network, marked as what they are, never mixed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nasnet
from nasnet.errors import InputError, OutputError, WeightsError
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import (
    Weights,
    fingerprint,
    read_card,
    read_safetensors,
    seeded,
    write_safetensors,
)
from tests.support import ROOT
from tests.support.cli import invoke
from tests.support.pictures import jpeg


def test_they_open_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NASNET_OFFLINE", "1")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    opened = open_weights("builtin")
    weights = opened.weights
    assert (weights.spec, weights.num_classes) == ("mobile", 1001)
    assert (weights.source, weights.status) == ("builtin", "builtin")
    assert opened.image_size == (224, 224)
    assert opened.verdict.matched == 0, "not one tensor is Google's"


def test_their_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start of a command waits for it: a second reading is a tenth of the start."""
    read: list[object] = []

    def counted(path: Path) -> Weights:
        read.append(path)
        return read_safetensors(path)

    monkeypatch.setattr("nasnet.weights.opening.read_safetensors", counted)
    assert open_weights("builtin").weights.status == "builtin"
    assert len(read) == 1


def test_their_card_says_what_they_are() -> None:
    card = open_weights("builtin").card
    assert {"name", "data", "teacher", "recipe", "seed", "hardware", "time"} <= card.keys()
    assert "not Google's" in card["origin"]


def test_the_page_about_them_is_about_these() -> None:
    text = (ROOT / "docs" / "builtin.md").read_text(encoding="utf-8")
    assert fingerprint(open_weights("builtin").weights) in text


def test_they_know_a_photograph_by_a_part_of_it() -> None:
    """The upper left and the lower right of a photograph are nearer than those of two others."""
    data = pytest.importorskip("skimage.data")
    names = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")
    parts: list[list[np.ndarray]] = [[], []]
    for name in names:
        image = Image.fromarray(getattr(data, name)())
        width, height = image.size
        across, down = int(0.8 * width), int(0.8 * height)
        boxes = ((0, 0, across, down), (width - across, height - down, width, height))
        for found, box in zip(parts, boxes, strict=True):
            found.append(np.asarray(image.crop(box)))
    options = nasnet.EmbedOptions(size=(224, 224))
    index, queries = (
        nasnet.open_index(nasnet.embed(found, weights="builtin", options=options))
        for found in parts
    )
    rows, _ = index.nearest(queries.vectors(range(len(names))), 1)
    assert rows[:, 0].tolist() == list(range(len(names)))


def test_what_was_exported_from_them_is_still_known_for_them(tmp_path: Path) -> None:
    nasnet.Module("builtin").export(tmp_path / "module")
    assert open_weights(str(tmp_path / "module")).weights.status == "builtin"
    weights = open_weights("builtin").weights
    changed = {name: array + np.float32(1e-3) for name, array in weights.arrays.items()}
    liar = tmp_path / "liar.safetensors"
    write_safetensors(replace(weights, arrays=changed), liar)
    assert open_weights(str(liar)).weights.status == "modified"


def test_vectors_of_other_weights_are_not_added_to_theirs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").write_bytes(jpeg())
    output = tmp_path / "f.parquet"
    nasnet.embed_to_file(tmp_path / "one", output, weights="builtin")
    append = nasnet.EmbedOptions(sink=nasnet.SinkOptions(mode="append"))
    with pytest.raises((InputError, OutputError), match="weights"):
        nasnet.embed_to_file(tmp_path / "two", output, weights="seeded:7", options=append)
    features = nasnet.read_features(output)
    assert features.ids == ["one.jpg"]
    assert features.meta.weights_status == "builtin"


def test_packed_weights_are_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text('name = "mine"\ndata = "äpfel"\n', encoding="utf-8")
    packed = tmp_path / "packed.safetensors"
    arguments = ["pack", "seeded:7", "-o", str(packed), "--card", str(tmp_path / "card.toml")]
    result = invoke("weights", *arguments)
    assert result.exit_code == 0, result.output
    assert packed.stat().st_size < 12e6
    assert read_card(packed) == {"name": "mine", "data": "äpfel"}
    found, full = read_safetensors(packed), seeded(7)
    assert (found.source, found.status) == ("mine", "untrained")
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    a, b = (nasnet.Module(str(path), image_size=(64, 64))(images) for path in (packed, "seeded:7"))
    assert np.allclose(a, b, rtol=0.02, atol=0.02 * float(np.abs(b).mean()))
    for name, array in full.arrays.items():
        if array.ndim == 1:
            assert np.array_equal(found.arrays[name], array), name


@pytest.mark.parametrize(
    ("text", "told"), [("name = 3", "name is not a text"), ("name", "card.toml: no TOML: ")]
)
def test_a_card_that_is_none_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    out = tmp_path / "x.safetensors"
    result = invoke(
        "weights", "pack", "seeded:7", "-o", str(out), "--card", str(tmp_path / "card.toml")
    )
    assert result.exit_code == 2
    assert told in result.stderr
    assert not out.exists()


def test_a_confidence_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for wrong in (2.0, -0.5, float("nan")):
        write_safetensors(replace(seeded(7), min_confidence=wrong), path)
        with pytest.raises(WeightsError, match=r"min_confidence '.*' is not a number from 0 to 1"):
            read_safetensors(path)


def test_inspect_shows_the_card_and_ends_in_one_word() -> None:
    result = invoke("weights", "inspect", "builtin")
    assert result.output.splitlines()[-1] == "builtin"
    assert re.search(r"^card: teacher +\S", result.output, re.MULTILINE)
    as_json = invoke("weights", "inspect", "builtin", "--json")
    assert json.loads(as_json.output)["card"]["name"] == "builtin"


def test_a_damaged_file_has_no_card(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        read_card(tmp_path / "x.safetensors")
