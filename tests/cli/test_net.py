"""Whatever ends a command, people read one line, and scripts an exit status of the list."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import nasnet
import nasnet.cli
from nasnet.cli import STATUSES
from nasnet.errors import InputError, MissingExtraError, OutputError, needs
from tests.support.cli import invoke
from tests.support.pictures import jpeg

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells of POSIX")
MAIN = f"{sys.executable} -m nasnet"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `nasnet` is ours; the status is that of its first command."""
    return subprocess.run(
        ["bash", "-c", f'nasnet() {{ {MAIN} "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("nasnet --help | true", 141, ""),
        ("nasnet embed --help | true", 141, ""),
        ("nasnet info --json > /dev/full", 1, "the output cannot be written: No space left"),
        ("nasnet --version > /dev/full", 1, "the output cannot be written: No space left"),
        ("nasnet info >&-", 0, ""),
        ("nasnet info <&- >/dev/null", 0, ""),
        ("nasnet info --size 3 2>&-", 2, ""),
        ("nasnet info --size 3 2>/dev/full", 2, ""),
        ("nasnet embed - -o /dev/null/x.parquet -w seeded:1 <&-", 1, "standard input is closed"),
        ("nasnet info --size 3", 2, "32 px at least"),
        ("nasnet nothing", 2, "no command 'nothing'"),
    ],
)
def test_streams_that_are_closed_or_full(line: str, status: int, said: str) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("the system has no full device")
    done = shell(line, PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr.count("\n")) == (status, int(bool(said)))
    assert said in done.stderr


def test_a_file_does_not_take_the_place_of_a_closed_output(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    out = tmp_path / "x.parquet"
    done = shell(
        f"nasnet embed {tmp_path} -o {out} -w seeded:7 --size 48 <&- >&- 2>&-", PYTHONUNBUFFERED=""
    )
    assert done.returncode == 0
    assert nasnet.read_features(out).ids == ["a.jpg"]


@pytest.mark.parametrize(
    "line",
    [
        "convert seeded:7 OUT/x.safetensors",
        "convert seeded:7 OUT/x.h5",
        "convert seeded:7 OUT/x.weights.h5",
        "export seeded:7 OUT/x.pt2 --size 48",
        "convert seeded:7 OUT/x.npz",
        "convert seeded:7 OUT/x.pth",
        "convert seeded:7 OUT/x.ckpt",
        "export seeded:7 OUT/x.onnx --size 48",
        "weights pack seeded:7 -o OUT/x.safetensors",
    ],
)
def test_a_disk_that_is_full_leaves_one_line_and_nothing_else(line: str, tmp_path: Path) -> None:
    """Files may have 1 MB: the same errors of the same calls, without a file system of its own."""
    done = subprocess.run(
        [*MAIN.split(), *line.replace("OUT", str(tmp_path)).split()],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "File too large" in done.stderr
    assert done.stderr.rstrip("\n").count("\n") == done.stderr.count(" ...\n")  # steps, then it
    assert list(tmp_path.iterdir()) == []


class _OddError(BaseException):
    """As other languages' panics come: no Exception, and of many lines."""


ENDS: list[tuple[BaseException, int, str]] = [
    (OutputError("x cannot be written"), 1, "nasnet: x cannot be written"),
    (InputError("k starts at 1"), 2, "nasnet: k starts at 1"),
    (RecursionError("maximum recursion depth exceeded"), 1, "a fault of this program: Recursion"),
    (MemoryError(), 1, "nasnet: out of memory"),
    (OSError(errno.EIO, "Input/output error", "/mnt/x"), 1, "/mnt/x: Input/output error"),
    (OSError(errno.ENOSPC, "No space left"), 1, "the output cannot be written: No space left"),
    (UnicodeEncodeError("ascii", "é", 0, 1, "no"), 1, "a fault of this program: UnicodeEncode"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    (KeyboardInterrupt(), 130, "nasnet: stopped"),
    (_OddError("a\nb\x1b[31m" + "c" * 9999), 1, "a fault of this program: _OddError: a b\ufffd["),
    (SystemExit(7), 7, ""),
]


@pytest.mark.parametrize(("error", "status", "said"), ENDS, ids=lambda one: type(one).__name__)
def test_whatever_is_raised_is_told_in_one_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> object:
        raise error

    monkeypatch.setattr(nasnet.cli, "build_app", raises)
    done = invoke("info")
    assert done.exit_code == status
    assert said in done.stderr
    assert len(done.stderr) < 1000
    assert "\n" not in done.stderr.strip("\n")
    assert status in STATUSES or isinstance(error, SystemExit)
    monkeypatch.setenv("NASNET_DEBUG", "1")
    assert "Traceback" in invoke("info").stderr


def test_a_package_that_is_broken_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('one\\ntwo\\nthree')")
    (tmp_path / "lacking_package.py").write_text("import a_package_that_is_not_there")
    (tmp_path / "odd_package.py").write_text("raise AttributeError('no such thing')")
    monkeypatch.syspath_prepend(tmp_path)
    for module, said in {
        "broken_package": r"cannot be imported \(one\); it comes anew with: pip install --force",
        "lacking_package": "cannot be imported .*a_package_that_is_not_there",
        "odd_package": r"cannot be imported \(no such thing\)",
        "a_package_that_is_not_there": "is not installed; it comes with: pip install",
    }.items():
        with pytest.raises(MissingExtraError, match=said) as found:
            needs(module, extra="map")
        assert "\n" not in str(found.value)


def test_every_command_ends_alike_for_alike_mistakes(tmp_path: Path) -> None:
    """2 for what was asked for wrongly, whoever refuses it; 1 for what is not there or damaged."""
    photos, out = tmp_path / "photos", tmp_path / "out.parquet"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg())
    asked: list[list[str | Path]] = [
        ["embed", photos, "-o", out, "--size", "3", "-w", "seeded:1"],
        ["embed", photos, "-o", out, "--size", "x", "-w", "seeded:1"],
        ["embed", photos, "-o", out, "--recipe", "x", "-w", "seeded:1"],
        ["embed", photos, "-o", out, "--endpoint", "x", "-w", "seeded:1"],
        ["embed", photos, "-o", out, "--threads", "0", "-w", "seeded:1"],
        ["embed", photos, "-o", out, "-w", "seeded:1@giant"],
        ["embed", photos],
        ["embed", photos, "-o", out, "--overwrite", "--append", "-w", "seeded:1"],
        ["classify", photos, "-w", "seeded:1", "--top", "0"],
        ["classify", photos, "-w", "seeded:1", "-o", tmp_path / "x.docx"],
        ["weights", "pack", "seeded:1", "-o", tmp_path / "x.zip"],
        ["weights", "unpack"],
        ["train", photos, tmp_path / "run", "--recipe", "nothing"],
        ["serve", "--port", "-1"],
        ["convert", "seeded:1", tmp_path / "x.docx"],
        ["export", "seeded:1", tmp_path / "x.docx"],
        ["info", "--size", "3"],
    ]
    for line in asked:
        done = invoke(*line)
        assert (done.exit_code, done.stdout) == (2, ""), line
        assert done.stderr.count("\n") == 1
    missing = tmp_path / "missing.parquet"
    failed: list[list[str | Path]] = [
        ["embed", missing, "-o", out, "-w", "seeded:1"],
        ["embed", photos, "-o", out, "-w", missing],
        ["classify", missing, "-w", "seeded:1"],
        ["index", missing, "-o", tmp_path / "i"],
        ["search", missing, "--id", "x"],
        ["map", missing, "-o", tmp_path / "x.html"],
        ["dedup", missing],
        ["outliers", missing],
        ["merge", missing, "-o", out],
        ["weights", "inspect", missing],
        ["convert", missing, tmp_path / "x.safetensors"],
        ["export", missing, tmp_path / "x.onnx"],
        ["evaluate", "seeded:1", missing],
        ["train", missing, "-o", tmp_path / "run"],
        ["finetune", missing, "-o", tmp_path / "run", "-w", "seeded:1"],
    ]
    for line in failed:
        done = invoke(*line)
        assert (done.exit_code, done.stdout) == (1, ""), line
        assert "missing.parquet" in done.stderr


def test_a_run_without_one_vector_has_failed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"text")
    quick = ["-w", "seeded:7", "--size", "48", "-q"]
    assert invoke("embed", tmp_path, "-o", tmp_path / "x.parquet", *quick).exit_code == 1
    assert invoke("classify", tmp_path, *quick).exit_code == 1
    (tmp_path / "b.jpg").write_bytes(jpeg())
    assert invoke("embed", tmp_path, "-o", tmp_path / "y.parquet", *quick).exit_code == 0
    assert invoke("classify", tmp_path, *quick).exit_code == 0
    assert invoke("classify", tmp_path, *quick, "--strict").exit_code == 1


def test_names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b]0;evil\x07\n\u202eb.jpg").write_bytes(jpeg())
    out = tmp_path / "x.parquet"
    quick = ["-w", "seeded:7", "--size", "48"]
    shown = [
        invoke("classify", tmp_path, *quick),
        invoke("embed", tmp_path, "-o", out, *quick, "-q"),
        invoke("search", out, tmp_path, "-w", "seeded:7"),
    ]
    for done in shown:
        assert done.exit_code == 0, done.stderr
        assert not set(done.output) & set("\x1b\x07\u202e")
    assert "a\ufffd]0;evil\ufffd \ufffdb.jpg\n" in shown[2].stdout
