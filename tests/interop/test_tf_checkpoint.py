"""TensorFlow reads checkpoints written here, and the other way round."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nasnet.errors import WeightsError
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.formats.tf_variables import group_names
from tests.support.golden_seed import (
    SMALL_BUNDLE,
    SMALL_NUMBER_TYPES,
    make_slim_checkpoint,
    small_tensors,
)

pytestmark = pytest.mark.interop
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def tf() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tensorflow")


def files(prefix: Path) -> list[bytes]:
    return [Path(f"{prefix}{end}").read_bytes() for end in (".index", ".data-00000-of-00001")]


def save(tf: Any, prefix: Path, rows: list[tuple[str, str, Any]]) -> None:
    """Write (name, slice of the whole or "", value) with the op behind every TensorFlow saver."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[name for name, _, _ in rows],
        shape_and_slices=[place for _, place, _ in rows],
        tensors=[tf.constant(value) for _, _, value in rows],
    )


def test_the_golden_small_bundle_is_what_tensorflow_writes(tf: Any, tmp_path: Path) -> None:
    rows: list[tuple[str, str, Any]] = []
    for name, value in small_tensors().items():
        if name == "bfloat16":
            rows.append((name, "", tf.constant(value, tf.bfloat16)))
        elif name.startswith("parts/"):
            rows.append((name, "2 130 0,2:0,65", value[:, :65]))
            rows.append((name, "2 130 0,2:65,65", value[:, 65:]))
        else:
            rows.append((name, "", value.tolist() if value.dtype == object else value))
    save(tf, tmp_path / "small", rows)
    assert files(tmp_path / "small") == files(SMALL_BUNDLE)


def test_tensorflow_restores_what_is_written(tf: Any, tmp_path: Path) -> None:
    tensors = {n: v for n, v in small_tensors().items() if v.dtype.name in SMALL_NUMBER_TYPES}
    assert len({value.dtype for value in tensors.values()}) == len(SMALL_NUMBER_TYPES)
    tf_checkpoint.write_checkpoint(tmp_path / "ours", tensors)
    reader = tf.train.load_checkpoint(str(tmp_path / "ours"))
    assert set(reader.get_variable_to_shape_map()) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value, strict=True)


def test_an_index_of_several_blocks_is_byte_for_byte_tensorflows(tf: Any, tmp_path: Path) -> None:
    # Names chosen so that block borders meet every case of the separator between two keys.
    random = np.random.default_rng(0)
    names = {f"{'layer' * int(n % 23)}/{n}\xff{chr(int(n) % 500 + 1)}" for n in range(24_000)}
    tensors = {n: random.standard_normal(3).astype(np.float32) for n in sorted(names)}
    save(tf, tmp_path / "theirs", [(name, "", value) for name, value in tensors.items()])
    tf_checkpoint.write_checkpoint(tmp_path / "ours", tensors)
    index, data = files(tmp_path / "ours")
    assert len(index) > 2 * 262_144
    assert [index, data] == files(tmp_path / "theirs")


def test_reads_a_checkpoint_merged_from_several_data_files(tf: Any, tmp_path: Path) -> None:
    values = {f"v{n}": np.full((n + 1, 2), n, np.float32) for n in range(3)}
    parts = []
    for name, value in values.items():
        parts.append(str(tmp_path / f"part_{name}"))
        save(tf, Path(parts[-1]), [(name, "", value)])
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "whole")
    )
    checkpoint = tf_checkpoint.open_checkpoint(tmp_path)
    assert checkpoint.num_shards == 3
    for name in values:
        value = tf_checkpoint.read_tensor(checkpoint, name)
        np.testing.assert_array_equal(value, values[name])


def test_reads_partitioned_variables_of_a_graph(tf: Any, tmp_path: Path) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        rows = tf1.get_variable(
            "rows",
            shape=(150, 3),
            initializer=tf1.random_normal_initializer(seed=1),
            partitioner=tf1.fixed_size_partitioner(4),
        )
        columns = tf1.get_variable(
            "columns",
            shape=(2, 9000),
            initializer=tf1.random_normal_initializer(seed=2),
            partitioner=tf1.fixed_size_partitioner(2, axis=1),
        )
        session.run(tf1.global_variables_initializer())
        expected = session.run(
            {"rows": tf.concat(list(rows), 0), "columns": tf.concat(list(columns), 1)}
        )
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    checkpoint = tf_checkpoint.open_checkpoint(tmp_path)  # through the state file that Saver wrote
    assert set(checkpoint.entries) == {"rows", "columns"}
    for name in expected:
        value = tf_checkpoint.read_tensor(checkpoint, name)
        np.testing.assert_array_equal(value, expected[name])


def test_reads_an_object_based_checkpoint(tf: Any, tmp_path: Path) -> None:
    variable = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3))
    tf.train.Checkpoint(kernel=variable, step=tf.Variable(5)).save(str(tmp_path / "ckpt"))
    checkpoint = tf_checkpoint.open_checkpoint(tmp_path)
    groups = group_names(checkpoint.entries)
    assert groups.plain == (
        "kernel/.ATTRIBUTES/VARIABLE_VALUE",
        "step/.ATTRIBUTES/VARIABLE_VALUE",
    )
    value = tf_checkpoint.read_tensor(checkpoint, groups.plain[0])
    np.testing.assert_array_equal(value, variable.numpy())
    graph = tf_checkpoint.read_tensor(checkpoint, "_CHECKPOINTABLE_OBJECT_GRAPH")
    assert graph.shape == ()
    assert b"kernel" in graph.item()


def test_groups_the_names_of_a_real_training_run(tf: Any, tmp_path: Path) -> None:
    tf1 = tf.compat.v1
    optimizers = [
        tf1.train.RMSPropOptimizer(0.1, momentum=0.9),
        tf1.train.AdamOptimizer(),
        tf1.train.MomentumOptimizer(0.1, 0.9),
        tf1.train.AdagradOptimizer(0.1),
        tf1.train.FtrlOptimizer(0.1),
        tf1.train.AdadeltaOptimizer(0.1),
    ]
    with tf.Graph().as_default(), tf1.Session() as session:
        step = tf1.train.get_or_create_global_step()
        weights = tf1.get_variable("conv0/weights", shape=(2, 2))
        loss = tf.reduce_sum(weights**2)
        for optimizer in optimizers:
            optimizer.minimize(loss, global_step=step)
        tf.train.ExponentialMovingAverage(0.9).apply([weights])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    groups = group_names(tf_checkpoint.open_checkpoint(tmp_path).entries)
    assert groups.plain == ("conv0/weights",)
    assert groups.averages == {"conv0/weights": "conv0/weights/ExponentialMovingAverage"}
    assert len(groups.ignored) >= 12


def test_refuses_a_real_v1_checkpoint(tf: Any, tmp_path: Path) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", shape=(2,))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(write_version=1).save(session, str(tmp_path / "model.ckpt"))
    for path in (tmp_path, tmp_path / "model.ckpt"):
        assert tf_checkpoint.is_checkpoint(path)
        with pytest.raises(WeightsError, match="V1 format"):
            tf_checkpoint.open_checkpoint(path)
    (tmp_path / "model.ckpt").rename(tmp_path / "renamed.index")
    with pytest.raises(WeightsError, match="V1 format"):
        tf_checkpoint.open_checkpoint(tmp_path / "renamed.index")


def test_tensorflow_reads_the_rebuilt_golden_checkpoint(tf: Any, tmp_path: Path) -> None:
    prefix = make_slim_checkpoint(tmp_path)
    reader = tf.train.load_checkpoint(str(prefix))
    name = "cell_11/comb_iter_0/left/separable_5x5_1/pointwise_weights"
    ours = tf_checkpoint.read_tensor(tf_checkpoint.open_checkpoint(prefix), name)
    np.testing.assert_array_equal(reader.get_tensor(name), ours, strict=True)
