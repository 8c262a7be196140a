"""The page of nearest pictures: exact neighbours, and nothing on it but what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.features.contact_sheet import mosaic, write_contact_sheet
from nasnet.features.signatures import read_signed
from tests.support.browser import PHONE, WIDE, browsing
from tests.support.cli import invoke
from tests.support.pictures import jpeg


def folder(path: Path, count: int = 5) -> Path:
    path.mkdir()
    for seed in range(count):
        (path / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    return path


def test_the_command_writes_a_page_that_needs_nothing_from_outside(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures")
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "<b>&'.jpg").write_bytes(jpeg(seed=9))
    page = tmp_path / "near.html"
    arguments = ["embed", str(pictures), "-o", str(tmp_path / "f.parquet"), "--page", str(page)]
    result = invoke("embed", *arguments[1:], "--weights", "seeded:7")
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count("<article ") == 6, "the broken one has no vector"
    assert len(re.findall('src="data:image/jpeg;base64,', text)) == 6 + 6 * 5 + 6
    linked = re.findall('<a href="#(row-[0-9]+)"', text)
    assert sorted(linked) == sorted(re.findall('<article id="(row-[0-9]+)"', text))
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;&#39;.jpg" in text
    assert "broken" not in text
    assert "untrained: which pictures are near means nothing" in text
    assert not re.search(r"(src|href)=.https?:", text)
    assert "Content-Security-Policy" in text


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_names_of_any_length_fit_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = folder(tmp_path / "pictures", 0)
    for seed in range(5):
        (pictures / f"{'a long name ' * 12}{seed}.jpg").write_bytes(jpeg(seed=seed))
    nasnet.embed_to_file(pictures, tmp_path / "f.parquet", weights="seeded:7")
    write_contact_sheet(nasnet.read_features(tmp_path / "f.parquet"), pictures, tmp_path / "p.html")
    with browsing(tmp_path / "profile", size=size) as driver:
        driver.get((tmp_path / "p.html").as_uri())
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_only_some_of_many_pictures_are_shown(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 7)
    nasnet.embed_to_file(pictures, tmp_path / "f.parquet", weights="seeded:7")
    features = nasnet.read_features(tmp_path / "f.parquet")
    page = tmp_path / "p.html"
    assert write_contact_sheet(features, pictures, page, count=3, neighbours=2) == 3
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert [f"nearest to {n}.jpg" in text for n in range(7)] == [n in (0, 3, 6) for n in range(7)]
    assert text.count("<li>") == 6


def test_one_picture_has_a_page_and_none_has_not(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 1)
    output, page = tmp_path / "f.parquet", tmp_path / "p.html"
    asked = ("embed", pictures, "-o", output, "--weights", "seeded:7", "--page", page)
    one = invoke(*asked)
    assert (one.exit_code, page.exists()) == (0, True), one.stderr
    assert f"{page}: 1 picture\n" in one.stderr
    (pictures / "0.jpg").write_bytes(b"")
    none = invoke(*asked[:-1], tmp_path / "q.html", "--overwrite")
    assert none.exit_code == 1
    assert "q.html is not written: no picture has a vector" in none.stderr
    assert not (tmp_path / "q.html").exists()


def test_pictures_that_went_are_blanks(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 3)
    nasnet.embed_to_file(pictures, tmp_path / "f.parquet", weights="seeded:7")
    (pictures / "1.jpg").write_bytes(b"")
    features = nasnet.read_features(tmp_path / "f.parquet")
    write_contact_sheet(features, pictures, tmp_path / "p.html")
    assert (tmp_path / "p.html").read_text(encoding="utf-8").count("not readable") == 3


@pytest.mark.parametrize("count", [2, 5, 36, 84])
def test_like_pictures_lie_together_in_the_grid(count: int) -> None:
    random = np.random.default_rng(0)
    scene = np.arange(count) % 6
    centres = random.normal(size=(6, 64))
    vectors = (centres[scene] + 0.2 * random.normal(size=(count, 64))).astype(np.float32)
    columns, order = mosaic(vectors)
    assert sorted(order) == list(range(count))
    assert mosaic(vectors) == (columns, order)
    assert columns * (columns - 1) < 2.2 * count, "about as wide as a screen"
    if count < 36:
        return
    placed = scene[order]
    beside = placed[:-1] == placed[1:]
    below = placed[:-columns] == placed[columns:]
    assert (beside.mean() + below.mean()) / 2 > 0.5  # by chance a sixth


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["-", "--page", "p.html"], 2, "cannot be read a second time"),
        ([".", "--page", "no/such/p.html"], 1, "no folder no/such"),
    ],
)
def test_a_page_that_cannot_be_is_told_before_anything_is_computed(
    arguments: list[str], status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("embed", "-o", "f.parquet", *arguments)
    assert result.exit_code == status
    assert told in result.output
    assert not (tmp_path / "f.parquet").exists()


def test_copies_are_marked_on_the_page_that_embed_writes(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 3)
    (pictures / "again.jpg").write_bytes((pictures / "1.jpg").read_bytes())
    page = tmp_path / "p.html"
    result = invoke(
        "embed", str(pictures), "-o", str(tmp_path / "f.parquet"), "-w", "seeded:7",
        "--page", str(page),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count('<b class="copy">copy</b>') == 2, "in the row of each of the two"
    assert '<a href="#copies">Copies (1)</a>' in text
    (groups,) = re.findall('<ul class="groups">(.*?)</ul>', text, re.DOTALL)
    assert set(re.findall('<figcaption title="([^"]+)">', groups)) == {"1.jpg", "again.jpg"}
    assert ">same bytes<" in groups


def test_the_first_page_shows_other_views_of_the_same_scene(tmp_path: Path) -> None:
    """What a newcomer sees who runs the first command of the README, looked up in the page."""
    pytest.importorskip("skimage")
    page = tmp_path / "p.html"
    result = invoke(
        "embed", "samples:", "-o", str(tmp_path / "f.parquet"), "-w", "builtin", "--page", str(page)
    )
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    rows = [
        [id.partition("/")[0] for id in re.findall('<figcaption title="([^"]+)">', row)]
        for row in re.findall("<article .*?</article>", text, re.DOTALL)
    ]
    assert len(rows) == 60
    first = [row[1] == row[0] for row in rows]
    every = [scene == row[0] for row in rows for scene in row[1:]]
    assert sum(first) >= 0.9 * len(first)
    assert sum(every) >= 0.9 * len(every) == 0.9 * 5 * 60
    assert '<a href="#copies">Copies (28)</a>' in text
    assert 'class="warn"' not in text, "which weights these are is told in the footer"
    assert "builtin, not Google&#39;s" in text[text.index("<footer>") :]


def test_of_a_large_set_only_copies_on_the_page_are_looked_for(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 0)
    for number in range(120):
        (pictures / f"{number}.jpg").write_bytes(jpeg(seed=1))
    options = nasnet.EmbedOptions(size=(48, 48))
    nasnet.embed_to_file(pictures, tmp_path / "f.parquet", weights="seeded:7", options=options)
    features = nasnet.read_features(tmp_path / "f.parquet")
    signed, page = read_signed(tmp_path / "f.parquet"), tmp_path / "p.html"
    write_contact_sheet(features, pictures, page, count=3, neighbours=2, signed=signed)
    text = " ".join(page.read_text(encoding="utf-8").split())
    shown = set(re.findall("[0-9]+[.]jpg", text))
    assert 96 <= len(shown) < 120
    assert f"On this page there are {len(shown) - 1};" in text
