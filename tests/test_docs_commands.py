"""The commands of the README and the docs run as they stand, with the package that is installed.

`.ci/run` has them run from the wheel that it built. They run one after another, in a folder of a
user's.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet.weights.genuine import HEAD
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import seeded, write_safetensors
from tests.support.pictures import jpeg
from tests.support.serving import PATIENT, Process, when_ready

ROOT = Path(__file__).parent.parent
PAGES = (
    "README",
    "embed",
    "search",
    "other-tools",
    "classify",
    "fine-tuning",
    "training",
    "own-networks",
    "export",
    "keras",
    "tf-hub",
    "preprocessing",
    "formats",
    "weights",
    "builtin",
    "serve",
)
# What else a machine would need: TensorFlow, a network, hours.
ELSEWHERE = re.compile(
    r"pip install|embedding-atlas|savedmodel|tflite|nasnet fetch|python -m benchmarks|USER/NAME"
)
# The published module is behind a network, a training takes days, a port may be taken.
INSTEAD = (
    (r"nasnet (?:embed|classify|finetune|adopt) (?!.*(?:-w|--weights))", "--weights builtin "),
    (r"nasnet check-vectors (?=.*--source)(?!.*--weights)", "--weights builtin "),
    (r"nasnet train ", "--epochs 1 --batch-size 8 --workers 0 "),
    (r"nasnet serve (?!.*--weights)", "--weights builtin "),
    (r"nasnet serve ", "--port 0 "),
)


def shell_lines(page: str) -> list[str]:
    path = ROOT / f"{page}.md" if page == "README" else ROOT / "docs" / f"{page}.md"
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [one for one in lines if one.strip() and one[0] != "#" and not ELSEWHERE.search(one)]


def commands(page: str) -> list[str]:
    lines = shell_lines(page)
    if page == "README":  # the same line as on the service's own page
        lines = [line for line in lines if line not in shell_lines("serve")]
    for found, flags in INSTEAD:
        lines = [re.sub(f"({found})", rf"\1{flags}", line) for line in lines]
    return lines


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """What the pages speak of: a folder of photos, a picture, weights in some formats."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(16):
        where = photos / ("cat" if seed % 2 else "dog")
        where.mkdir(exist_ok=True)
        (where / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    for name in ("holiday.jpg", "photo.jpg"):
        (tmp_path / name).write_bytes(jpeg(seed=3))
    labels = ("cat", "dog")
    mine = replace(seeded(3, num_classes=2), labels=labels)
    for name in ("mine", "my_finetuned"):
        module = ModuleFolder(weights=mine, task="classification", height=224, width=224)
        write_folder(module, tmp_path / name)
    write_safetensors(seeded(7), tmp_path / "weights.safetensors")
    for name in ("nasnetamobile-7e03cead.pth", "model.ckpt", "NASNet-mobile.h5"):
        nasnet.convert("seeded:7", tmp_path / name)
    (tmp_path / "path" / "to").mkdir(parents=True)
    nasnet.convert("seeded:7", tmp_path / "path" / "to" / "model.ckpt")
    for name, run in (
        ("bin/nasnet", "nasnet"),
        (".venv/bin/nasnet", "nasnet"),
        ("bin/torchrun", "torch.distributed.run"),
    ):
        tool = tmp_path / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {run} "$@"\n')
        tool.chmod(0o755)
    return tmp_path


def _with_columns(desk: Path) -> None:
    """A table, a list and shards, each with columns beside its pictures."""
    columns = {"price": [1.5, None], "brand": ["a", "b"]}
    table = pa.table({"picture": [jpeg(seed=seed) for seed in (1, 2)], **columns})
    pq.write_table(table, desk / "products.parquet")
    (desk / "photos.csv").write_text("path,taken\nholiday.jpg,2024-01-31\nphoto.jpg,\n")
    (desk / "shards").mkdir()
    with tarfile.open(desk / "shards" / "0.tar", "w") as tar:
        for name, data in (("0.jpg", jpeg()), ("0.json", b'{"caption": "a cat"}')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _what_a_page_has(page: str, desk: Path) -> None:
    """What a page's readers have beside the photos, or make themselves by its lines."""
    match page:
        case "README":
            shutil.copytree(desk / "photos", desk / "other_photos")
            shutil.rmtree(desk / "mine")
        case "fine-tuning":
            shutil.rmtree(desk / "mine")
        case "formats":
            (desk / "NASNet-mobile.h5").unlink()
        case "embed":
            _with_columns(desk)
        case "search":  # a head of one's own
            own = open_weights("builtin").weights
            head = {name: own.arrays[name][..., [282, 208]] for name in HEAD}
            cats = replace(
                own, arrays={**own.arrays, **head}, num_classes=2, labels=("my cat", "my dog")
            )
            write_safetensors(cats, desk / "cats.safetensors")
        case "keras" | "tf-hub":  # vectors that were stored
            stored = (
                nasnet.Extractor("seeded:7", recipe="tf2-hub", padding="keras")
                if page == "keras"
                else nasnet.Extractor("builtin", recipe="tf1-hub")
            )
            with stored as extractor:
                np.save(desk / "old.npy", extractor.embed(desk / "photos"))
            names = sorted(str(one.relative_to(desk / "photos")) for one in desk.glob("photos/*/*"))
            (desk / "ids.txt").write_text("\n".join(names))
        case "own-networks":
            text = (ROOT / "docs" / "own-networks.md").read_text(encoding="utf-8")
            (desk / "best.toml").write_text(text.split("```toml\n")[1].split("```")[0])
        case "weights":
            (desk / "card.toml").write_text('licence = "mine"\n')
        case "serve":
            for name in ("cat.jpg", "dog.jpg"):
                shutil.copy(desk / "photo.jpg", desk / name)
            shutil.copytree(desk / "mine", desk / "finetuned")
            (desk / "key.txt").write_text("a key of thirty-two characters..")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, desk: Path) -> None:
    for extra in ("h5py", "torch", "sklearn", "umap", "onnxruntime", "fastapi"):
        pytest.importorskip(extra)
    lines = commands(page)
    assert lines
    _what_a_page_has(page, desk)
    path = os.pathsep.join([str(desk / "bin"), os.environ["PATH"]])
    around = os.environ | {"HOME": str(desk), "PATH": path, "BROWSER": "true"}
    with ExitStack() as running:
        served: Process | None = None
        for line in lines:
            if "nasnet serve" in line:
                _stop(served)
                popen = subprocess.Popen(
                    ["bash", "-c", f"exec {line}"],
                    cwd=desk,
                    env=around,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                served = running.enter_context(when_ready(popen, "listening"))
                continue
            if served is not None:
                line = line.replace(":8000/", f":{served.port}/")
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=desk,
                env=around,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        _stop(served)
    if page == "search":
        made = {one.name for one in desk.iterdir()}
        assert {"features.parquet", "found.html", "photos.index", "map.html"} <= made


def _stop(served: Process | None) -> None:
    if served is not None:
        served.popen.terminate()
        assert served.popen.wait(PATIENT) == 0, served.said
