"""The installed command, as people run it."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nasnet
from nasnet.cli import terminal
from nasnet.train.loop import TrainEvent
from tests.support.cli import invoke
from tests.support.fetching import PATH, archive
from tests.support.golden_seed import make_hub_module
from tests.support.http_server import HttpServer
from tests.support.pictures import encoded, jpeg, pixels

NASNET = [sys.executable, "-c", "from nasnet.cli import main; main()"]
QUICK = ["--weights", "seeded:7", "--size", "48"]


def run(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NASNET, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=env,
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety pictures and ten broken files."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(90):
        (folder / f"{number:03d}.jpg").write_bytes(jpeg(seed=number))
    broken = [b"", b"text", jpeg()[:500], b"<html>", encoded(pixels(), "PNG")[:900]] * 2
    for number, data in enumerate(broken):
        (folder / f"{number * 10:03d}-broken.jpg").write_bytes(data)
    return folder


def test_one_picture_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    done = run("embed", tmp_path / "a.jpg", "-o", tmp_path / "features.parquet", *QUICK)
    assert "1 row, 1 vector, 0 failed" in done.stderr


def test_embed_writes_a_row_a_picture_and_says_what_failed(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    other = photos / "readme.txt"
    other.write_text("x")
    done = run("embed", photos, "-o", output, *QUICK)
    other.unlink()
    assert done.returncode == 0, done.stderr
    assert "100 rows, 90 vectors, 10 failed" in done.stderr
    assert "note: passed over 1 file that is not called like a picture: 1 .txt" in done.stderr
    assert "UNTRAINED" in done.stderr
    assert "x empty file" in done.stderr
    features = nasnet.read_features(output)
    assert features.ids == sorted(path.name for path in photos.iterdir())
    assert sum(error is not None for error in features.errors) == 10
    good = np.array([error is None for error in features.errors])
    np.testing.assert_array_equal(np.isnan(features.vectors).any(axis=1), ~good)


def test_strict_tells_by_its_exit_status(photos: Path, tmp_path: Path) -> None:
    done = run("embed", photos, "-o", tmp_path / "x.npy", *QUICK, "--strict", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_killed_and_started_again_it_ends_as_an_unbroken_run(photos: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.parquet", tmp_path / "broken.parquet"
    assert run("embed", photos, "-o", whole, *QUICK).returncode == 0
    # a list on a pipe that stalls at two thirds, so that the kill comes in the middle
    names = sorted(str(path) for path in photos.iterdir())
    command = [*NASNET, "embed", str(photos), "-o", str(broken), *QUICK]
    code = (
        "import os, sys, threading\n"
        "from nasnet.features.store import Sink\n"
        "from nasnet.cli import main\n"
        "import nasnet.features.embed as e, nasnet.features.store as s\n"
        "write = Sink.write\n"
        "def slow(self, batch):\n"
        "    write(self, batch)\n"
        "    self.flush()\n"
        "    if self.resume_at > 30: print('ready', flush=True); threading.Event().wait()\n"
        "Sink.write = slow\n"
        "main()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, *command[3:]], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not broken.exists()
    again = run("embed", photos, "-o", broken, *QUICK)
    assert again.returncode == 0, again.stderr
    assert "rows of an earlier run" in again.stderr
    one, two = nasnet.read_features(whole), nasnet.read_features(broken)
    assert one.ids == two.ids == [Path(name).name for name in names]
    assert one.errors == two.errors
    np.testing.assert_array_equal(one.vectors, two.vectors)


def test_ctrl_c_stops_cleanly_and_keeps_what_is_done(photos: Path, tmp_path: Path) -> None:
    listing = "".join(f"{path}\n" for path in sorted(photos.iterdir())) * 100
    (tmp_path / "list.txt").write_text(listing)
    output = tmp_path / "x.parquet"
    arguments = ["embed", str(tmp_path / "list.txt"), "-o", str(output), *QUICK]
    child = subprocess.Popen([*NASNET, *arguments], stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "x.parquet.parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "stopped" in err
    assert f"{output}: the same command continues from here" in err
    assert "Traceback" not in err
    assert not output.exists()

    assert list(parts.glob("part-*.parquet"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "nowhere", "-o", "x.parquet", *QUICK], "nowhere: no such file or folder"),
        (["embed", ".", "-o", "x.csv", *QUICK], "no pictures"),
        (["embed", "a.jpg", "-o", "x.csv", *QUICK], "the ending of the name says the format"),
        (["embed", "a.jpg", "-o", "x.npy", "-w", "missing.ckpt"], "missing.ckpt"),
        (["embed", "a.jpg", "-o", "x.npy", "-w", "seeded:x"], "an integer must follow"),
        (["embed", "a.jpg", "-o", "x.npy", *QUICK, "--recipe", "x"], "no recipe 'x'"),
        (["weights", "inspect", "a.jpg"], "a.jpg"),
        (["fetch", "google/imagenet/nasnet_mobile/feature_vector/2"], "/2"),
        (["embed", "a.jpg", "-o", "x.npy", "--shard", "1"], "is not a shard"),
        (["info", "huge"], "huge"),
    ],
)
def test_mistakes_are_one_clear_message_and_leave_nothing(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / ("a.jpg" if "." not in arguments[1:2] else "a.txt")).write_bytes(jpeg())
    environment = {**os.environ, "NASNET_OFFLINE": "1", "TFHUB_CACHE_DIR": str(tmp_path / "c")}
    done = run(*arguments, cwd=tmp_path, env=environment)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("x.")] == []


def test_info_prints_the_network() -> None:
    done = run("info")
    assert "5,327,773 parameters" in done.stdout
    assert "563.6 M multiply-adds" in done.stdout
    facts = json.loads(run("info", "large", "--json").stdout)
    assert facts["endpoints"]["global_pool"] == [4032]
    assert "pictures of 97x64 px" in run("info", "--size", "97x64").stdout


def test_inspect_ends_in_a_plain_word(tmp_path: Path) -> None:
    folder = make_hub_module(tmp_path / "hub")
    done = run("weights", "inspect", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "untrained or modified"
    assert "TF1 hub module" in done.stdout
    assert "4,269,716 in 1,124 tensors, 4,232,978 trainable" in done.stdout
    assert "0 of 1124 match" in done.stdout
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    assert "variables.data-00000-of-00001" in run("weights", "inspect", folder).stderr


def test_fetch_brings_a_module_for_offline_use(tmp_path: Path) -> None:
    with HttpServer() as server:
        server.put(f"{PATH}?tf-hub-format=compressed", archive(make_hub_module(tmp_path / "hub")))
        cache = {"NASNET_MIRRORS": server.url, "TFHUB_CACHE_DIR": str(tmp_path / "cache")}
        done = run("fetch", env={**os.environ, **cache})
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).is_dir()
        quiet = run("fetch", "-q", env={**os.environ, **cache})
        assert (quiet.stdout, quiet.stderr) == (done.stdout, "")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    offline = {**os.environ, **cache, "NASNET_OFFLINE": "1"}
    output = tmp_path / "x.parquet"
    done = run("embed", tmp_path / "a.jpg", "-o", output, "--size", "48", env=offline)
    assert done.returncode == 0, done.stderr
    assert nasnet.read_features(output).meta.module.endswith("feature_vector/3")


def test_help_names_every_command_and_option() -> None:
    assert all(name in run("--help").stdout for name in ("embed", "info", "weights", "fetch"))
    text = run("embed", "--help").stdout
    assert "  nasnet embed ~/photos -o features.parquet --page neighbours.html\n" in text, (
        "examples keep their lines"
    )
    assert all(word in text for word in ("SOURCE", "--recipe", "--append", "--strict", "untrained"))


@pytest.mark.parametrize(
    ("where", "status", "told"),
    [
        ("> /dev/full", 1, "nasnet: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
        ("| (exec <&-; sleep 3)", 141, ""),
    ],
)
def test_an_output_that_takes_nothing_is_no_traceback(where: str, status: int, told: str) -> None:
    line = f"{shlex.join([*NASNET, 'info'])} {where}; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == f"{told}{status}\n"


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-", ">&- 2>&-"])
def test_a_run_that_nobody_can_read_about_is_no_failure(where: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    command = shlex.join([*NASNET, "embed", "a.jpg", "-o", "f.npy", *QUICK])
    done = subprocess.run(["bash", "-c", f"{command} {where}"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "f.npy").exists()


def test_names_that_are_no_utf8_are_read_and_not_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    (tmp_path / name).write_bytes(jpeg())
    done = run("embed", name, "-o", "f.parquet", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert nasnet.read_features(tmp_path / "f.parquet").meta.source == name
    done = run("embed", name, "-o", os.fsdecode(b"\xff.parquet"), *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    assert "is not UTF-8" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_picture_is_embedded_without_what_it_does_not_need(tmp_path: Path) -> None:
    """pyarrow imports pandas before its first array, if it is there: half a second."""
    pytest.importorskip("pandas")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    code = (
        "import sys\n"
        "from nasnet.cli import run\n"
        "status = run(['embed', 'a.jpg', '-o', 'f.parquet', '-w', 'seeded:7', '-q'])\n"
        "heavy = ['pandas', 'torch', 'tensorflow', 'sklearn', 'matplotlib', 'openvino_telemetry',"
        " 'pyarrow.compute']\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "import pyarrow, pandas\n"
        "assert len(pyarrow.table({'a': [1]}).to_pandas()) == 1\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "line",
    [
        "embed missing -o new.parquet --page there.html",
        "classify missing -o there.csv",
        "search missing --id x --page there.html",
        "dedup missing --page there.html",
        "outliers missing --page there.html",
        "map missing -o there.html",
        "evaluate missing missing --report .",
        "weights pack missing -o there.safetensors",
        "adopt missing.npy --ids missing --recipe photo -o there.parquet",
        "merge missing.parquet -o there.parquet",
        "convert seeded:7 there.safetensors",
        "export seeded:7 there.onnx",
    ],
)
def test_what_is_there_is_replaced_by_no_command_unasked(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before anything is opened: `missing` would be complained of first."""
    monkeypatch.chdir(tmp_path)
    endings = (".html", ".csv", ".safetensors", ".parquet", ".onnx")
    names = [*(f"there{ending}" for ending in endings), "report.html"]
    for name in names:
        (tmp_path / name).write_text("kept")
    result = invoke(*line.split())
    assert result.exit_code == 1, result.stderr
    assert "overwrite" in result.stderr
    assert all((tmp_path / name).read_text() == "kept" for name in names)


@pytest.mark.parametrize(("overwrite", "how"), [(False, ""), (True, " without --overwrite")])
def test_a_run_that_is_stopped_says_what_continues_it(
    capsys: pytest.CaptureFixture[str], overwrite: bool, how: str
) -> None:
    """With --overwrite the same command would lose what is done."""
    with pytest.raises(KeyboardInterrupt), terminal.continuable("x", True, overwrite=overwrite):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == f"x: the same command{how} continues from here\n"


def test_json_is_json_on_every_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"id": "\u00e9\U0001f600\udcff", "price": float("nan"), "of": [1.5, (float("inf"),)]}
    wanted = told | {"price": None, "of": [1.5, [None]]}
    for encoding in ("ascii", "latin-1", "utf-8"):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
        monkeypatch.setattr(sys, "stdout", stdout)
        terminal.say_json(told)
        stdout.seek(0)
        assert json.loads(stdout.read(), parse_constant=pytest.fail) == wanted


@pytest.mark.parametrize(("pictures", "rate"), [(32, "0.85"), (3739, "100")])
def test_a_training_shows_its_pictures_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pictures: int, rate: str
) -> None:
    clock = iter(range(0, 1000, 25))  # seconds; a step takes 25
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with terminal.Progress(shows=True) as progress:
        for step in range(1, 4):
            progress.on_event(
                TrainEvent(kind="step", epoch=0, epochs=2, step=step, steps=4, done=pictures * step)
            )
    last = capsys.readouterr().err.splitlines()[-1]
    done, total = 3 * pictures, 4 * pictures
    assert last == f"epoch 1/2: {done:,} of {total:,} pictures, {rate}/s, 38 s left"
