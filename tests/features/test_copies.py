"""Copies: what is one, what is none, which picture stays, and what is printed for xargs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import nasnet
from nasnet.errors import InputError
from nasnet.features.contact_sheet import write_copies
from nasnet.features.feature_set import as_features
from nasnet.features.index import Group
from nasnet.features.signatures import Signed, signed_again
from nasnet.pictures.recipes import RECIPES, prepare
from tests.support.cli import invoke
from tests.support.feature_sets import META
from tests.support.pictures import encoded, pixels

WEIGHTS = "seeded:7"
SMALL = nasnet.EmbedOptions(size=(64, 64))


def test_a_set_without_one_vector_has_no_copies() -> None:
    table = nasnet.embed([("a", b"no picture"), ("b", b"")], weights=WEIGHTS, options=SMALL)
    assert nasnet.near_duplicates(table) == []
    with pytest.raises(InputError, match="read_features gives has no signatures"):
        nasnet.near_duplicates(as_features(table))


def photo(seed: int, height: int = 240, width: int = 320) -> Image.Image:
    """Smooth shapes with details that only this seed has."""
    random = np.random.default_rng([seed, 1])
    fine = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
    coarse = Image.fromarray(pixels(height, width, seed=seed))
    return Image.blend(coarse, fine.resize((width, height), Image.Resampling.BICUBIC), 0.5)


def saved(image: Image.Image, quality: int = 90, **options: object) -> bytes:
    return encoded(image, "JPEG", quality=quality, **options)


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


ONE = photo(1)
FIRST = saved(ONE)
COPIES = {
    "same bytes": FIRST,
    "same pixels": encoded(Image.open(io.BytesIO(FIRST)), "PNG"),
    "re-saved q50": saved(ONE, 50),
    "resized half": saved(ONE.resize((160, 120), Image.Resampling.LANCZOS)),
    "re-saved bright": saved(ImageEnhance.Brightness(ONE).enhance(1.2)),
    "re-saved turned": turned(ONE),
    "re-saved grey": saved(ONE.convert("L")),
    "cropped": saved(ONE.crop((13, 10, 307, 230))),
    "mirrored": saved(ImageOps.mirror(ONE)),
}


def grouped(pictures: dict[str, bytes], level: str = "similar") -> list[Group]:
    return nasnet.near_duplicates(signed(pictures), level=level)  # type: ignore[arg-type]


def signed(pictures: dict[str, bytes]) -> Signed:
    """What a feature set of these pictures says of them, without computing vectors."""
    made = [prepare(data, RECIPES["photo/1"], 224, 224, signed=True) for data in pictures.values()]
    signatures = b"".join(one.signature or b"" for one in made)
    return Signed(
        ids=list(pictures),
        sizes=np.array([(one.width, one.height, one.file_bytes) for one in made], np.int64),
        signatures=np.frombuffer(signatures, np.uint8).reshape(len(made), -1),
        meta=META,
    )


@pytest.mark.parametrize("kind", list(COPIES))
def test_a_copy_is_found_for_what_it_is(kind: str) -> None:
    others = {f"other {seed}": saved(photo(seed)) for seed in range(2, 8)}
    (group,) = grouped({"a": FIRST, "b": COPIES[kind], **others})
    (copy,) = group.copies
    assert {group.stays.id, copy.id} == {"a", "b"}
    assert copy.how in kind
    level = "exact" if "same" in kind else "resized" if kind.startswith("re") else "similar"
    assert copy.level == level
    levels = ["exact", "resized", "similar"]
    for level in levels:
        found = len(grouped({"a": FIRST, "b": COPIES[kind], **others}, level))
        assert found == (levels.index(copy.level) <= levels.index(level))


def test_what_is_only_alike_is_no_copy() -> None:
    """The same ground with another print on it: greys agree, details do not."""
    alike = {}
    for seed in range(6):
        image = Image.fromarray(pixels(240, 320, seed=1))
        image.paste(photo(20 + seed).resize((128, 96)), (96, 72))
        alike[f"{seed}"] = saved(image)
    assert grouped(alike) == []
    flat = {f"{level}": saved(Image.new("L", (64, 48), level)) for level in (10, 90, 200)}
    assert grouped(flat) == []


def test_there_are_no_chains_through_third_pictures() -> None:
    """Each crop is a copy of the one before, not of the first."""
    image = photo(1, 480, 640)
    steps = {
        f"{step}": saved(image.crop((20 * step, 15 * step, 640 - 20 * step, 480 - 15 * step)))
        for step in range(8)
    }
    groups = grouped(steps)
    assert len(groups) > 1
    for group in groups:
        pair = {group.stays.id: steps[group.stays.id]}
        for copy in group.copies:
            (alone,) = grouped({**pair, copy.id: steps[copy.id]})
            assert alone.stays.id == group.stays.id
    ids = [copy.id for group in groups for copy in (group.stays, *group.copies)]
    assert len(ids) == len(set(ids))


def test_the_largest_stays_and_it_is_said_why() -> None:
    half = COPIES["resized half"]
    (group,) = grouped({"a": half, "b": FIRST})
    assert (group.stays.id, group.why) == ("b", "it has the most pixels")
    (group,) = grouped({"a": COPIES["re-saved q50"], "b": FIRST, "c": half})
    assert group.stays.id == "b"
    assert group.why == "its file is the largest of those with the most pixels"
    (group,) = grouped({"b": FIRST, "a": FIRST, "c": half})
    assert (group.stays.id, group.why) == ("a", "the first by name; the others are as large")
    assert [copy.id for copy in group.copies] == ["b", "c"]
    assert (group.stays.width, group.stays.height) == (320, 240)
    assert group.stays.file_bytes == len(FIRST)


def test_levels_and_sets_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="no level 'same'; there are exact, resized, similar"):
        grouped({"a": FIRST}, "same")
    table = nasnet.embed([("a", FIRST)], weights=WEIGHTS, options=SMALL)
    with pytest.raises(InputError, match="no signatures, and its pictures cannot be read"):
        nasnet.near_duplicates(table.drop_columns(["signature", "file_bytes"]))


ODD = [b"a\nb.jpg", b"\xff\xfe.jpg", b"\x1b[31mred.jpg", b"plain.jpg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies under odd names, a link to one, a link out, and a folder that is linked."""
    root = tmp_path_factory.mktemp("copies")
    photos = root / "photos"
    (photos / "real").mkdir(parents=True)
    raw = os.fsencode(photos)
    for name in ODD:
        with open(raw + b"/" + name, "wb") as file:  # noqa: PTH123 - a name of any bytes
            file.write(FIRST)
    for seed in range(2, 5):
        (photos / f"{seed}.jpg").write_bytes(saved(photo(seed)))
    (photos / "real" / "target.jpg").write_bytes(COPIES["re-saved q50"])
    (photos / "link.jpg").symlink_to(photos / "real" / "target.jpg")
    nasnet.embed_to_file(photos, root / "f.parquet", weights=WEIGHTS, options=SMALL)
    return root


def printed(*arguments: str | Path) -> list[bytes]:
    command = [sys.executable, "-m", "nasnet", "dedup", *map(str, arguments), "--print0"]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    assert not out or out.endswith(b"\0")
    return out.split(b"\0")[:-1]


def test_names_of_any_bytes_come_out_as_they_are(folder: Path) -> None:
    photos = os.fsencode(folder / "photos")
    found = printed(folder / "f.parquet")
    assert sorted(found) == sorted(photos + b"/" + name for name in ODD if name != ODD[2])
    assert all(Path(os.fsdecode(name)).is_file() for name in found)


def test_links_and_what_they_lead_to_are_never_listed(folder: Path) -> None:
    said = invoke("dedup", folder / "f.parquet", "--print0")
    assert "target.jpg" not in said.stdout
    assert "link.jpg" not in said.stdout
    assert "not listed: 2 of the copies, which are links" in said.stderr


def test_what_has_changed_is_not_listed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / "p" / name).write_bytes(FIRST)
    file = tmp_path / "f.parquet"
    nasnet.embed_to_file(tmp_path / "p", file, weights=WEIGHTS, options=SMALL)
    (tmp_path / "p" / "b.jpg").write_bytes(FIRST + b"edited")
    assert printed(file) == [os.fsencode(tmp_path / "p" / "c.jpg")]
    (tmp_path / "p" / "a.jpg").unlink()
    assert printed(file) == [], "the one that stays is gone"


def test_copies_that_are_not_to_be_found_are_not_said_to_be_links(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "p" / name).write_bytes(FIRST)
    (tmp_path / "p" / "list.txt").write_text("a.jpg\nb.jpg\n")
    file = tmp_path / "f.parquet"
    nasnet.embed_to_file(tmp_path / "p" / "list.txt", file, weights=WEIGHTS, options=SMALL)
    assert printed(file) == [os.fsencode(tmp_path / "p" / "b.jpg")], "below the list's folder"
    (tmp_path / "p").rename(tmp_path / "q")
    said = invoke("dedup", file, "--print0")
    assert (said.exit_code, said.stdout) == (1, "")
    assert "--source says in which folder they are" in said.stderr
    assert printed(file, "--source", tmp_path / "q") == [os.fsencode(tmp_path / "q" / "b.jpg")]


def test_a_picture_that_was_read_twice_is_not_its_own_copy(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FIRST)
    (tmp_path / "list.txt").write_text("a.jpg\na.jpg\n")
    file = tmp_path / "f.parquet"
    nasnet.embed_to_file(tmp_path / "list.txt", file, weights=WEIGHTS, options=SMALL)
    said = invoke("dedup", file, "--source", tmp_path, "--print0")
    assert said.stdout == ""
    assert "not listed: 1 of the copies" in said.stderr


def test_groups_are_told_to_people_and_programs(folder: Path) -> None:
    said = invoke("dedup", folder / "f.parquet")
    assert said.exit_code == 0
    assert "\x1b" not in said.stdout
    assert "a b.jpg" in said.stdout
    assert len(said.stdout.splitlines()) == 6
    assert "5 of them are copies of another, in 1 group" in said.stderr
    (line,) = invoke("dedup", folder / "f.parquet", "--json").stdout.splitlines()
    told = json.loads(line)
    assert told["stays"]["how"] == "stays"
    assert [one["level"] for one in told["copies"]] == ["exact"] * 3 + ["resized"] * 2
    assert invoke("dedup", folder / "f.parquet", "--json", "--print0").exit_code == 2


def test_a_set_without_signatures_reads_its_pictures_again(folder: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "f.parquet")
    old = folder / "old.parquet"
    pq.write_table(table.drop_columns(["signature", "file_bytes"]), old)
    assert nasnet.near_duplicates(old) == nasnet.near_duplicates(folder / "f.parquet")
    said = invoke("dedup", old, "--source", folder / "nowhere")
    assert said.exit_code == 2
    assert "its pictures cannot be read" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_the_pages_show_groups_side_by_side(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "copies.html"
    assert invoke("dedup", folder / "f.parquet", "--page", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<article") == 1
    assert text.count('src="data:image/jpeg') == 6
    assert "the first by name; the others are as large" in text
    assert "320 x 240" in text
    assert "\x1b" not in text
    page = tmp_path / "outliers.html"
    said = invoke("outliers", folder / "f.parquet", "-n", 2, "--page", page)
    assert len(said.stdout.splitlines()) == 2
    assert page.read_text(encoding="utf-8").count("<article") == 2


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (0, "3 pictures from photos; none of them is a copy of another"),
        (1, "3 pictures from photos; 1 of them is a copy of another, in 1 group"),
    ],
)
def test_a_page_with_one_copy_or_none_says_so_in_words(
    groups: int, told: str, tmp_path: Path
) -> None:
    found = grouped({"a": FIRST, "b": FIRST, "c": saved(photo(2))})[:groups]
    meta = replace(META, source="photos")
    write_copies(found, meta, tmp_path / "p.html", count=3, pictures=[("a", FIRST), ("b", FIRST)])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert f"<p>{told}</p>" in text
    assert ("the picture to keep" in text) == bool(groups), "nothing is explained that is not there"


def test_signatures_made_again_do_not_keep_the_pictures() -> None:
    """Of 64 pictures 10 MB of pixels reach the network, and 33 KB of signatures are wanted."""
    given = {f"{number}": encoded(photo(number, 48, 64), "PNG") for number in range(64)}
    made = signed(given)
    bare = replace(made, signatures=np.zeros_like(made.signatures))
    tracemalloc.start()
    try:
        again = signed_again(bare, list(given.items()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(again.signatures, made.signatures)
    assert peak < 5_000_000
