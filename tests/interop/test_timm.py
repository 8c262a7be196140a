"""The networks in the real timm: its registry, optimizers, transforms and checkpoints."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nasnet
import nasnet.torch
from benchmarks.torchvision_here import import_torchvision
from nasnet.compute.torch.state import to_state
from nasnet.errors import InputError
from nasnet.network.code import encode
from nasnet.network.spec import MOBILE
from nasnet.weights.weights import seeded, write_safetensors
from tests.support import ROOT
from tests.support.pictures import pixels

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The maps are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def timm() -> Any:
    """The real timm, which knows the networks."""
    for package in ("timm", "torchvision"):
        if find_spec(package) is None:
            pytest.skip(f"could not import {package!r}: it is not installed")
    import_torchvision()
    import timm

    import nasnet.torch

    assert nasnet.torch.register_timm()
    return timm


def small(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(0))


def test_importing_the_package_is_all_it_takes(timm: Any) -> None:
    """In a process of its own, with timm imported after it."""
    code = (
        "from benchmarks.torchvision_here import import_torchvision; import_torchvision();"
        "import nasnet.torch, timm; print(*timm.list_models('nasnet_*'))"
    )
    root = ROOT
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["nasnet_cifar", "nasnet_large", "nasnet_mobile", "nasnet_own"]


def test_timm_makes_the_networks(timm: Any) -> None:
    import nasnet.torch

    # timm has the large network of its own under another name: that one stays.
    assert timm.list_models("nasnet*") == [
        *("nasnet_cifar", "nasnet_large", "nasnet_mobile", "nasnet_own", "nasnetalarge")
    ]
    assert timm.is_model("nasnet_mobile")
    model = timm.create_model("nasnet_mobile", num_classes=5)
    assert isinstance(model, nasnet.torch.NASNet)
    ours = nasnet.torch.create_model("nasnet_mobile", num_classes=5)
    with torch.no_grad():
        torch.testing.assert_close(model(small()), ours(small()), rtol=0, atol=0)
        assert model(small()).shape == (2, 5)
        assert timm.create_model("nasnet_mobile", num_classes=0)(small()).shape == (2, 1056)
    assert timm.create_model("nasnet_cifar").num_classes == 10


def test_features_only_gives_maps_and_says_which(timm: Any) -> None:
    """As `FeatureInfo` of timm's own networks says it, which segmentation packages ask."""
    own = timm.create_model("mobilenetv3_small_050", features_only=True, out_indices=(1, 2, 3))
    model = timm.create_model("nasnet_mobile", features_only=True, out_indices=(1, 2, 3))
    with torch.no_grad():
        maps = model(small(size=96))
    assert [found.shape[1] for found in maps] == model.feature_info.channels()
    assert [96 // found.shape[2] for found in maps] == model.feature_info.reduction() == [4, 8, 16]
    assert own.feature_info.reduction() == model.feature_info.reduction()
    info = model.feature_info
    assert type(own.feature_info.get_dicts()) is type(info.get_dicts())
    assert len(info) == len(own.feature_info) == 5
    assert info[1]["num_chs"] == info.channels(1) == info.channels()[0]
    assert own.feature_info[1]["num_chs"] == own.feature_info.channels(1)
    assert info.channels([0, 4]) == [32, 1056]
    assert info.get_dicts(keys=["reduction"]) == own.feature_info.get_dicts(keys=["reduction"])
    modules = dict(model.network.named_modules())
    assert all(name in modules for name in info.module_name())
    last = timm.create_model("nasnet_mobile", features_only=True, out_indices=2)
    assert last.feature_info.reduction() == [16, 32]
    with pytest.raises(InputError, match="no map 5"):
        timm.create_model("nasnet_mobile", features_only=True, out_indices=(1, 5))


def test_layer_decay_and_weight_decay_fall_where_they_should(timm: Any) -> None:
    from timm.optim import create_optimizer_v2

    model = timm.create_model("nasnet_mobile", num_classes=5)
    groups = create_optimizer_v2(
        model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.5
    ).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rows = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    assert set(rows) == set(names.values())
    assert sum(len(group["params"]) for group in groups) == len(rows)
    assert {name for name, (_, decay) in rows.items() if decay} == set(model.regularized())
    # Stem, 14 cells in the order of computation, head.
    scopes = [segment.scope for segment in model.segments if dict(segment.named_parameters())]
    scales = {scope: {rows[n][0] for n in rows if n.startswith(f"{scope}.")} for scope in scopes}
    stem = [scope for scope in scopes if scope.startswith(("conv0", "cell_stem"))]
    body = [scope for scope in scopes if scope not in stem]
    assert body[0] == "cell_0"
    assert body[-2:] == ["cell_11", "final_layer"]
    assert all(scales[scope] == {0.5**15} for scope in stem)
    for distance, scope in enumerate(reversed(body)):
        assert scales[scope] == {0.5**distance}, scope


@pytest.mark.parametrize("name", ["nasnet_mobile", "nasnet_cifar"])
def test_coarse_groups_are_the_stages(timm: Any, name: str) -> None:
    from timm.models import group_parameters

    model = timm.create_model(name, num_classes=5)
    groups = group_parameters(model, model.group_matcher(coarse=True))
    assert sum(len(names) for names in groups.values()) == len(dict(model.named_parameters()))
    found = [{name.partition(".")[0] for name in names} for _, names in sorted(groups.items())]
    assert found[-1] == {"final_layer"}
    assert len(found) == 5  # stem, three stages, head


def test_timms_transforms_fit_the_network(timm: Any) -> None:
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model("nasnet_mobile", num_classes=5)
    config = resolve_model_data_config(model)
    assert config["mean"] == (0.0, 0.0, 0.0)
    assert config["std"] == (1.0, 1.0, 1.0)
    assert config["input_size"] == (3, 224, 224)
    transform = create_transform(**config, is_training=False)
    picture = pixels(300, 400)
    tensor = transform(Image.fromarray(picture))
    assert tensor.shape == (3, 224, 224)
    # No other scale than [0, 1]: a picture's mean stays what it is.
    assert float(tensor.mean()) == pytest.approx(float(np.mean(picture) / 255), abs=0.05)
    assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1
    cifar = resolve_model_data_config(timm.create_model("nasnet_cifar"))
    assert cifar["input_size"] == (3, 32, 32)


def test_grad_checkpointing_changes_no_gradient(timm: Any) -> None:
    found = []
    for enable in (False, True):
        model = timm.create_model("nasnet_mobile", num_classes=5, drop_rate=0.0)
        model.train()
        model.set_grad_checkpointing(enable)
        model(small())[:, 0].sum().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
        found[-1] |= dict(model.named_buffers())
    assert set(found[0]) == set(found[1])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_model_ema_follows_weights_and_moving_averages(timm: Any) -> None:
    from timm.utils import ModelEmaV3

    model = timm.create_model("nasnet_mobile", num_classes=5)
    ema = ModelEmaV3(model, decay=0.75)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    torch.nn.functional.cross_entropy(model(small()), torch.tensor([0, 1])).backward()
    optimizer.step()
    ema.update(model)
    assert not ema.module.training
    assert not ema.module.behaviour.training
    assert model.behaviour.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            ema.module.state_dict()[key], start[key] * 0.75 + value * 0.25, msg=key
        )
    assert not torch.equal(
        model.state_dict()["conv0_bn.moving_mean"], start["conv0_bn.moving_mean"]
    )
    with torch.no_grad():
        assert ema(small()).shape == (2, 5)


def test_checkpoints_of_timm_and_hugging_face_are_loaded(timm: Any, tmp_path: Path) -> None:
    model = timm.create_model("nasnet_mobile", num_classes=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth.tar")
    model.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "checkpoint.pth.tar", tmp_path / "saved" / "model.safetensors"):
        back = timm.create_model("nasnet_mobile", num_classes=5, checkpoint_path=str(path))
        for key, value in model.state_dict().items():
            assert torch.equal(back.state_dict()[key], value), key


def test_pretrained_opens_the_file_it_is_given(timm: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights = seeded(7)
    write_safetensors(weights, path)
    options = dict(pretrained_cfg_overlay={"file": str(path)})
    model = timm.create_model("nasnet_mobile", pretrained=True, **options)
    assert model.num_classes == 1001
    fresh = timm.create_model("nasnet_mobile", pretrained=True, num_classes=5, **options)
    maps = timm.create_model("nasnet_mobile", pretrained=True, features_only=True, **options)
    expected = to_state(weights.arrays)
    for key, value in expected.items():
        assert torch.equal(model.state_dict()[key], value), key
        if not key.startswith("final_layer."):
            assert torch.equal(fresh.state_dict()[key], value), key
            assert torch.equal(maps.network.state_dict()[key], value), key
    # As everywhere in timm, nothing is opened without `pretrained`.
    untouched = timm.create_model("nasnet_mobile", num_classes=5, **options)
    assert not torch.equal(untouched.state_dict()["conv0.weights"], expected["conv0.weights"])


def test_an_exported_folder_is_a_local_dir(timm: Any, tmp_path: Path) -> None:
    asked = nasnet.ExportOptions(size=(64, 64), to="huggingface", output="classifier")
    nasnet.export("seeded:7", tmp_path / "hub", options=asked)
    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True)
    assert (type(network).__name__, network.num_classes) == ("NASNet", 1001)
    images = torch.from_numpy(pixels(64, 64)).permute(2, 0, 1)[None].float() / 255
    expected = nasnet.torch.create_model("nasnet_mobile", weights="seeded:7")
    with torch.no_grad():
        assert torch.equal(network(images), expected(images))


def test_what_it_cannot_do_is_said(timm: Any) -> None:
    for options, text in (
        (dict(in_chans=1), "in_chans=1"),
        (dict(global_pool="max"), "global_pool='max'"),
        (dict(drop_path_rate=0.2), "no path dropout"),
        (dict(pretrained=True, pretrained_cfg_overlay={"hf_hub_id": "a/b"}), "hf_hub_id"),
        (dict(pretrained=True, pretrained_cfg="in1k"), "no weights nasnet_mobile.in1k"),
    ):
        with pytest.raises(InputError, match=text):
            timm.create_model("nasnet_mobile", num_classes=5, **options)


def test_timms_names_of_dropout_are_taken(timm: Any) -> None:
    """timm's training script always passes `drop_rate`."""
    model = timm.create_model("nasnet_mobile", num_classes=5, drop_rate=0.0, drop_path_rate=0.0)
    assert model.behaviour.spec.dense_dropout_keep_prob == 1.0
    model.train()
    model.behaviour.update = False
    with torch.no_grad():
        assert torch.equal(model(small()), model(small()))
    cifar = timm.create_model("nasnet_cifar", drop_path_rate=0.25)
    assert cifar.behaviour.spec.drop_path_keep_prob == 0.75


def test_a_few_steps_with_timms_parts_lower_the_loss(timm: Any) -> None:
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    torch.manual_seed(0)
    model = timm.create_model("nasnet_mobile", num_classes=2, drop_rate=0.0)
    optimizer = create_optimizer_v2(model, "adamw", lr=2e-3, weight_decay=0.05, layer_decay=0.9)
    schedule = CosineLRScheduler(optimizer, t_initial=6)
    criterion = LabelSmoothingCrossEntropy(0.1)
    images, labels = small(4), torch.tensor([0, 1, 0, 1])
    model.train()
    losses = []
    for step in range(6):
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step(step + 1)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_a_network_of_ones_own_is_one_of_timms_models(timm: Any) -> None:
    code = encode(dataclasses.replace(MOBILE, name="found", num_cells=3, num_conv_filters=8))
    model = timm.create_model("nasnet_own", network=code, num_classes=5)
    assert (model.num_classes, model.num_features) == (5, 24 * 8)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
