"""The pictures of a set are found again, whatever its source was."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

import nasnet
from nasnet import EmbedOptions, SourceOptions
from nasnet.errors import SourceError
from nasnet.features.feature_set import read_meta
from nasnet.pictures.thumbnails import thumbnails
from tests.support.cli import invoke
from tests.support.pictures import jpeg

SMALL = EmbedOptions(size=(32, 32))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b; c"):
        Path(folder).mkdir()
        for seed in range(3):
            Path(folder, f"{folder[0]}{seed}.jpg").write_bytes(jpeg(seed=seed))
    return tmp_path


def shown(features: str, ids: Sequence[str]) -> list[str]:
    meta = read_meta(features)
    return sorted(thumbnails(meta.source, ids, recipe=meta.recipe, side=16))


def test_those_of_a_list_that_came_on_standard_input(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = io.TextIOWrapper(io.BytesIO(b"a/a0.jpg\na/a1.jpg\na/gone.jpg\n"))
    monkeypatch.setattr("sys.stdin", listed)
    nasnet.embed_to_file("-", "f.parquet", weights="seeded:7", options=SMALL)
    monkeypatch.setattr("sys.stdin", None)  # who reads it would wait for somebody to type
    assert shown("f.parquet", ["a/a0.jpg", "a/a1.jpg", "a/gone.jpg"]) == ["a/a0.jpg", "a/a1.jpg"]
    page = photos / "page.html"
    done = invoke("search", "f.parquet", "--id", "a/a0.jpg", "--page", page)
    assert done.exit_code == 0, done.output
    assert page.read_text().count("data:image/jpeg") >= 2


def test_those_of_shards_and_of_sets_that_were_merged(photos: Path) -> None:
    for number in range(2):
        options = EmbedOptions(size=(32, 32), source=SourceOptions(shard=(number, 2)))
        nasnet.embed_to_file("a", f"{number}.parquet", weights="seeded:7", options=options)
    assert shown("1.parquet", ["a1.jpg", "a2.jpg"]) == ["a1.jpg", "a2.jpg"]
    nasnet.embed_to_file("b; c", "2.parquet", weights="seeded:7", options=SMALL)
    assert shown("2.parquet", ["b1.jpg"]) == ["b1.jpg"]
    Path("b; c").rename("b")
    nasnet.embed_to_file("b", "3.parquet", weights="seeded:7", options=SMALL)
    nasnet.merge(["1.parquet", "3.parquet"], "both.parquet")
    assert shown("both.parquet", ["a2.jpg", "b1.jpg", "none.jpg"]) == ["a2.jpg", "b1.jpg"]
    assert invoke("outliers", "both.parquet", "--page", "o.html").exit_code == 0
    Path("b").rename("elsewhere")
    with pytest.raises(SourceError, match="b: no such file or folder; --source says where"):
        shown("both.parquet", ["a2.jpg"])
