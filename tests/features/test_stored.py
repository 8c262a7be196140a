"""Vectors from elsewhere: explained, compared, taken over, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError, OutputError
from tests.support.cli import invoke
from tests.support.pictures import jpeg


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, and what a TF1 program would have stored of it."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "photos").mkdir()
    for seed in range(4):
        (folder / "photos" / f"{seed}.jpg").write_bytes(jpeg(90, 120 + 30 * seed, seed=seed))
    with nasnet.Extractor("seeded:7", recipe="tf1-hub") as extractor:
        vectors = extractor.embed(folder / "photos")
    np.save(folder / "old.npy", vectors.astype(np.float64))
    (folder / "ids.txt").write_text("0.jpg\n1.jpg\n2.jpg\n3.jpg\n", encoding="utf-16")
    return folder


def test_the_recipe_that_made_them_is_found(old: Path) -> None:
    done = invoke("check-vectors", old / "old.npy", "--source", old / "photos", "-w", "seeded:7",
               "--count", "2")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "yes: --recipe tf1-hub/1 --padding slim made these vectors"
    assert lines[2].split() == ["tf1-hub/1", "slim", "1.000000", "1.000000"]
    assert len(lines) == 2 + len(nasnet.RECIPES) * 2


def test_no_recipe_explains_vectors_of_other_weights(old: Path) -> None:
    stored = nasnet.read_stored(old / "old.npy")
    best, *_ = nasnet.find_recipe(
        stored, old / "photos", "seeded:8", recipes=("tf1-hub",), paddings=("slim",), count=1
    )
    assert best.smallest < 0.99


def test_adopted_vectors_are_a_feature_set_like_any_other(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    done = invoke("adopt", old / "old.npy", "--ids", old / "ids.txt", "--recipe", "tf1-hub",
               "-w", "seeded:7", "--source", old / "photos", "-o", out)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "checked on 4 pictures: smallest cosine 1.000000" in done.stderr
    options = nasnet.EmbedOptions(recipe="tf1-hub", sink=nasnet.SinkOptions(mode="append"))
    (old / "photos" / "4.jpg").write_bytes(jpeg(seed=4))
    try:
        summary = nasnet.embed_to_file(old / "photos", out, weights="seeded:7", options=options)
    finally:
        (old / "photos" / "4.jpg").unlink()
    assert summary.rows == 5
    found = nasnet.read_features(out)
    assert found.ids == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    np.testing.assert_allclose(found.vectors[:4], np.load(old / "old.npy"), rtol=1e-6)


def test_vectors_that_do_not_fit_the_pictures_are_refused(old: Path, tmp_path: Path) -> None:
    stored = nasnet.read_stored(old / "old.npy", ids=old / "ids.txt")
    out = tmp_path / "x.parquet"
    with pytest.raises(InputError, match=r"not of these weights and recipe.*nasnet check-vectors"):
        nasnet.adopt(stored, out, weights="seeded:7", recipe="cadene-eval", pictures=old / "photos")
    short = nasnet.Stored(name="short", ids=["a"], vectors=np.ones((1, 7), np.float32), meta=None)
    with pytest.raises(InputError, match="give 1056"):
        nasnet.adopt(short, out, weights="seeded:7", recipe="photo")
    broken = stored.vectors.copy()
    broken[2, 5] = np.nan
    holed = nasnet.Stored(name="holed", ids=stored.ids, vectors=broken, meta=None)
    with pytest.raises(InputError, match=r"row 2 \(2\.jpg\) is not a vector"):
        nasnet.adopt(holed, out, weights="seeded:7", recipe="tf1-hub")
    assert not list(tmp_path.iterdir())
    nasnet.adopt(stored, out, weights="seeded:7", recipe="tf1-hub")
    with pytest.raises(OutputError, match="exists"):
        nasnet.adopt(stored, out, weights="seeded:7", recipe="tf1-hub")


def test_ids_must_be_as_many_as_rows(old: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"has 2 lines, and .*old\.npy 4 vectors"):
        nasnet.read_stored(old / "old.npy", ids=tmp_path / "ids.txt")


def test_only_line_feeds_end_an_id(old: Path, tmp_path: Path) -> None:
    names = ["a\u2028b.jpg", "c\x0cd.jpg", "e\x85f.jpg", "g.jpg"]
    for end in ("\n", "\r\n"):
        (tmp_path / "ids.txt").write_bytes("".join(name + end for name in names).encode())
        assert nasnet.read_stored(old / "old.npy", ids=tmp_path / "ids.txt").ids == names


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda v: v, "yes: the same weights and the same pixels"),
        (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True), "yes, but for their lengths"),
        (lambda v: np.concatenate([v[:3], v[:1]]), "no: most are the same"),
        (lambda v: v * (1 + 0.3 * np.cos(np.arange(v.shape[1]))), "no: perhaps the same"),
        (lambda v: np.random.default_rng(0).random(v.shape), "no: other weights"),
    ],
)
def test_a_comparison_answers_in_words(old: Path, change: object, verdict: str) -> None:
    stored = nasnet.read_stored(old / "old.npy")
    assert callable(change)
    other = nasnet.Stored(
        name="b", ids=None, vectors=np.asarray(change(stored.vectors), np.float32), meta=None
    )
    found = nasnet.check_vectors(stored, other)
    assert found.verdict.startswith(verdict), (found.smallest, found.median)
    assert found.same == verdict.startswith("yes")


def test_sets_are_matched_by_id_and_say_what_differs(tmp_path: Path) -> None:
    sets = {}
    for name, recipe, seeds in (("a", "photo", (1, 2)), ("b", "cadene-eval", (2, 1, 3))):
        options = nasnet.EmbedOptions(recipe=recipe, size=(64, 64))
        given = [(f"{seed}", jpeg(seed=seed)) for seed in seeds]
        sets[name] = tmp_path / f"{name}.parquet"
        nasnet.embed_to_file(given, sets[name], weights="seeded:7", options=options)
    quiet = invoke("check-vectors", sets["a"], sets["b"], "-q")
    assert (quiet.exit_code, quiet.output) == (1, "")
    done = invoke("check-vectors", sets["a"], sets["b"])
    assert done.exit_code == 1
    assert done.stdout.startswith("no: ")
    assert "2 pictures: smallest cosine" in done.stdout
    assert "not compared: 0 of the first, 1 of the second" in done.stdout
    assert "recipe: photo/1, and cadene-eval/1" in done.stdout
