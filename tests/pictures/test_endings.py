"""What can be decoded is what is found, wherever pictures are looked for by their names."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from PIL import Image, features

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.decode import Decoding, decode, recognise
from nasnet.pictures.decode.endings import READ, UNREAD
from nasnet.pictures.sources import open_dataset, open_source
from tests.support import ROOT
from tests.support.pictures import encoded, pixels

# Ours -> Pillow's.
CODECS = {"JPEG 2000": "JPEG2000", "PNM": "PPM", "HEIF": "HEIF"}
ENDINGS = [ending for endings in (*READ.values(), *UNREAD.values()) for ending in endings]
OTHERS = {"a.txt": b"x", "b.TXT": b"x", "c.json": b"{}", "Makefile": b"x", ".hidden": b"x"}
PASSED = "passed over 4 files that are not called like a picture: 2 .txt, 1 .json, 1 without ending"


def in_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def in_tar(root: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(root / "t.tar", "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return root / "t.tar"


def in_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "t.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root / "t.zip"


PLACES = {"folder": in_folder, "tar": in_tar, "zip": in_zip}
Place = Callable[[Path, dict[str, bytes]], Path]


def an_example(name: str) -> bytes:
    """A file of a format."""
    if name == "QOI":  # Pillow 11 reads it only: 2 x 1 pixels, both told in full
        return (
            b"qoif"
            + bytes([0, 0, 0, 2, 0, 0, 0, 1, 3, 0])
            + b"\xfe\x10\x20\x30" * 2
            + bytes([0, 0, 0, 0, 0, 0, 0, 1])
        )
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    return encoded(Image.fromarray(pixels(32, 32)), CODECS.get(name, name))


@pytest.mark.parametrize("name", READ)
def test_every_format_that_decodes_is_found_under_all_its_names(name: str, tmp_path: Path) -> None:
    data = an_example(name)
    assert decode(data, Decoding(), target=(8, 8)).pixels.shape[2] == 3
    files = {f"{ending[1:]}{ending.upper()}": data for ending in READ[name]}
    for item in open_source(in_folder(tmp_path, files)):
        assert item.read() == data
        del files[item.id]
    assert not files


def test_no_format_decodes_whose_names_are_not_known() -> None:
    read = {found.name for found in vars(recognise).values() if isinstance(found, recognise.Format)}
    assert read | {found.name for _, found in recognise._STARTS} == set(READ)
    assert len(ENDINGS) == len(set(ENDINGS))


def test_the_docs_list_the_endings_that_are_read() -> None:
    text = (ROOT / "docs" / "embed.md").read_text("utf-8").split("Endings that count")[1]
    said = re.findall(r"`(\.\w+)`", text[: text.index("Camera raw")])
    assert said == [ending for endings in READ.values() for ending in endings]


def test_class_folders_of_any_format_can_be_trained_on(tmp_path: Path) -> None:
    data = an_example("PNM")
    in_folder(tmp_path, {f"{name}/{n}.ppm": data for name in ("cat", "dog") for n in range(3)})
    assert open_dataset(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_pictures_that_are_not_read_are_rows_with_the_reason(place: Place, tmp_path: Path) -> None:
    picture = Image.fromarray(pixels())
    files = {  # a camera's raw file of the shape of TIFF begins with a small preview
        "IMG_1.NEF": (encoded(picture, "TIFF", tiffinfo={254: 1}), "a camera raw file"),
        "IMG_2.dng": (encoded(picture, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "camera raw"),
        "a.tga": (encoded(picture, "TGA"), "TGA; convert it to JPEG, PNG or TIFF"),
        "b.jxl": (b"\xff\x0a" + bytes(99), "JPEG XL; convert it to JPEG"),
        "c.psd": (b"8BPS" + bytes(99), "PSD"),
    }
    items = list(open_source(place(tmp_path, {name: data for name, (data, _) in files.items()})))
    assert [item.id for item in items] == list(files)
    for item in items:
        with pytest.raises(PictureError, match=files[item.id][1]):
            decode(item.read(), Decoding(), target=(8, 8))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_is_passed_over_is_counted_by_its_ending(place: Place, tmp_path: Path) -> None:
    source = open_source(place(tmp_path, {"1.jpg": b"x", **OTHERS}))
    for _ in range(2):
        assert [item.id for item in source] == ["1.jpg"]
        assert source.notes == (f"{PASSED} (--all-files takes them)",)


def test_a_pattern_and_a_far_folder_count_them_too(tmp_path: Path) -> None:
    files = {"1.jpg": b"x", **OTHERS}
    pattern = str(in_folder(tmp_path, files) / "*")
    far = fsspec.filesystem("memory")
    far.pipe({f"/endings/{name}": data for name, data in files.items()})
    for source in (pattern, "memory://endings"):
        assert open_source(source).notes == (f"{PASSED} (--all-files takes them)",)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(SourceError, match=f"4 matches none looks like a picture; {PASSED}"):
        open_source(pattern)


def test_a_folder_without_pictures_says_what_is_in_it(tmp_path: Path) -> None:
    in_folder(tmp_path, OTHERS)
    with pytest.raises(SourceError, match=f"no pictures .* in it; {PASSED}"):
        open_source(tmp_path)
    many = {f"x.e{n}": b"x" for n in range(9)}
    with pytest.raises(SourceError, match=r"1 \.e5, 3 others$"):
        open_source(in_folder(tmp_path / "many", many))
