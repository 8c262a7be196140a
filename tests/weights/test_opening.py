from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nasnet.errors import InputError, WeightsError
from nasnet.network.build import build_plan
from nasnet.network.spec import preset
from nasnet.weights import genuine, layouts, opening
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.opening import Averages, open_path, open_weights
from nasnet.weights.weights import Weights, fingerprint, seeded, write_safetensors
from tests.support.golden_seed import make_hub_module, make_slim_checkpoint
from tests.support.weight_files import table_of

Arrays = dict[str, npt.NDArray[np.float32]]
AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slim_checkpoint(tmp_path_factory.mktemp("slim"))


@pytest.fixture(scope="module")
def hub_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub_module(tmp_path_factory.mktemp("hub"))


def test_a_checkpoint_tensorflow_wrote_gives_the_seeded_weights(
    checkpoint: Path, mobile: Weights
) -> None:
    opened = open_path(checkpoint)
    assert fingerprint(opened.weights) == fingerprint(mobile)
    assert (opened.weights.spec, opened.weights.num_classes) == ("mobile", 1001)
    assert (opened.format, opened.weights.averaged) == ("TensorFlow V2 checkpoint", False)
    assert any(name.startswith("aux_7/") for name in opened.weights.arrays)
    assert opened.weights.status == "modified"
    assert "global_step" not in opened.weights.arrays


def test_its_folder_and_its_index_file_do_as_well(checkpoint: Path) -> None:
    for path in (checkpoint.parent, checkpoint.with_name("model.ckpt.index")):
        assert len(open_path(path).weights.arrays) == 1138


def test_a_hub_module_tells_task_and_size(hub_module: Path, mobile: Weights) -> None:
    opened = open_path(hub_module)
    assert (opened.format, opened.task, opened.image_size) == (
        "TF1 hub module",
        "feature_vector",
        (224, 224),
    )
    assert opened.weights.num_classes == 0
    for name, array in opened.weights.arrays.items():
        np.testing.assert_array_equal(array, mobile.arrays[name])


def test_what_is_opened_already_is_taken_as_it_is() -> None:
    opened = open_weights("seeded:3@cifar")

    class Holder:
        def __init__(self) -> None:
            self.opened = opened

    assert open_weights(opened) is opened
    assert open_weights(Holder()) is opened
    assert open_weights(Holder(), padding="keras").weights.padding == "keras"
    with pytest.raises(InputError, match="no padding"):
        open_weights(opened, padding="zeros")  # type: ignore[arg-type]


def test_safetensors_are_known_by_content(tmp_path: Path, mobile: Weights) -> None:
    write_safetensors(mobile, tmp_path / "weights.bin")
    opened = open_path(tmp_path / "weights.bin")
    assert (opened.format, opened.weights.status) == ("safetensors", "untrained")


def test_seeds_open_for_every_preset() -> None:
    assert open_weights("seeded:3").weights.source == "seeded:3"
    opened = open_weights("seeded:3@cifar")
    assert (opened.weights.spec, opened.image_size) == ("cifar", (32, 32))
    assert (opened.weights.source, opened.weights.status) == ("seeded:3@cifar", "untrained")
    with pytest.raises(InputError, match="no preset 'huge'"):
        open_weights("seeded:3@huge")


def small_checkpoint(folder: Path, tensors: Arrays) -> Path:
    tf_checkpoint.write_checkpoint(folder / "model.ckpt", tensors)
    return folder / "model.ckpt"


@pytest.fixture(scope="module")
def plain() -> Arrays:
    return dict(seeded(1, spec="cifar").arrays)


@pytest.fixture(scope="module")
def moved() -> Arrays:
    return {name + AVERAGE: array for name, array in seeded(2, spec="cifar").arrays.items()}


@pytest.mark.parametrize(
    ("averages", "seed", "averaged"), [("auto", 2, True), ("plain", 1, False), ("average", 2, True)]
)
def test_averages_are_taken_where_there_are_any_unless_told_otherwise(
    tmp_path: Path, plain: Arrays, moved: Arrays, averages: Averages, seed: int, averaged: bool
) -> None:
    slots = {f"{name}/RMSProp_1": array for name, array in plain.items()}
    path = small_checkpoint(tmp_path, plain | moved | slots)
    opened = open_path(path, averages=averages)
    assert fingerprint(opened.weights) == fingerprint(seeded(seed, spec="cifar"))
    assert opened.weights.averaged is averaged
    assert "moving averages" in opened.notes[0]


@pytest.mark.parametrize("published", ["plain", "averages"])
def test_the_set_that_is_the_published_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: str
) -> None:
    one, two = dict(seeded(1).arrays), dict(seeded(2).arrays)
    table = table_of(one if published == "plain" else two)
    monkeypatch.setattr(genuine, "published_table", lambda spec: table)
    path = small_checkpoint(tmp_path, one | {n + AVERAGE: a for n, a in two.items()})
    opened = open_path(path)
    assert opened.weights.averaged is (published == "averages")
    assert opened.verdict.status == opened.weights.status == "genuine"


def test_a_checkpoint_of_averages_alone_opens(tmp_path: Path, moved: Arrays) -> None:
    path = small_checkpoint(tmp_path, moved)
    assert fingerprint(open_path(path).weights) == fingerprint(seeded(2, spec="cifar"))
    with pytest.raises(WeightsError, match="moving averages only"):
        open_path(path, averages="plain")


def test_averages_that_are_not_there_cannot_be_forced(tmp_path: Path, plain: Arrays) -> None:
    with pytest.raises(WeightsError, match=r"model\.ckpt\.index: has no moving averages"):
        open_path(small_checkpoint(tmp_path, plain), averages="average")


def test_a_module_inside_a_users_graph_is_found_by_its_scope(tmp_path: Path, plain: Arrays) -> None:
    scoped = {f"tower/module/{name}": array for name, array in plain.items()}
    own = {"my_head/kernel": np.zeros((768, 3), np.float32)}
    opened = open_path(small_checkpoint(tmp_path, scoped | own))
    assert fingerprint(opened.weights) == fingerprint(seeded(1, spec="cifar"))
    assert "scope 'tower/module/'" in opened.notes[0]


def test_two_modules_in_one_checkpoint_are_not_guessed_between(
    tmp_path: Path, plain: Arrays
) -> None:
    twice = {f"{scope}/{name}": array for name, array in plain.items() for scope in "ab"}
    with pytest.raises(WeightsError, match="2 NASNet-A networks, in the scopes a/, b/"):
        open_path(small_checkpoint(tmp_path, twice))


def test_a_network_without_a_scope_is_the_checkpoints_own(tmp_path: Path, plain: Arrays) -> None:
    teacher = {f"teacher/{name}": array for name, array in seeded(2).arrays.items()}
    opened = open_path(small_checkpoint(tmp_path, plain | teacher))
    assert fingerprint(opened.weights) == fingerprint(seeded(1, spec="cifar"))
    assert "tensors of something else were left alone" in opened.notes[-1]


def test_half_precision_is_widened_and_integers_are_refused(tmp_path: Path, plain: Arrays) -> None:
    tensors: dict[str, npt.NDArray[np.generic]] = dict(plain)
    tensors["cell_0/1x1/weights"] = plain["cell_0/1x1/weights"].astype(np.float16)
    tf_checkpoint.write_checkpoint(tmp_path / "half", tensors)
    assert open_path(tmp_path / "half").weights.arrays["cell_0/1x1/weights"].dtype == np.float32
    tensors["cell_0/1x1/weights"] = plain["cell_0/1x1/weights"].astype(np.int32)
    tf_checkpoint.write_checkpoint(tmp_path / "ints", tensors)
    with pytest.raises(WeightsError, match="cell_0/1x1/weights is int32"):
        open_path(tmp_path / "ints")


def test_a_part_of_the_large_network_is_told_from_the_mobile_one(tmp_path: Path) -> None:
    """Its first cells have the mobile network's names, and other shapes."""
    shapes = build_plan(preset("large"), num_classes=0).parameters
    first = ("conv0", "cell_stem_", "cell_0/", "cell_1/")
    some = {
        name: np.ones(shape, np.float32) for name, shape in shapes.items() if name.startswith(first)
    }
    opened = open_path(small_checkpoint(tmp_path, some), partial=True)
    assert (opened.weights.spec, opened.verdict.status) == ("large", "incomplete")
    assert len(opened.weights.arrays) == len(some)


def test_what_is_no_finite_number_is_refused(tmp_path: Path, plain: Arrays) -> None:
    broken = plain | {"cell_0/1x1/weights": np.full_like(plain["cell_0/1x1/weights"], np.nan)}
    with pytest.raises(WeightsError, match="cell_0/1x1/weights holds a value that is not a finite"):
        open_path(small_checkpoint(tmp_path, broken))


def test_averages_are_told_by_the_layouts_names(tmp_path: Path) -> None:
    """A port's checkpoint, under its own names, with averages of some variables."""
    one, two = (seeded(seed, num_classes=0) for seed in (1, 2))
    names = layouts.places("tensornets", "mobile", 0)
    tensors = {f"port/{names[name].key}": array for name, array in one.arrays.items()}
    tensors |= {f"port/{names[n].key}{AVERAGE}": array for n, array in two.arrays.items()}
    path = small_checkpoint(tmp_path, tensors)
    for averages, expected in (("auto", two), ("plain", one)):
        opened = open_path(path, averages=averages)  # type: ignore[arg-type]
        assert fingerprint(opened.weights) == fingerprint(expected)
        assert opened.weights.averaged is (expected is two)


def test_incomplete_weights_open_for_looking_only(tmp_path: Path, plain: Arrays) -> None:
    less = {name: array for name, array in plain.items() if name != "cell_9/1x1/weights"}
    path = small_checkpoint(tmp_path, less)
    with pytest.raises(WeightsError, match="tensor cell_9/1x1/weights of nasnet_cifar is missing"):
        open_path(path)
    opened = open_path(path, partial=True)
    assert (opened.verdict.status, opened.verdict.missing) == (
        "incomplete",
        ("cell_9/1x1/weights",),
    )


def test_what_is_nothing_of_ours_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(WeightsError, match=r"notes\.txt: this file is not a module or weight file"):
        open_path(tmp_path / "notes.txt")
    with pytest.raises(WeightsError, match="no such file"):
        open_path(tmp_path / "nowhere")


def test_the_default_is_the_module_this_package_stands_for() -> None:
    assert opening.DEFAULT_HANDLE.endswith("google/imagenet/nasnet_mobile/feature_vector/3")
