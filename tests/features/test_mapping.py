"""Maps: places that keep neighbours, groups, and a page that needs nothing from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError
from nasnet.features.feature_set import Features
from nasnet.features.map_page import folders_of, project
from tests.support.browser import browsing, calm, calm_within
from tests.support.cli import invoke
from tests.support.feature_sets import features, with_failures
from tests.support.pictures import jpeg

PCA = nasnet.MapOptions(method="pca", clusters=0)


def two_groups(rows: int = 40) -> Features:
    found = features(rows)
    vectors = 0.05 * found.vectors
    vectors[: rows // 2, 0] += 5
    vectors[rows // 2 :, 1] += 5
    return replace(found, vectors=vectors)


def data_of(page: Path) -> dict[str, list[Any]]:
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    data: dict[str, list[Any]] = json.loads(found)
    return data


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_near_vectors_are_near_on_the_map_and_each_time_alike(method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap")
    options = nasnet.MapOptions(method=method)  # type: ignore[arg-type]
    found = two_groups()
    places = project(found.vectors, options)
    assert places.shape == (40, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert distances[:20, :20].max() < distances[:20, 20:].min() * 1.5
    assert np.array_equal(places, project(found.vectors, options))


def test_a_map_of_two_pictures_and_of_equal_ones(tmp_path: Path) -> None:
    pair = features(2)
    assert nasnet.write_map(pair, tmp_path / "m.html", options=PCA) == 2
    same = replace(pair, vectors=np.ones_like(pair.vectors))
    assert np.isfinite(project(same.vectors, PCA)).all()
    with pytest.raises(InputError, match="a map needs two"):
        nasnet.write_map(with_failures(pair, [1]), tmp_path / "n.html", options=PCA)
    assert not (tmp_path / "n.html").exists()


def test_groups_are_labels_the_largest_first_or_found(tmp_path: Path) -> None:
    found = with_failures(two_groups(), [7])
    labels = {id: "b" if n % 4 else "a" for n, id in enumerate(found.ids[:-1])}
    nasnet.write_map(found, tmp_path / "m.html", labels=labels, options=PCA)
    data = data_of(tmp_path / "m.html")
    assert data["groups"] == ["b", "a", "other"]
    assert len(data["ids"]) == 39
    pytest.importorskip("sklearn")
    options = nasnet.MapOptions(method="pca", clusters=2)
    nasnet.write_map(found, tmp_path / "k.html", options=options)
    group = data_of(tmp_path / "k.html")["group"]
    assert len({*group[:19]}) == len({*group[19:]}) == 1
    assert group[0] != group[-1]
    assert data_of(tmp_path / "k.html")["groups"] == ["group 1", "group 2"]
    assert folders_of(["a/b/c.jpg", "d.jpg"]) == {"a/b/c.jpg": "b", "d.jpg": ""}


def test_a_page_holds_its_pictures_and_no_markup_of_others(tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    evil = "</script><b>@SCRIPT@&.jpg"
    found = replace(features(5), ids=["0.jpg", "1.jpg", "2.jpg", "3.jpg", evil])
    page = tmp_path / "m.html"
    options = replace(PCA, thumbnails=3)
    nasnet.write_map(found, page, pictures=tmp_path, labels={evil: "<i>"}, options=options)
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert not re.search(r"https?://(?!nasnet)", text.replace("http://www.w3.org", ""))
    data = data_of(page)
    assert data["ids"][4] == evil
    wanted = {0, 2, *data["examples"]} - {4}  # evenly spread, one of each group; 4 is no file
    assert {n for n, image in enumerate(data["images"]) if image} == wanted
    assert len(data["examples"]) == 2
    assert f"small pictures of {len(wanted)}" in text
    assert "default-src 'none'" in text


def test_islands_do_not_squeeze_the_rest() -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    vectors[:, 2:] *= 0.05
    vectors[:, 0] += 20  # all but one point the same way
    vectors[0] = [-400, 0, 0, 0, 0, 0, 0, 0]
    places = project(vectors, nasnet.MapOptions(method="pca"))
    spread = np.ptp(np.percentile(places, [5, 95], axis=0), axis=0)
    assert spread.max() > 0.4
    assert places.min() >= 0
    assert places.max() <= 1


def test_it_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("umap")
    told: list[tuple[str, int, int | None]] = []
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(6):
        (pictures / f"{number}.jpg").write_bytes(jpeg(seed=number))
    options = nasnet.EmbedOptions(size=(32, 32))
    nasnet.embed_to_file(pictures, tmp_path / "f.parquet", weights="seeded:7", options=options)
    nasnet.write_map(
        nasnet.read_features(tmp_path / "f.parquet"),
        tmp_path / "m.html",
        pictures=pictures,
        on_step=lambda *step: told.append(step),
    )
    assert capsys.readouterr().err == ""
    nasnet.write_map(tmp_path / "f.parquet", tmp_path / "m2.html", progress=True)
    drawn = capsys.readouterr().err
    assert re.search(r"placing pictures .* 100%", drawn)
    assert re.search(r"finding groups .* 100%", drawn)
    assert told[0] == ("placing 6 pictures by UMAP", 0, None)
    epochs = [step for step in told if step[0] == "placing pictures"]
    assert epochs[-1] == ("placing pictures", 500, 500)
    assert [step[:2] for step in told if step[2] == 6] == [
        ("reading small pictures", n) for n in range(1, 7)
    ]


def test_a_group_is_shown_by_the_picture_in_its_middle(tmp_path: Path) -> None:
    found = two_groups()
    labels = {id: "one" if n < 20 else "two" for n, id in enumerate(found.ids)}
    nasnet.write_map(found, tmp_path / "m.html", labels=labels, options=PCA)
    data = data_of(tmp_path / "m.html")
    assert [data["group"][row] for row in data["examples"]] == [0, 1]
    mine = found.vectors[:20] / np.linalg.norm(found.vectors[:20], axis=1, keepdims=True)
    assert data["examples"][0] == (mine @ mine.mean(axis=0)).argmax()


def test_a_map_is_made_without_tensorflow_and_torch(tmp_path: Path) -> None:
    pytest.importorskip("umap")
    for name in ("tensorflow", "keras", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import sys, numpy, nasnet\n"
        "from nasnet.features.map_page import project\n"
        "project(numpy.eye(20, dtype='float32'), nasnet.MapOptions())\n"
        "assert 'umap' in sys.modules\n"
        "assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_options_that_are_none_are_refused() -> None:
    for wrong in ({"method": "tsne"}, {"neighbours": 1}, {"thumbnail_size": 2}):
        with pytest.raises(InputError):
            nasnet.MapOptions(**wrong)


def test_the_command_draws_by_folder_or_table(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for n in range(4):
        (photos / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        (photos / "ab"[n % 2] / f"{n}.jpg").write_bytes(jpeg(seed=n))
    options = nasnet.EmbedOptions(size=(32, 32))
    file, page = tmp_path / "f.parquet", tmp_path / "m.html"
    nasnet.embed_to_file(photos, file, weights="seeded:7", options=options)
    shared = [str(file), "-o", str(page), "--method", "pca"]
    result = invoke("map", *shared, "--colour", "folder")
    assert result.exit_code == 0, result.output
    assert "placing 4 pictures by PCA\nfinding groups\n" in result.stderr
    refused = invoke("map", *shared)
    assert refused.exit_code == 1
    assert f"{page} exists: name another, or replace it with --overwrite" in refused.stderr
    shared.append("--overwrite")
    assert invoke("map", *shared, "-q").output == ""
    assert data_of(page)["groups"] == ["a", "b"]
    assert invoke("map", *shared).exit_code == 0, "by folder, as there are two"
    assert data_of(page)["groups"] == ["a", "b"]
    assert all(data_of(page)["images"])
    table = tmp_path / "labels.csv"
    table.write_text("id;label\na/0.jpg;été\n", encoding="utf-16")
    assert invoke("map", *shared, "--colour", str(table)).exit_code == 0
    assert data_of(page)["groups"] == ["été", "other"]
    table.write_text("name\n1\n", encoding="utf-8")
    other = tmp_path / "cp1252.csv"
    other.write_text("id,label\na/0.jpg,été\n", encoding="cp1252")
    for wrong in (table, other, tmp_path / "none.csv"):
        refused = invoke("map", *shared, "--colour", str(wrong))
        assert refused.exit_code == 2
        assert str(wrong) in refused.stderr


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A map of forty pictures in two groups, in a browser."""
    folder = tmp_path_factory.mktemp("map")
    found = two_groups()
    labels = {id: "one" if n < 20 else "two & more" for n, id in enumerate(found.ids)}
    nasnet.write_map(found, folder / "m.html", labels=labels, options=PCA)
    with browsing(folder / "profile") as driver:
        driver.get((folder / "m.html").as_uri())
        calm(driver, "document.querySelectorAll('#legend button').length === 2")
        yield driver
        assert [one for one in driver.get_log("browser") if one["level"] == "SEVERE"] == []


def text_of(driver: Any, id: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).innerText", id))


def test_a_browser_draws_it(drawn: Any) -> None:
    names = [one.text for one in drawn.find_elements("css selector", "#legend button")]
    assert names == ["one", "two & more"]
    canvas = "document.getElementById('map')"
    whole = f"0, 0, {canvas}.width, {canvas}.height"
    calm(drawn, f"{canvas}.getContext('2d').getImageData({whole}).data.some(Boolean)")


def test_in_a_frame_there_is_room_for_the_map_itself(drawn: Any, tmp_path: Path) -> None:
    page = drawn.current_url
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe src="{page}" width="320" height="500"></iframe>', encoding="utf-8")
    drawn.get(frame.as_uri())
    calm_within(drawn, "iframe", "document.getElementById('map').offsetHeight >= 300")
    assert not drawn.find_element("css selector", "header").is_displayed()
    drawn.get(page)
    calm(drawn, "document.querySelectorAll('#legend button').length === 2")


def test_arrow_keys_go_from_picture_to_picture(drawn: Any) -> None:
    from selenium.webdriver import Keys

    canvas = drawn.find_element("id", "map")
    seen = set()
    for key in (Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        canvas.send_keys(key)
        seen.add(text_of(drawn, "told"))
        assert text_of(drawn, "caption") == text_of(drawn, "told")
    assert len(seen) > 1
    assert all(re.fullmatch(r".+ \((one|two & more)\)", one) for one in seen)
    canvas.send_keys(Keys.ESCAPE)
    assert not drawn.find_element("id", "card").is_displayed()


def test_a_picture_is_found_by_its_name_unless_its_group_is_off(drawn: Any) -> None:
    field = drawn.find_element("id", "find")
    name = features(40).ids[3]
    field.send_keys(name)
    assert text_of(drawn, "caption") == f"{name} (one)"
    switch = drawn.find_element("css selector", "#legend button")
    switch.click()
    assert switch.get_attribute("aria-pressed") == "false"
    assert not drawn.find_element("id", "card").is_displayed()
    field.submit()
    assert text_of(drawn, "found") == "none"
    switch.click()


def test_pictures_are_picked_by_a_frame_and_their_ids_saved(drawn: Any) -> None:
    from selenium.webdriver import ActionChains

    canvas = drawn.find_element("id", "map")
    save = drawn.find_element("id", "save")
    assert not save.is_displayed()
    drawn.find_element("id", "pick").click()
    size = canvas.size
    chain = ActionChains(drawn).move_to_element_with_offset(canvas, 3 - size["width"] // 2, 0)
    chain.move_to_element_with_offset(canvas, 3 - size["width"] // 2, 3 - size["height"] // 2)
    chain.click_and_hold().move_by_offset(20, 20)
    chain.move_by_offset(size["width"] - 26, size["height"] - 26).release().perform()
    assert save.text == "Save 40 ids"
    drawn.execute_script(
        "window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return '#'; }"
    )
    save.click()
    text = drawn.execute_async_script("saved[0].text().then(arguments[0])")
    assert text.split() == features(40).ids
    drawn.find_element("id", "none").click()
    assert not save.is_displayed()
    drawn.find_element("id", "pick").click()
    canvas.send_keys("+")  # the keyboard's way: the chosen picture, by the space bar
    drawn.find_element("id", "find").clear()
    drawn.find_element("id", "find").send_keys(features(40).ids[3])
    canvas.send_keys(" ")
    assert save.text == "Save 1 id"
    drawn.find_element("id", "none").click()
