"""The commands of the task pages run as they stand, one after another, in a folder of a user's."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
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

ROOT = Path(__file__).parent.parent
PAGES = (
    "embed",
    "search",
    "other-tools",
    "classify",
    "fine-tuning",
    "export",
    "keras",
    "preprocessing",
    "formats",
    "weights",
    "builtin",
)
# What else a machine would need: TensorFlow, a network, a server that goes on.
ELSEWHERE = re.compile(
    r"pip install|embedding-atlas|savedmodel|tflite|nasnet fetch|weights pack"
    r"|python -m benchmarks|USER/NAME"
)
# The published module is behind a network; its lines are run with weights that are not.
PUBLISHED = re.compile(r"(nasnet (?:embed|classify|finetune) (?!.*(?:-w|--weights)).*)")


def commands(page: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [
        PUBLISHED.sub(r"\1 --weights builtin", one) for one in lines if not ELSEWHERE.search(one)
    ]


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
    tool = tmp_path / "bin" / "nasnet"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nasnet "$@"\n')
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


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, desk: Path) -> None:
    for extra in ("h5py", "torch", "sklearn", "umap", "onnxruntime"):
        pytest.importorskip(extra)
    lines = commands(page)
    assert lines
    if page == "formats":
        (desk / "NASNet-mobile.h5").unlink()  # the page makes it
    if page == "fine-tuning":
        shutil.rmtree(desk / "mine")  # as well
    if page == "embed":
        _with_columns(desk)
    if page == "search":  # a head of one's own
        own = open_weights("builtin").weights
        head = {name: own.arrays[name][..., [282, 208]] for name in HEAD}
        cats = replace(
            own, arrays={**own.arrays, **head}, num_classes=2, labels=("my cat", "my dog")
        )
        write_safetensors(cats, desk / "cats.safetensors")
    if page == "keras":  # vectors that Keras would have stored
        with nasnet.Extractor("seeded:7", recipe="tf2-hub", padding="keras") as extractor:
            np.save(desk / "old.npy", extractor.embed(desk / "photos"))
        names = sorted(str(one.relative_to(desk / "photos")) for one in desk.glob("photos/*/*"))
        (desk / "ids.txt").write_text("\n".join(names))
    path = os.pathsep.join([str(desk / "bin"), os.environ["PATH"]])
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    around = os.environ | {"HOME": str(desk), "PATH": path, "PYTHONPATH": source}
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=desk, env=around, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    if page == "search":
        made = {one.name for one in desk.iterdir()}
        assert {"features.parquet", "found.html", "photos.index", "map.html"} <= made
