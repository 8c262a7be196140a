"""From a cell to a product: a network of one's own goes through all that a preset goes through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from nasnet import Module
from nasnet.compute import engine
from nasnet.network.code import encode
from nasnet.serve import ModelChoice, ServeOptions
from nasnet.weights.networks import write_network
from nasnet.weights.opening import open_weights
from tests.support.cells import all_kinds
from tests.support.cli import invoke
from tests.support.pictures import jpeg
from tests.support.serving import Serving
from tests.support.training import one_thread

__all__ = ["one_thread"]  # a fixture

# Averages that follow three steps: others would be those of no network.
SHORT = ("--epochs", "1", "--batch-size", "8", "--batch-norm-momentum", "0.2", "--ema", "0")


def _nasnet(*arguments: str | Path) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("one_thread")
def test_a_found_cell_is_trained_measured_tuned_exported_embedded_and_served(
    tmp_path: Path,
) -> None:
    spec = replace(all_kinds(), num_cells=2, num_reduction_layers=1, image_size=48)
    best, data, run = tmp_path / "best.toml", tmp_path / "data", tmp_path / "run"
    write_network(best, spec, origin="a test")
    for number in range(24):
        file = data / ("red", "blue")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(40, 40, seed=number))

    told = _nasnet("train", data, "-o", run, "--network", best, *SHORT)
    assert "without the recipe's auxiliary loss: the auxiliary head's place" in told
    best.unlink()  # what was trained knows what it is
    opened = open_weights(run)
    assert opened.weights.spec == encode(spec)
    assert opened.weights.labels == ("blue", "red")
    assert opened.image_size == (48, 48)  # the network's own, whatever its recipe was made for

    assert "top-1" in _nasnet("evaluate", run, data)
    assert "nasnet_kinds" in _nasnet("weights", "inspect", run)
    _nasnet(
        *("finetune", data, "-w", run, "-o", tmp_path / "tuned"),
        *("--mode", "full", "--epochs", "1", "--size", "32", "-q"),
    )
    tuned = open_weights(tmp_path / "tuned").weights
    assert tuned.spec == encode(spec)

    _nasnet("export", run, tmp_path / "net.onnx")
    inputs = onnx.load(tmp_path / "net.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_value for one in inputs][1:] == [48, 48, 3]
    picture = jpeg(40, 40, seed=3)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(picture)
    _nasnet("embed", tmp_path / "one", "-o", tmp_path / "f.parquet", "-w", run, "-q")
    vector = np.array(pq.read_table(tmp_path / "f.parquet")["vector"].to_pylist())[0]
    images = np.zeros((1, 48, 48, 3), np.float32)
    made = engine.create(opened.weights)
    expected = engine.run(made, images, ["global_pool"])["global_pool"]
    made.close()
    assert np.asarray(Module(str(run))(images)).shape == (1, 2)
    assert expected.shape[1] == len(vector)
    choice = ModelChoice(handle=str(run), name="found")
    with Serving(ServeOptions(models=(choice,), port=0)) as service:
        answer = service.post("/embed", picture, Content_Type="image/jpeg")
    assert answer.status == 200, answer.data
    np.testing.assert_allclose(answer.json["results"][0]["vector"], vector, rtol=1e-4, atol=1e-5)
