import numpy as np
import numpy.typing as npt
import pytest

from nasnet.network.spec import PRESETS
from nasnet.weights import genuine
from nasnet.weights.genuine import HEAD
from nasnet.weights.weights import Weights, seeded
from tests.support.weight_files import table_of


@pytest.fixture
def arrays(mobile: Weights) -> dict[str, npt.NDArray[np.float32]]:
    return dict(mobile.arrays)


def test_the_packaged_table_has_every_tensor_and_its_shape() -> None:
    table = genuine.published_table("mobile")
    assert len(table) == 1126
    assert table["final_layer/FC/weights"][1] == (1056, 1000)
    # three values as Keras' own index file of the published weights has them
    assert table["cell_0/final_path_bn/beta"][0] == 321322609
    assert table["cell_0/final_path_bn/gamma"][0] == 931706438
    assert table["cell_0/final_path_bn/moving_variance"][0] == 1841609524


def test_published_weights_are_genuine_with_either_head(
    arrays: dict[str, npt.NDArray[np.float32]],
) -> None:
    table = table_of(arrays)
    verdict = genuine.judge(arrays, spec="mobile", table=table)
    assert (verdict.status, verdict.matched, verdict.head_matched) == ("genuine", 1124, 2)
    without = {name: array[..., 1:] if name in HEAD else array for name, array in arrays.items()}
    assert genuine.judge(without, spec="mobile", table=table).head_matched == 2


def test_one_changed_bit_is_found(arrays: dict[str, npt.NDArray[np.float32]]) -> None:
    table = table_of(arrays)
    changed = arrays["cell_5/prev_bn/gamma"].copy()
    changed.view(np.uint32)[3] ^= 1
    verdict = genuine.judge(arrays | {"cell_5/prev_bn/gamma": changed}, spec="mobile", table=table)
    assert (verdict.status, verdict.word) == ("modified", "untrained or modified")
    assert verdict.matched == 1123


def test_a_new_head_on_genuine_features_is_told_apart(
    arrays: dict[str, npt.NDArray[np.float32]],
) -> None:
    table = table_of(arrays)
    own = seeded(8).arrays
    verdict = genuine.judge(arrays | {name: own[name] for name in HEAD}, spec="mobile", table=table)
    assert (verdict.status, verdict.head_matched, verdict.head_total) == ("genuine", 0, 2)


def test_missing_tensors_make_it_incomplete(arrays: dict[str, npt.NDArray[np.float32]]) -> None:
    table = table_of(arrays)
    del arrays["conv0/weights"]
    verdict = genuine.judge(arrays, spec="mobile", table=table)
    assert (verdict.status, verdict.missing) == ("incomplete", ("conv0/weights",))


def test_seeded_weights_match_nothing(mobile: Weights) -> None:
    verdict = genuine.judge(mobile.arrays, spec="mobile")
    assert (verdict.matched, verdict.head_matched, verdict.status) == (0, 0, "modified")


def test_without_fingerprints_nothing_is_claimed() -> None:
    verdict = genuine.judge(seeded(1, spec="cifar").arrays, spec="cifar")
    assert verdict.status == "unknown"
    known = [spec for spec in PRESETS if genuine.published_table(spec)]
    assert known == ["mobile"]
