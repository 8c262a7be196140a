"""The PyTorch network: TF-Slim's numbers in both modes, torch's and timm's habits."""

from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.compute.torch.operations import Behaviour, compute
from nasnet.errors import InputError, SignatureError, WeightsError
from nasnet.network.plan import Operation
from nasnet.network.spec import CIFAR, MOBILE
from nasnet.torch import FeatureMaps, create_model
from nasnet.weights.initial import initial
from nasnet.weights.weights import seeded
from tests.support.golden import golden_images, golden_numbers, relative_error, statistic

DECAY = {"mobile": 0.99, "cifar": 0.9}


def pictures(spec: str = "mobile") -> torch.Tensor:
    return torch.from_numpy(golden_images(spec)).permute(0, 3, 1, 2)


def small(count: int = 2, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(seed))


def network(spec: str = "mobile", *, aux_head: bool = False) -> NASNet:
    made = NASNet(spec, aux_head=aux_head)
    made.load(seeded(7, spec=spec, aux_head=aux_head))
    return made


def golden_network(spec: str) -> NASNet:
    """As the golden numbers were made: dropout and path dropout off, batch statistics on."""
    made = network(spec, aux_head=True)
    made.train()
    made.behaviour.spec = dataclasses.replace(
        made.spec, dense_dropout_keep_prob=1.0, drop_path_keep_prob=1.0
    )
    made.behaviour.decay = DECAY[spec]
    return made


def golden_endpoints(spec: str, mode: str) -> dict[tuple[str, str], np.ndarray]:
    return {
        (key.split("/")[1].rsplit(".", 1)[0], key.rsplit(".", 1)[1]): value
        for key, value in golden_numbers(spec).items()
        if key.startswith(f"{mode}/") and "updated" not in key
    }


def nhwc(value: torch.Tensor) -> np.ndarray:
    array: np.ndarray = value.detach().double().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_evaluation_mode_is_tf_slims(spec: str) -> None:
    expected = golden_endpoints(spec, "eval")
    made = network(spec)
    with torch.no_grad():
        found = made.compute(pictures(spec), sorted({name for name, _ in expected}))
    for (name, kind), value in expected.items():
        assert relative_error(statistic(nhwc(found[name]), kind), value) < 1e-5, name


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_training_mode_is_tf_slims(spec: str) -> None:
    """To 1e-5, and where TF-Slim's own float32 is further off than that, as near as it allows.

    With batch statistics over two or three pictures, rounding errors grow from cell to cell: the
    golden float32 numbers differ from the same computation in float64 by up to 4.6e-4 (AuxLogits
    of cifar), and ours by as much again, depending on the number of threads. Cell by cell, with
    the same input, all agree to 1e-5: see the tests against TensorFlow itself.
    """
    expected = golden_endpoints(spec, "train")
    names = sorted({name for name, _ in expected})
    with torch.no_grad():
        found = golden_network(spec).compute(pictures(spec), names)
        exact = golden_network(spec).double().compute(pictures(spec).double(), names)
    tight = 0
    for (name, kind), value in expected.items():
        single = statistic(nhwc(found[name]), kind)
        rounding = relative_error(statistic(nhwc(exact[name]), kind), value)
        assert relative_error(single, value) < 1e-5 + 4 * rounding, name
        # The exact result itself lies within what float32 can do.
        assert rounding < 5e-4, name
        tight += relative_error(single, value) < 1e-5
    assert tight > len(expected) / 2


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_one_training_pass_moves_the_averages_as_tf_slim_does(spec: str) -> None:
    made = golden_network(spec)
    with torch.no_grad():
        made(pictures(spec))
    arrays = made.weights(source="test").arrays
    updated = {
        key.removeprefix("train/updated/"): value
        for key, value in golden_numbers(spec).items()
        if key.startswith("train/updated/")
    }
    assert updated
    for name, value in updated.items():
        assert relative_error(arrays[name], value) < 1e-5, name


def test_state_dict_keys_are_tf_slims_names_with_dots() -> None:
    keys = set(network(aux_head=True).state_dict())
    assert "cell_3.comb_iter_0.left.separable_5x5_1.depthwise_weights" in keys
    assert "aux_7.aux_logits.Conv.weights" in keys
    assert len(keys) == 1138
    assert {key.replace(".", "/") for key in keys} == set(seeded(7, aux_head=True).arrays)


def test_weights_come_back_bit_for_bit() -> None:
    given = seeded(7, aux_head=True)
    back = network(aux_head=True).weights(source="test")
    for name, array in given.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array, err_msg=name)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (97, 64), (60, 61)])
def test_any_size_gives_the_numbers_of_the_engines(height: int, width: int) -> None:
    from nasnet.compute import engine

    images = np.random.default_rng(0).random((2, height, width, 3), dtype=np.float32)
    weights = seeded(7)
    made = engine.create(weights, engine.EngineOptions(engine="onnxruntime"))
    expected = engine.run(made, images, ("global_pool", "Stem"))
    with torch.no_grad():
        found = network().compute(
            torch.from_numpy(images).permute(0, 3, 1, 2), ("global_pool", "Stem")
        )
    for name, value in expected.items():
        assert relative_error(nhwc(found[name]), value) < 1e-5, name


def test_a_single_value_a_channel_normalizes_to_beta_and_leaves_its_variance_alone() -> None:
    operation = Operation(name="bn", kind="batch_norm", inputs=("x",), shape=(1, 1, 2))
    parameters = {
        "beta": torch.tensor([1.0, 2.0]),
        "gamma": torch.ones(2),
        "moving_mean": torch.zeros(2),
        "moving_variance": torch.ones(2),
    }
    behaviour = Behaviour(spec=MOBILE, training=True, decay=0.9)
    x = torch.tensor([5.0, 7.0])[None, :, None, None]
    assert compute(operation, [x], parameters, behaviour).flatten().tolist() == [1.0, 2.0]
    torch.testing.assert_close(parameters["moving_mean"], torch.tensor([0.5, 0.7]))
    torch.testing.assert_close(parameters["moving_variance"], torch.tensor([0.9, 0.9]))


def drop_path(cell: int, progress: float) -> torch.Tensor:
    """What becomes of 4,000 ones: 0, or 1 / keep."""
    behaviour = Behaviour(spec=CIFAR, training=True, progress=torch.tensor(progress))
    operation = Operation(name="d", kind="drop_path", inputs=("x",), shape=(1, 1, 1), cell=cell)
    torch.manual_seed(0)
    return compute(operation, [torch.ones(4000, 1, 1, 1)], {}, behaviour).flatten()


@pytest.mark.parametrize(
    ("cell", "progress", "keep"), [(19, 1.0, 0.6), (9, 1.0, 0.8), (19, 0.5, 0.8), (19, 0.0, 1.0)]
)
def test_path_dropout_scales_with_layer_and_step(cell: int, progress: float, keep: float) -> None:
    values = drop_path(cell, progress)
    kept = values[values > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / keep))
    assert len(kept) / len(values) == pytest.approx(keep, abs=0.03)


def test_mobile_drops_no_paths_and_no_one_does_in_evaluation_mode() -> None:
    assert not any(op.kind == "drop_path" for op in network().plan.operations)
    made = network("cifar")
    x = small(size=32)
    torch.testing.assert_close(made(x), made(x))


def test_dropout_stands_between_features_and_classifier_only() -> None:
    made = network().train()
    made.behaviour.statistics = "moving"
    x = small()
    first, second = (made.compute(x, ("global_pool", "Logits")) for _ in range(2))
    torch.testing.assert_close(first["global_pool"], second["global_pool"])
    assert not torch.allclose(first["Logits"], second["Logits"])


def test_a_network_of_several_processes_draws_one_mask_for_the_whole_batch() -> None:
    operation = Operation(name="d", kind="dropout", inputs=("x",), shape=(8,))
    whole = Behaviour(spec=MOBILE, training=True)
    torch.manual_seed(3)
    expected = compute(operation, [torch.ones(6, 8)], {}, whole)
    parts = []
    for rank in range(2):
        part = Behaviour(spec=MOBILE, training=True, replica=(rank, 2))
        torch.manual_seed(3)
        parts.append(compute(operation, [torch.ones(3, 8)], {}, part))
    torch.testing.assert_close(torch.cat(parts), expected)


def test_l2_covers_kernels_and_nothing_else() -> None:
    made = NASNet(num_classes=0)
    assert len(made.regularized()) == 356
    assert sum(p.numel() for p in made.regularized().values()) == 4_196_240
    assert "final_layer.FC.weights" in NASNet().regularized()
    losses = network().regularization_losses()
    key = "conv0.weights"
    kernel = seeded(7).arrays["conv0/weights"].astype(np.float64)
    assert float(losses[key].detach()) == pytest.approx(4e-5 * (kernel**2).sum() / 2, rel=1e-5)


def test_initial_values_are_tf_slims() -> None:
    arrays = initial(0, aux_head=True).arrays
    for name, fan_out in (
        ("conv0/weights", 3 * 3 * 32),
        ("cell_5/prev_1x1/weights", 88),
        ("cell_0/comb_iter_0/left/separable_5x5_1/depthwise_weights", 25),
        ("final_layer/FC/weights", 1001),
    ):
        deviation = np.sqrt(1.3 * 2 / fan_out)
        array = arrays[name]
        assert np.abs(array).max() <= 2 * deviation
        # A normal cut at two deviations keeps 0.8796 of its deviation.
        assert array.std() == pytest.approx(0.8796 * deviation, rel=0.1), name
    assert (arrays["conv0_bn/gamma"] == 1).all()
    assert (arrays["conv0_bn/moving_variance"] == 1).all()
    assert not arrays["final_layer/FC/biases"].any()
    np.testing.assert_array_equal(arrays["conv0/weights"], initial(0).arrays["conv0/weights"])


def test_checkpointed_cells_give_the_same_gradients_and_move_averages_once() -> None:
    plain, saving = network(), network()
    saving.set_grad_checkpointing()
    results = []
    for made in (plain, saving):
        made.train()
        torch.manual_seed(1)
        made(small()).square().mean().backward()
        results.append(
            (
                made.get_parameter("conv0.weights").grad,
                made.get_buffer("cell_3.beginning_bn.moving_mean").clone(),
            )
        )
    torch.testing.assert_close(results[0], results[1])


def test_the_auxiliary_head_says_when_pictures_have_another_size() -> None:
    made = NASNet(aux_head=True, height=224).train()
    with pytest.raises((InputError, RuntimeError)):
        made.compute(small(size=320), ("AuxLogits",))
    assert made.eval()(small(size=96)).shape == (2, 1001)


def test_timm_habits() -> None:
    made = network()
    x = small()
    features = made.forward_features(x)
    assert features.shape == (2, 1056, 2, 2)
    torch.testing.assert_close(made.forward_head(features), made(x))
    pooled = made.compute(x, ("global_pool",))["global_pool"]
    torch.testing.assert_close(made.forward_head(features, pre_logits=True), pooled)
    assert made.get_classifier().weights.shape == (1001, 1056)
    assert made.num_features == made.head_hidden_size == 1056
    decayed = set(made.regularized())
    assert made.no_weight_decay() == {k for k, _ in made.named_parameters()} - decayed
    assert made.default_cfg["mean"] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_feature_maps_are_all_given_where_nobody_chooses(spec: str) -> None:
    made = create_model(f"nasnet_{spec}", features_only=True)
    assert isinstance(made, FeatureMaps)
    maps = made(small())
    info = made.feature_info
    assert [found.shape[1] for found in maps] == info.channels()
    assert [round(small().shape[2] / found.shape[2]) for found in maps] == info.reduction()
    with torch.no_grad():
        for index, found in enumerate(copy.deepcopy(made)(small())):
            torch.testing.assert_close(found, maps[index])


def test_an_empty_batch_moves_no_averages() -> None:
    made = NASNet("cifar").train()
    before = {key: value.clone() for key, value in made.named_buffers()}
    logits = made(small()[:0])
    assert logits.shape == (0, made.num_classes)
    assert all(torch.equal(value, before[key]) for key, value in made.named_buffers())
    logits.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.parameters())


def test_a_new_classifier_keeps_the_trunk() -> None:
    made = network()
    before = made.get_parameter("cell_7.1x1.weights").clone()
    made.reset_classifier(5)
    assert made(small()).shape == (2, 5)
    torch.testing.assert_close(made.get_parameter("cell_7.1x1.weights"), before)
    made.reset_classifier(0)
    assert made(small()).shape == (2, 1056)
    assert isinstance(made.get_classifier(), torch.nn.Identity)
    with pytest.raises(InputError, match="averages"):
        made.reset_classifier(5, global_pool="max")


def test_group_matcher_puts_layers_in_their_order() -> None:
    import re

    table = network().group_matcher()
    order = [
        next(number for pattern, (number,) in table["blocks"] if re.match(pattern, key))
        for key in ("cell_0.1x1.weights", "cell_3.1x1.weights", "reduction_cell_0.1x1.weights")
    ]
    assert order == [0, 3, 4]
    assert re.match(table["stem"], "cell_stem_1.1x1.weights")
    assert {n for _, (n,) in network().group_matcher(coarse=True)["blocks"]} == {0, 1, 2}


def test_mistakes_are_told() -> None:
    made = network()
    with pytest.raises(SignatureError, match="no endpoint 'cell_3'"):
        made.compute(small(), ("cell_3",))
    with pytest.raises(InputError, match=r"\[n, 3, height, width\]"):
        made(torch.zeros(2, 64, 64, 3))
    with pytest.raises(WeightsError, match="nasnet_cifar"):
        made.load(seeded(7, spec="cifar"))
    with pytest.raises(WeightsError, match=r"final_layer/FC/weights has shape \[1056, 5\]"):
        made.load(seeded(7, num_classes=5))
    made.load(seeded(8, num_classes=5), new_head=True)


def test_autocast_channels_last_and_copies_work() -> None:
    made = network().to(memory_format=torch.channels_last)
    x = small()
    with torch.no_grad():
        expected = made(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = made(x)
        torch.testing.assert_close(copy.deepcopy(made)(x), expected)
    cosine = torch.nn.functional.cosine_similarity(half.float(), expected).min()
    assert cosine > 0.99


COMPILED = """
import torch
from nasnet.compute.torch.model import NASNet
from nasnet.weights.weights import seeded

x = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
for spec, make in (
    ("mobile", lambda made: torch.export.export(made, (x,), strict=False).module()),
    ("cifar", lambda made: torch.compile(made, backend="eager", fullgraph=True)),
):
    made = NASNet(spec)
    made.load(seeded(7, spec=spec))
    with torch.no_grad():
        torch.testing.assert_close(make(made)(x), made(x))
"""


def test_torch_export_and_compile_take_the_whole_network() -> None:
    """In a process of its own: what they hook into the interpreter stays there."""
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


NARROW = """
import dataclasses
import sys
import torch
from nasnet.network.spec import PRESETS
from nasnet.compute.torch.model import NASNet

name, filters, stem, size, times = sys.argv[1], *map(int, sys.argv[2:])
spec = dataclasses.replace(
    PRESETS[name], name="small", num_cells=2, num_conv_filters=filters, stem_filters=stem
)
made = NASNet(spec, num_classes=3).to(memory_format=torch.channels_last).train()
x = torch.rand(8, 3, size, size).contiguous(memory_format=torch.channels_last)
for _ in range(times):
    made(x).sum().backward()
"""


@pytest.mark.parametrize(
    ("most", "network"),
    [("AVX2", "cifar 4 6 32 20"), ("AVX512_CORE", "mobile 8 32 224 3")],
)
def test_a_narrow_network_trains_whatever_the_processor(most: str, network: str) -> None:
    """oneDNN corrupts the heap there; the process ends by a signal, if at all."""
    command = [sys.executable, "-W", "ignore", "-c", NARROW, *network.split()]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": most, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_saving_and_loading_the_hugging_face_way(tmp_path: Path) -> None:
    made = network()
    made.reset_classifier(4)
    made.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()
    back = NASNet.from_pretrained(tmp_path / "model")
    assert back.num_classes == 4
    with torch.no_grad():
        torch.testing.assert_close(back(small()), made(small()))
    with pytest.raises(WeightsError, match="not opened"):
        NASNet._load_as_pickle(made, "pytorch_model.bin", "cpu", False)


def test_training_by_averages_folds_batch_norm_into_convolutions_and_changes_nothing() -> None:
    spec = dataclasses.replace(CIFAR, name="small", num_cells=2, num_conv_filters=4, stem_filters=6)
    network = NASNet(spec, num_classes=3).double()
    random = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        value.copy_(torch.rand(value.shape, generator=random).double() * 0.5 + 0.2)
    network.behaviour.statistics = "moving"
    network.behaviour.spec = dataclasses.replace(
        spec, drop_path_keep_prob=1.0, dense_dropout_keep_prob=1.0
    )
    network.train()
    images = torch.rand((2, 3, 32, 32), generator=random, dtype=torch.float64)

    def found() -> list[torch.Tensor]:
        network.zero_grad()
        logits = network(images)
        logits.square().sum().backward()
        return [logits.detach(), *(parameter.grad for parameter in network.parameters())]

    assert sum(len(segment._norms) for segment in network.segments) > 20
    folded = found()
    for segment in network.segments:
        segment._norms = {}
    for one, other in zip(folded, found(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
