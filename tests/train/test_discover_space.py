"""NASNet's space as strategies see it: draws, small changes, one text a cell, equal cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasnet.errors import InputError
from nasnet.network.cost import canonical, multiply_adds
from nasnet.network.spec import OPERATIONS
from nasnet.train.discover.nasnet_space import NASNET_A, Cells, NasnetSpace
from nasnet.train.discover.options import DiscoverOptions, rungs, scaled
from nasnet.train.discover.products import cells_of, delivered


def space_of(skeleton: str = "mobile", rung: int = 0) -> NasnetSpace:
    step = rungs(DiscoverOptions(skeleton=skeleton))[rung]  # type: ignore[arg-type]
    return NasnetSpace(scaled(skeleton, step, 10), step.multiply_adds)


SPACE = space_of()
RANDOM: list[Cells] = [SPACE.sample(np.random.default_rng(seed)) for seed in range(12)]


def test_draws_are_the_generators_and_use_the_whole_space() -> None:
    assert SPACE.sample(np.random.default_rng(3)) == RANDOM[3]
    used = {op for cells in RANDOM for cell in cells for op in cell.operations}
    assert used == set(OPERATIONS)
    assert {how for cells in RANDOM for cell in cells for how in cell.combine} == {"add", "concat"}


@pytest.mark.parametrize("skeleton", ["mobile", "cifar"])
@pytest.mark.parametrize("rung", [0, 2])
def test_every_network_costs_the_same(skeleton: str, rung: int) -> None:
    space = space_of(skeleton, rung)
    for cells in (NASNET_A, *RANDOM[:3]):
        fitted = space.fitted(cells)
        assert 0.96 * space.multiply_adds <= fitted.multiply_adds <= space.multiply_adds
        assert multiply_adds(fitted.spec) == fitted.multiply_adds == space.cost(cells)


def test_a_mutation_is_one_small_change() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for cells in (NASNET_A, *RANDOM[:5]):
        for _ in range(10):
            other = SPACE.mutate(cells, rng)
            assert SPACE.key(other) != SPACE.key(cells)
            changed = [
                (name, at)
                for one, two in zip(cells, other, strict=True)
                for name in ("operations", "hiddenstate_indices", "combine")
                for at, pair in enumerate(zip(getattr(one, name), getattr(two, name), strict=True))
                if pair[0] != pair[1]
            ]
            assert len(changed) == 1
            kinds.add(changed[0][0])
    assert kinds == {"operations", "hiddenstate_indices", "combine"}


def test_the_text_of_a_cell_is_its_canonical_form_and_can_be_read() -> None:
    for cells in (NASNET_A, *RANDOM):
        read = cells_of(SPACE.key(cells))
        assert read == tuple(canonical(one) for one in cells)
        assert SPACE.key(read) == SPACE.key(cells)
        np.testing.assert_array_equal(SPACE.features(read), SPACE.features(cells))


def test_cells_fit_the_larger_networks_too() -> None:
    larger = scaled("mobile", rungs(DiscoverOptions())[2], 10)
    space = NasnetSpace(SPACE.network, SPACE.multiply_adds, later=((larger, 1000),))
    with pytest.raises(InputError, match="1,000 multiply-adds"):
        space.fitted(NASNET_A)


def test_what_fits_nothing_is_said() -> None:
    small = NasnetSpace(replace(SPACE.network), 1000)
    with pytest.raises(InputError, match="1,000 multiply-adds"):
        small.fitted(NASNET_A)


def test_the_network_that_is_delivered_fits_the_budget() -> None:
    options = DiscoverOptions(multiply_adds=300_000_000)
    for share in (0.5, 1.0):
        fitted = delivered(RANDOM[0], options, share)
        assert 0.96 * 3e8 * share <= fitted.multiply_adds <= 3e8 * share
        assert (fitted.spec.normal, fitted.spec.reduction) == RANDOM[0]
        assert fitted.spec.num_cells == 12
