"""Archives: good ones come out whole, hostile or damaged ones leave nothing behind."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from nasnet.errors import FetchError
from nasnet.weights.fetch.archive import extract

FILES = {
    "saved_model.pb": b"\x08\x01" * 300,
    "variables/variables.index": bytes(range(256)) * 9,
    "variables/deep/er.data": b"",
}


def tar(*members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                archive.addfile(info(member[0], size=len(member[1])), io.BytesIO(member[1]))
    return out.getvalue()


def info(
    name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member


def zipped(
    *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def zip_link() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def unpack(data: bytes, folder: Path, **limits: int) -> dict[str, bytes]:
    """What comes out, by name; a folder that is empty ends in a slash."""
    archive, target = folder / "archive", folder / "out"
    archive.write_bytes(data)
    extract(archive, target, **limits)
    assert sorted(path.name for path in folder.iterdir()) == ["archive", "out"]
    return {
        path.relative_to(target).as_posix() + "/" * path.is_dir(): b""
        if path.is_dir()
        else path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def refuse(data: bytes, folder: Path, match: str, **limits: int) -> None:
    archive = folder / "archive"
    archive.write_bytes(data)
    with pytest.raises(FetchError, match=match) as caught:
        extract(archive, folder / "out", **limits)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["archive"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_module_as_the_hub_packs_it_comes_out_whole(mode: str, tmp_path: Path) -> None:
    folders = [info("./", kind=tarfile.DIRTYPE), info("./assets/", kind=tarfile.DIRTYPE)]
    files = [(f"./{name}", data) for name, data in FILES.items()]
    assert unpack(tar(*folders, *files, mode=mode), tmp_path) == FILES | {"assets/": b""}


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_dialects_of_tar_are_read(style: int, tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "n" * 90
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=style) as archive:
        archive.addfile(info(name, size=700), io.BytesIO(b"x" * 700))
    assert unpack(out.getvalue(), tmp_path) == {name: b"x" * 700}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_files_come_out_whole(method: int, tmp_path: Path) -> None:
    data = zipped(("assets/", b""), *FILES.items(), method=method)
    assert unpack(data, tmp_path) == FILES | {"assets/": b""}


def test_files_get_plain_permissions(tmp_path: Path) -> None:
    member = info("tool")
    member.mode = 0o7777
    unpack(tar(member), tmp_path)
    assert (tmp_path / "out/tool").stat().st_mode & 0o7111 == 0


HOSTILE: dict[str, tuple[bytes, str]] = {
    "absolute path": (tar(("/etc/x", b"1")), "'/etc/x' has an absolute path"),
    "parent": (tar(("../x", b"1")), r"'../x' has '\.\.' in its path"),
    "parent within": (tar(("a/../../x", b"1")), r"has '\.\.'"),
    "backslash": (tar(("a\\..\\x", b"1")), "backslash"),
    "drive": (tar(("C:x", b"1")), "colon"),
    "escape sequence": (tar(("a\x1b[2J", b"1")), "control character"),
    "symbolic link": (
        tar(info("a", kind=tarfile.SYMTYPE, link="/etc/passwd")),
        "neither a regular",
    ),
    "hard link": (tar(info("a", kind=tarfile.LNKTYPE, link="b")), "neither a regular"),
    "device": (tar(info("a", kind=tarfile.CHRTYPE)), "neither a regular"),
    "pipe": (tar(info("a", kind=tarfile.FIFOTYPE)), "neither a regular"),
    "twice": (tar(("a", b"1"), ("./a", b"2")), "'./a' comes twice"),
    "twice but for case": (tar(("Model", b"1"), ("model", b"2")), "comes twice.*'Model'"),
    "file as folder": (tar(("a", b"1"), ("a/b", b"2")), "'a/b' comes twice"),
    "2,000 folders deep": (tar(("a/" * 2000 + "x", b"1")), "more than 64 folders deep"),
    "no name": (tar(("./", b"1")), "has no name"),
    "not UTF-8": (tar(("a\udcff", b"1")), "not UTF-8"),
    "nothing": (tar(info("a", kind=tarfile.DIRTYPE)), "holds no files"),
    "zip absolute path": (zipped(("/x", b"1")), "absolute path"),
    "zip parent": (zipped(("a/../../x", b"1")), r"has '\.\.'"),
    "zip 1,500 folders deep": (zipped(("a/" * 1500 + "x", b"1")), "more than 64 folders deep"),
    "zip backslash": (zipped(("a\\b", b"1")), "backslash"),
    "zip NUL": (zipped(("aXb", b"1")).replace(b"aXb", b"a\0b"), "control character"),
    "zip link": (zipped((zip_link(), b"/etc/passwd")), "neither a regular"),
    "zip bzip2": (zipped(("a", b"1"), method=zipfile.ZIP_BZIP2), "unusual way"),
    "zip wrong CRC": (
        zipped(("a", b"12345"), method=zipfile.ZIP_STORED).replace(b"12345", b"12845"),
        "CRC",
    ),
    "web page": (b"<!DOCTYPE html><html>" + b" " * 2000, "not a whole tar, tar.gz or zip"),
    "empty": (b"", "not a whole"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(kind: str, tmp_path: Path) -> None:
    data, match = HOSTILE[kind]
    refuse(data, tmp_path, match)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(("a", b"1")))
    data[6] |= 1  # general purpose flag of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refuse(bytes(data), tmp_path, "encrypted")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_cut_tar_is_refused_wherever_it_is_cut(mode: str, tmp_path: Path) -> None:
    data = tar(*FILES.items(), mode=mode)
    whole = tar(*FILES.items(), mode="w")
    blocks = 1 + 2 + 1 + 5 + 1  # headers and contents; then come blocks of zeros
    cuts = range(512, blocks * 512 + 1, 512) if mode == "w" else range(1, len(data), 7)
    assert not any(whole[blocks * 512 :])
    for cut in cuts:
        refuse(data[:cut], tmp_path, "not a whole|ends .* early")


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    data = zipped(*FILES.items())
    for cut in range(1, len(data), 11):
        refuse(data[:cut], tmp_path, "not a whole")


def test_bombs_are_refused_by_size_ratio_and_number(tmp_path: Path) -> None:
    refuse(tar(("a", bytes(5000)), ("b", bytes(5000))), tmp_path, "'b' of 5,000", max_bytes=9999)
    refuse(zipped(("a", bytes(5000))), tmp_path, "past the limit", max_bytes=4999)
    many = [(str(number), b"") for number in range(11)]
    refuse(tar(*many), tmp_path, "too many members", max_files=10)
    assert len(unpack(tar(*many), tmp_path, max_files=11)) == 11


def test_a_small_file_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    refuse(tar(("zeros", bytes(70 << 20))), tmp_path, "'zeros' of 73,400,320 bytes")


def test_a_header_cannot_make_the_reader_fill_the_memory(tmp_path: Path) -> None:
    header = info("pax", size=1 << 33, kind=tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT)
    refuse(header + bytes(1024), tmp_path, "not a whole")
    negative = bytearray(info("a", size=1, kind=tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT))
    negative[124:136] = b"\xff" * 11 + b"\x00"  # base-256: -256
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + 8 * 32 + sum(negative[156:]))
    refuse(bytes(negative) + bytes(1024), tmp_path, "not a whole")


def test_endless_zeros_after_the_end_are_refused(tmp_path: Path) -> None:
    whole = tar(("a", b"1"), mode="w")
    data = gzip.compress(whole + bytes(20 << 20), compresslevel=1)
    refuse(data, tmp_path, "more than the limit", max_bytes=1000, max_files=10)


def test_an_existing_target_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(tar(("a", b"1")))
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match="already exists"):
        extract(tmp_path / "archive", tmp_path / "out")
    with pytest.raises(FetchError, match=r"missing: cannot be unpacked into .*No such file"):
        extract(tmp_path / "missing", tmp_path / "new")


MAKERS: list[Callable[[], bytes]] = [
    lambda: tar(*FILES.items(), mode="w"),
    lambda: tar(*FILES.items()),
    lambda: zipped(*FILES.items()),
]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(MAKERS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)
)
@example(MAKERS[0], [])
def test_damaged_bytes_give_an_archive_or_one_error_and_touch_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[], bytes],
    damage: list[tuple[float, int]],
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    data = bytearray(make())
    for where, value in damage:
        data[min(int(where * len(data)), len(data) - 1)] = value
    (folder / "archive").write_bytes(data)
    try:
        extract(folder / "archive", folder / "out")
    except FetchError:
        assert [path.name for path in folder.iterdir()] == ["archive"]
        return
    assert sorted(path.name for path in folder.iterdir()) == ["archive", "out"]
