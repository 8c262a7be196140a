"""The recipes of docs/other-tools.md, run with the tools themselves; classes for two of them."""

from __future__ import annotations

import asyncio
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.errors import PictureError, UnsupportedError
from tests.support import ROOT
from tests.support.pictures import jpeg

pytestmark = pytest.mark.interop
TOOLS = [
    "duckdb",
    "polars",
    "lancedb",
    "qdrant_client",
    "datasets",
    "langchain_core",
    "llama_index.core",
]


@pytest.fixture(autouse=True)
def tools() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in TOOLS:
            pytest.importorskip(name)


@pytest.mark.filterwarnings("default")  # the tools warn of each other
def test_the_recipes_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    page = (ROOT / "docs" / "other-tools.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 10
    names: dict[str, object] = {}
    for number, code in enumerate(blocks):
        exec(compile(code, f"block {number}", "exec"), names)


@pytest.mark.filterwarnings("default")
def test_every_tool_sees_a_failed_picture_as_null(tmp_path: Path) -> None:
    import datasets
    import duckdb
    import polars as pl

    file = tmp_path / "x.parquet"
    nasnet.embed_to_file([jpeg(), b"text", jpeg(seed=1)], file, weights="seeded:7")
    assert pl.read_parquet(file)["vector"].is_null().to_list() == [False, True, False]
    rows = duckdb.sql(f"select vector is null, len(vector) from '{file}'").fetchall()
    assert rows == [(False, 1056), (True, None), (False, 1056)]
    data = datasets.load_dataset(
        "parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [one is None for one in data["vector"]] == [False, True, False]


@pytest.mark.filterwarnings("default")
def test_langchain_gets_vectors_of_pictures(tmp_path: Path) -> None:
    from langchain_core.embeddings import Embeddings

    files = [tmp_path / f"{seed}.jpg" for seed in range(2)]
    for seed, file in enumerate(files):
        file.write_bytes(jpeg(seed=seed))
    made = nasnet.LangChainEmbeddings("seeded:7", size=(48, 48))
    assert isinstance(made, Embeddings)
    found = made.embed_documents(list(map(str, files)))
    expected = made.extractor.embed(files, normalize=True)
    np.testing.assert_array_equal(np.array(found, np.float32), expected)
    assert asyncio.run(made.aembed_query(str(files[1]))) == found[1]
    assert made.embed_documents([]) == []
    with pytest.raises(PictureError, match="a red car"):
        made.embed_query("a red car")


@pytest.mark.filterwarnings("default")
def test_llama_index_gets_vectors_of_pictures(tmp_path: Path) -> None:
    from llama_index.core.embeddings import MultiModalEmbedding

    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg())
    made = nasnet.LlamaIndexEmbedding("seeded:7", embed_batch_size=2)
    assert isinstance(made, MultiModalEmbedding)
    assert made.model_name == "nasnet seeded:7"
    one = made.get_image_embedding(str(file))
    assert len(one) == 1056
    both = made.get_image_embedding_batch([str(file), io.BytesIO(jpeg())])
    np.testing.assert_allclose(both, [one, one], atol=1e-6)
    assert asyncio.run(made.aget_image_embedding(str(file))) == one
    with pytest.raises(UnsupportedError, match="no texts"):
        made.get_text_embedding("a red car")
