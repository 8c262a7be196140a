"""Networks of one's own in PyTorch: the module agrees with NumPy, and every weight learns."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import nasnet.torch  # noqa: E402
from nasnet.compute.torch.model import NASNet  # noqa: E402
from nasnet.errors import WeightsError  # noqa: E402
from nasnet.network.code import encode  # noqa: E402
from nasnet.weights.initial import initial  # noqa: E402
from nasnet.weights.networks import write_network  # noqa: E402
from nasnet.weights.weights import program_of, seeded, write_safetensors  # noqa: E402
from tests.support import reference  # noqa: E402
from tests.support.cells import all_kinds, random_spec  # noqa: E402


@pytest.mark.parametrize("number", range(6))
def test_the_module_agrees_with_numpy_and_gradients_reach_every_weight(number: int) -> None:
    # No dropout of paths: one that is dropped for all pictures learns nothing.
    spec = random_spec(number, drop_path_keep_prob=1.0) if number else all_kinds()
    weights = seeded(3, spec=encode(spec))
    network = NASNet(spec)
    network.load(weights)
    pixels = torch.from_numpy(np.random.default_rng(0).random((3, 3, 41, 36), np.float32))
    expected = reference.compute(program_of(weights, 41, 36), pixels.permute(0, 2, 3, 1).numpy())[
        "Logits"
    ]
    with torch.no_grad():
        found = network(pixels).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    network.train()
    network(pixels).square().sum().backward()
    still = [
        name
        for name, value in network.named_parameters()
        if value.grad is None or not value.grad.abs().max() > 0
    ]
    assert still == []


def test_a_network_is_made_from_a_row_a_code_a_file_and_weights(tmp_path: Path) -> None:
    spec = all_kinds()
    file = tmp_path / "best.toml"
    write_network(file, spec)
    weights = initial(5, spec=spec)
    write_safetensors(weights, tmp_path / "own.safetensors")
    made = [
        NASNet(spec, seed=5),
        NASNet(encode(spec), seed=5),
        nasnet.torch.create_model(str(file), seed=5),
        nasnet.torch.create_model(weights=tmp_path / "own.safetensors"),
    ]
    for network in made:
        assert isinstance(network, NASNet)
        assert network.spec == spec
        for name, array in network.weights(source="test").arrays.items():
            np.testing.assert_array_equal(array, weights.arrays[name])
    network = made[0]
    assert isinstance(network, NASNet)
    network.save_pretrained(tmp_path / "hub")
    again = NASNet.from_pretrained(tmp_path / "hub")
    assert again.spec == spec


def test_weights_of_another_network_are_refused_by_name() -> None:
    other = seeded(0, spec=encode(random_spec(1)))
    with pytest.raises(WeightsError, match=r"of nasnet_random, this .* nasnet_kinds"):
        NASNet(all_kinds()).load(other)
