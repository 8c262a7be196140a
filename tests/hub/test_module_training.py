"""The card's fine-tuning: `Module(trainable=True, tags={"train"})` gives what torch can train."""

from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import nasnet as hub
from nasnet.errors import InputError
from tests.support.golden import golden_images, relative_error
from tests.support.golden_seed import make_hub_module

SIZE = (64, 64)


def pictures(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SIZE, 3), dtype=np.float32)


def module(*, trainable: bool = True, train: bool = True, spec: str = "seeded:7") -> hub.Module:
    tags = {"train"} if train else None
    return hub.Module(spec, trainable=trainable, tags=tags, image_size=SIZE)


def averages(made: hub.Module) -> dict[str, np.ndarray]:
    return {n: v.numpy() for n, v in made.variable_map.items() if "/moving_" in n}


def test_one_step_changes_every_trainable_tensor_and_every_moving_average() -> None:
    made = module()
    before = {name: value.numpy() for name, value in made.variable_map.items()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    features = made(pictures())
    loss = (features * torch.linspace(-1, 1, 1056)).sum()
    (loss + sum(made.regularization_losses())).backward()
    optimizer.step()
    after = made.variable_map
    assert len(before) == 1124
    still = [name for name, value in before.items() if np.array_equal(value, after[name].numpy())]
    assert not still
    assert sum(value.trainable for value in after.values()) == 740


def test_regularization_losses_are_those_of_tf_slim() -> None:
    assert len(module().regularization_losses()) == 356


def cached(folder: Path, monkeypatch: pytest.MonkeyPatch, handle: str) -> str:
    """A published handle whose module lies in tensorflow-hub's cache."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder))
    monkeypatch.setenv("NASNET_OFFLINE", "1")
    name = hashlib.sha1(f"https://tfhub.dev/{handle}".encode()).hexdigest()
    make_hub_module(folder / name)
    return handle


@pytest.mark.parametrize(("version", "decay"), [(1, 0.9997), (3, 0.99)])
def test_a_published_module_has_the_signatures_and_the_decay_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, decay: float
) -> None:
    handle = f"google/imagenet/nasnet_mobile/feature_vector/{version}"
    made = module(spec=cached(tmp_path, monkeypatch, handle))
    expected = ["default", "image_feature_vector"]
    if version != 1:
        expected.append("image_feature_vector_with_bn_hparams")
    assert made.get_signature_names() == expected
    made(pictures())
    assert made.network.behaviour.decay == decay
    other = hub.load_module_spec(made.spec, image_size=(96, 96))
    assert other.get_signature_names() == expected
    made.export(tmp_path / "exported")
    opened = hub.load_module_spec(tmp_path / "exported").opened
    assert opened.signatures == made.spec.opened.signatures
    assert opened.batch_norm_momentum == decay


def test_the_momentum_signature_changes_the_decay_for_that_call() -> None:
    key = "conv0_bn/moving_mean"
    moved = {}
    for momentum in (None, 0.997):
        made = module()
        before = averages(made)[key] if made.variable_map else None
        if momentum is None:
            made(pictures())
        else:
            made(
                dict(images=pictures(), batch_norm_momentum=momentum),
                signature="image_feature_vector_with_bn_hparams",
            )
        moved[momentum] = averages(made)[key] - before
    np.testing.assert_allclose(moved[None] * 0.3, moved[0.997], rtol=1e-3, atol=1e-7)
    with pytest.raises(InputError, match=r"lies in \[0, 1\]"):
        module()(
            dict(images=pictures(), batch_norm_momentum=1.5),
            signature="image_feature_vector_with_bn_hparams",
        )


def test_without_the_train_tag_it_is_frozen_but_trainable() -> None:
    made = module(train=False)
    before = averages(made)
    images = golden_images("mobile")
    made = hub.Module("seeded:7", trainable=True)
    features = made(images)
    assert features.requires_grad
    assert relative_error(features.detach().numpy(), hub.Module("seeded:7")(images)) < 1e-5
    after = averages(made)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_train_tag_alone_uses_the_batchs_statistics_and_moves_nothing() -> None:
    made = module(trainable=False)
    first = made(pictures())
    assert not first.requires_grad
    torch.testing.assert_close(made(pictures()), first)
    frozen = module(trainable=False, train=False)(pictures())
    assert not np.allclose(first.numpy(), frozen, rtol=1e-2)
    with pytest.raises(InputError, match="trainable=True"):
        list(made.parameters())
    with pytest.raises(InputError, match="trainable=True"):
        made.regularization_losses()


def test_outputs_have_the_signatures_layout_and_gradients_reach_the_pictures() -> None:
    made = module()
    images = torch.from_numpy(pictures()).requires_grad_()
    outputs = made(images, signature="image_feature_vector", as_dict=True)
    assert outputs["nasnet_mobile/Cell_0"].shape == (3, 8, 8, 264)
    assert made.endpoints(images, ("Stem",))["Stem"].shape == (3, 8, 8, 88)
    outputs["default"].sum().backward()
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)


def test_uint8_and_floats_agree_in_training_mode() -> None:
    pixels = np.rint(pictures() * 255).astype(np.uint8)
    scaled = pixels / np.float32(255)
    made = module(trainable=False)
    torch.testing.assert_close(made(pixels), made(scaled))


def test_what_was_tuned_is_exported_and_loads_as_a_module(tmp_path: Path) -> None:
    made = module()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    made(pictures()).square().mean().backward()
    optimizer.step()
    made.export(tmp_path / "tuned")
    images = pictures(seed=1)
    back = hub.Module(tmp_path / "tuned")
    assert hub.get_expected_image_size(back) == [64, 64]
    made.network.eval()
    with torch.no_grad():
        expected = made.network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert relative_error(back(images), expected) < 1e-5
    assert "modified" in repr(back)
    assert "fine-tuned from seeded:7" in repr(back)


def test_exporting_what_did_not_move_warns(tmp_path: Path) -> None:
    made = module()
    made.network.behaviour.update = False
    made(pictures())
    with pytest.warns(UserWarning, match="nothing has moved"):
        made.export(tmp_path / "tuned")


def test_a_module_for_inference_has_no_torch_network() -> None:
    with pytest.raises(InputError, match="computes without torch"):
        module(trainable=False, train=False).network  # noqa: B018


def test_a_copy_of_a_trained_module_is_trained_and_its_own() -> None:
    made = module()
    made(pictures())  # moves the averages
    expected = averages(made)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        found = averages(other)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        other(pictures(seed=1))
        assert any(not np.array_equal(averages(other)[name], expected[name]) for name in expected)
        assert other.network.training
        assert len(list(other.parameters())) == 740
    assert all(np.array_equal(averages(made)[name], expected[name]) for name in expected)


def test_an_empty_batch_leaves_a_module_as_it_is() -> None:
    made = module()
    before = averages(made)
    assert made(pictures(0)).shape == (0, 1056)
    assert all(np.array_equal(averages(made)[name], before[name]) for name in before)


def test_a_tensor_of_another_kind_is_taken_or_its_remedy_is_told() -> None:
    made = module(train=False)
    expected = made(pictures()).detach()
    images = torch.from_numpy(pictures())
    for same in (torch._neg_view(-images), images.double()):
        torch.testing.assert_close(made(same).detach(), expected)
    torch.testing.assert_close(made(images.bfloat16()).detach(), expected, atol=0.05, rtol=0.05)
    momentum = torch.tensor(0.5, requires_grad=True)
    name = "image_feature_vector_with_bn_hparams"
    made(dict(images=images, batch_norm_momentum=momentum), signature=name)
    for odd in (torch.empty(images.shape, device="meta"), images.to_sparse()):
        with pytest.raises(InputError, match="images"):
            made(odd)
