"""A folder of pictures that is computed beside the service, and what the page is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import nasnet
from nasnet.errors import InputError, SourceError
from nasnet.features.store import Batch
from nasnet.serve import ModelChoice, ServeOptions, photos as photos_module, serve
from nasnet.serve.service import open_service
from nasnet.weights import weights
from tests.support import pictures
from tests.support.serving import PATIENT, Serving

SEEDED = ModelChoice(handle="seeded:7", name="nasnet")
JPEGS = [pictures.jpeg(seed=seed) for seed in range(3)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(JPEGS[0])
    return folder


def options_of(photos: Path, model: ModelChoice = SEEDED) -> ServeOptions:
    cache = nasnet.FetchOptions(cache_dir=photos.parent / "cache")
    return ServeOptions(models=(model,), port=0, photos=photos, fetch=cache)


def settled(service: Serving, there: Callable[[Any], bool] | None = None) -> Any:
    """The collection once nothing changes any more, or something holds."""
    there = there or (lambda one: one["state"] in ("done", "failed"))
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        found = service.get("/collection").json
        if there(found):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def ids(service: Serving) -> Any:
    return service.get("/collection/rows").json["ids"]


def sets(photos: Path) -> list[Path]:
    return sorted((photos.parent / "cache" / "photos").glob("*.parquet"))


def test_new_pictures_are_added_and_those_that_are_gone_left_out(photos: Path) -> None:
    with Serving(options_of(photos), early=True) as service:
        assert settled(service)["rows"] == 1
        assert service.get("/info").json["index"] == {"rows": 1}
    (photos / "1.jpg").write_bytes(JPEGS[1])
    with Serving(options_of(photos), early=True) as service:
        assert settled(service)["rows"] == 2
        assert ids(service) == ["0.jpg", "1.jpg"]
    (photos / "0.jpg").unlink()
    (photos / "2.jpg").write_bytes(b"no picture")
    with Serving(options_of(photos), early=True) as service:
        found = settled(service)
        assert (found["rows"], found["done"], found["failures"]) == (1, 2, 1)
        assert (
            "not a picture (1)" in found["problem"].replace("text", "picture") or found["problem"]
        )
        assert ids(service) == ["1.jpg"]
    assert nasnet.open_index(sets(photos)[0]).ids == ["1.jpg"]
    (photos / "1.jpg").unlink()
    with Serving(options_of(photos), early=True) as service:
        found = settled(service)
        assert found["state"] == "failed"
        assert found["problem"].startswith("of its 1 pictures none can be read: not a picture")
        assert service.post("/search", JPEGS[0]).status == 404
        assert service.post("/embed", JPEGS[0]).status == 200


def test_a_folder_has_a_set_for_each_weights_even_at_one_path(photos: Path) -> None:
    mine = photos.parent / "mine.safetensors"
    options = options_of(photos, ModelChoice(handle=str(mine)))
    made = []
    for seed in (7, 8, 7):
        weights.write_safetensors(weights.seeded(seed), mine)
        spec = nasnet.load_module_spec(mine)
        meta = nasnet.Extractor(spec).meta("photos")
        made.append(photos_module.Photos(spec, meta, 1056, options).output)
    assert made[0] == made[2] != made[1]


class Gate:
    """Holds a folder's computing after its first rows, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        real = nasnet.embed_to_file

        def held(*args: Any, on_batch: Callable[[Batch], None], **kwargs: Any) -> Any:
            def on_rows(batch: Batch) -> None:
                on_batch(batch)
                self.reached.set()
                assert self.opened.wait(PATIENT)

            return real(*args, on_batch=on_rows, **kwargs)

        monkeypatch.setattr(photos_module, "embed_to_file", held)
        monkeypatch.setattr(photos_module, "_BETWEEN", 0.0)


@pytest.fixture
def many(photos: Path) -> Path:
    """More pictures than come in the first rows."""
    for number in range(1, 150):
        (photos / f"{number}.jpg").write_bytes(JPEGS[number % 3])
    return photos


def test_what_is_done_can_be_searched_already(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    with Serving(options_of(many), early=True) as service:
        assert gate.reached.wait(PATIENT)
        found = settled(service, lambda one: one["rows"] > 0)
        assert found["state"] == "computing"
        assert 0 < found["rows"] == found["done"] < found["total"] == 150
        assert found["copies"] is False
        # The gallery waits for no vector.
        assert service.get("/collection/rows").json["rows"] == 150
        near = service.post("/search?k=1", JPEGS[0]).json["results"][0]["neighbours"]
        assert near[0]["id"] in ids(service)
        assert near[0]["score"] == pytest.approx(1, abs=1e-4)
        text = service.get("/metrics").data.decode()
        assert f"nasnet_index_rows {found['rows']:.1f}" in text
        assert f"nasnet_photos_done {found['done']:.1f}" in text
        gate.opened.set()


def test_what_was_computed_before_a_stop_is_there_at_once(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        gate = Gate(patch)
        with Serving(options_of(many), early=True) as service:
            assert gate.reached.wait(PATIENT)
            real = photos_module.Photos.close

            def close(self: photos_module.Photos) -> None:
                self._stopping.set()
                gate.opened.set()
                real(self)

            patch.setattr(photos_module.Photos, "close", close)
            service.stop()
    kept = len(nasnet.open_index(sets(many)[0]))
    assert 0 < kept < 150
    with Serving(options_of(many), early=True) as service:
        first = settled(service, lambda one: one["state"] != "reading")
        assert first["rows"] >= kept


@pytest.fixture
def collection(photos: Path) -> Iterator[Serving]:
    (photos / "a copy.jpg").write_bytes(JPEGS[0])
    (photos / "other.jpg").write_bytes(JPEGS[1])
    with Serving(options_of(photos), early=True) as service:
        settled(service)
        yield service
        assert service.faults() == []


def test_the_page_is_told_of_near_pictures_copies_and_a_map(collection: Serving) -> None:
    assert ids(collection) == ["0.jpg", "a copy.jpg", "other.jpg"]
    assert collection.get("/collection/rows?start=1&step=1&count=1").json["ids"] == ["a copy.jpg"]
    assert collection.get("/collection/rows?step=2").json["ids"] == ["0.jpg", "other.jpg"]
    near = collection.get(f"/neighbours?k=2&id={quote('a copy.jpg')}").json["neighbours"]
    assert [one["id"] for one in near] == ["0.jpg", "other.jpg"]
    assert near[0]["score"] == pytest.approx(1, abs=1e-4)
    assert collection.get("/neighbours?id=nothing").status == 404
    found = collection.get("/copies").json
    assert (found["groups"], found["copies"]) == (1, 1)
    (group,) = found["shown"]
    assert (group["stays"]["id"], group["copies"][0]["id"]) == ("0.jpg", "a copy.jpg")
    assert group["copies"][0]["how"] == "same bytes"
    settled(collection, lambda one: one["map"] == "there")
    page = collection.get("/map")
    assert page.status == 200
    assert b"a copy.jpg" in page.data
    assert "sandbox" in page.headers["content-security-policy"]


def test_a_folder_is_looked_at_before_anything_is_served(photos: Path) -> None:
    with pytest.raises(InputError, match="give it alone"):
        ServeOptions(photos=photos, pictures=photos)
    (photos / "0.jpg").unlink()
    with pytest.raises(SourceError, match="no pictures"):
        serve(options_of(photos))


def test_an_index_alone_shows_its_pictures_to_this_machine(photos: Path) -> None:
    """Its folder need not be named a second time; what is not in the index is not shown."""
    nasnet.embed_to_file(photos, photos.parent / "f.parquet", weights="seeded:7")
    (photos / "later.jpg").write_bytes(JPEGS[1])
    options = ServeOptions(models=(SEEDED,), port=0, index=photos.parent / "f.parquet")
    with Serving(options, early=True) as service:
        assert service.get("/collection").json["pictures"]
        assert service.get("/info").json["pictures"]
        assert service.get("/picture?id=0.jpg").status == 200
        assert service.get("/picture?id=later.jpg").status == 404
    beyond = replace(options, host="0.0.0.0", api_key="a long one", port=0)
    with closing(open_service(beyond)) as opened:
        assert opened.folder is None, "a file of somebody else may name any folder"
    proxied = replace(options, allowed_hosts=("photos.example",), port=0)
    with closing(open_service(proxied)) as opened:
        assert opened.folder is None, "others come by a proxy on this machine"
