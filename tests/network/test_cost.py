import random
from dataclasses import replace

import pytest

from nasnet.errors import InputError
from nasnet.network.build import build_plan
from nasnet.network.cost import canonical, fit_filters, multiply_adds
from nasnet.network.spec import MOBILE, NORMAL_A, Block, Genotype, genotype
from nasnet.network.summary import summarise
from tests.support.cells import random_cell, random_spec


def test_multiply_adds_are_those_of_the_summary() -> None:
    assert multiply_adds(MOBILE) == summarise(build_plan(MOBILE)).multiply_adds
    spec = random_spec(2)
    assert multiply_adds(spec, 48) == summarise(build_plan(spec, height=48, width=48)).multiply_adds


@pytest.mark.parametrize("seed", range(8))
def test_a_budget_is_used_up_to_four_percent_and_never_passed(seed: int) -> None:
    spec = random_spec(seed, num_classes=20)
    budget = 60_000_000 if spec.stem == "cifar" else 3_000_000
    found = fit_filters(spec, budget, 64)
    assert found.multiply_adds == multiply_adds(found.spec, 64)
    assert 0.96 <= found.share == found.multiply_adds / budget <= 1
    assert found.spec.normal == spec.normal
    # Nothing wider would have been possible.
    wider = replace(found.spec, num_conv_filters=found.spec.num_conv_filters + 1)
    assert multiply_adds(wider, 64) > budget


def test_a_budget_that_nothing_fits_is_refused() -> None:
    with pytest.raises(InputError, match="the narrowest, 8 filters, costs"):
        fit_filters(random_spec(0), 1000, 64)


def _respelt(cell: Genotype, chance: random.Random) -> Genotype:
    """The same cell with its blocks in another order that works, and sides changed."""
    order, left = [0, 1], set(range(2, len(cell.blocks) + 2))
    while left:
        ready = [s for s in left if all(r in order for _, r in cell.blocks[s - 2].sides)]
        order.append(chance.choice(ready))
        left.remove(order[-1])
    place = {state: number for number, state in enumerate(order)}
    blocks = []
    for state in order[2:]:
        sides = [(operation, place[read]) for operation, read in cell.blocks[state - 2].sides]
        chance.shuffle(sides)
        blocks.append(Block(left=sides[0], right=sides[1], combine=cell.blocks[state - 2].combine))
    return genotype(blocks, [place[state] for state in cell.output])


def test_two_spellings_of_a_cell_have_one_canonical_form() -> None:
    chance = random.Random(0)
    for _ in range(50):
        cell = random_cell(chance)
        form = canonical(cell)
        assert canonical(form) == form
        for _ in range(4):
            assert canonical(_respelt(cell, chance)) == form
    # It is the same cell still.
    costs = {multiply_adds(replace(random_spec(0), normal=one)) for one in (cell, form)}
    assert len(costs) == 1


def test_equal_blocks_that_other_blocks_tell_apart_have_one_form() -> None:
    twin = Block(left=("none", 0), right=("1x1", 1))
    ends = Block(left=("3x3", 2), right=("1x1", 2)), Block(left=("none", 3), right=("1x1", 0))
    swapped = (
        Block(left=("3x3", 3), right=("1x1", 3)),
        Block(left=("none", 2), right=("1x1", 0)),
    )
    assert canonical(genotype([twin, twin, *ends])) == canonical(genotype([twin, twin, *swapped]))


def test_different_cells_stay_different() -> None:
    chance = random.Random(1)
    assert len({canonical(random_cell(chance)) for _ in range(300)}) == 300
    other = replace(NORMAL_A, combine=("concat", *NORMAL_A.combine[1:]))
    assert canonical(other) != canonical(NORMAL_A)
    assert canonical(replace(NORMAL_A, used_hiddenstates=(1, 1, 0, 0, 0, 0, 0))) != canonical(
        NORMAL_A
    )
