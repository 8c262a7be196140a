import math

import pytest

from nasnet.errors import InputError, SignatureError
from nasnet.network.build import build_plan
from nasnet.network.spec import CIFAR, LARGE, MOBILE, Spec, preset


def parameters(spec: Spec, *, num_classes: int | None = None, aux_head: bool = False) -> int:
    plan = build_plan(spec, num_classes=num_classes, aux_head=aux_head)
    return sum(math.prod(shape) for shape in plan.parameters.values())


def test_mobile_has_the_published_number_of_parameters() -> None:
    assert parameters(MOBILE, num_classes=0) == 4_269_716
    assert parameters(MOBILE, num_classes=1000) == 5_326_716
    assert parameters(MOBILE) == 5_327_773
    assert parameters(MOBILE, aux_head=True) == 7_741_574


def test_large_has_the_published_number_of_parameters() -> None:
    assert parameters(LARGE) == 88_953_851


@pytest.mark.parametrize(("name", "expected"), [("mobile", 563_639_872), ("large", 23.78e9)])
def test_multiply_adds_are_the_published_ones(name: str, expected: float) -> None:
    plan = build_plan(preset(name))
    total = sum(plan.multiply_adds(operation) for operation in plan.operations)
    assert total == pytest.approx(expected, rel=2e-4)


def test_mobile_endpoints_have_slims_shapes() -> None:
    plan = build_plan(MOBILE)
    shapes = {name: plan.endpoint(name).shape for name in plan.endpoints}
    expected: dict[str, tuple[int, ...]] = {"Stem": (28, 28, 88)}
    expected |= {f"Cell_{i}": (28, 28, 264) for i in range(4)}
    expected |= {"Reduction_Cell_0": (14, 14, 352)}
    expected |= {f"Cell_{i}": (14, 14, 528) for i in range(4, 8)}
    expected |= {"Reduction_Cell_1": (7, 7, 704)}
    expected |= {f"Cell_{i}": (7, 7, 1056) for i in range(8, 12)}
    expected |= {"global_pool": (1056,), "Logits": (1001,), "Predictions": (1001,)}
    assert shapes == expected
    assert list(plan.endpoints) == list(expected), "in Slim's order"


def test_no_classifier_without_classes() -> None:
    plan = build_plan(MOBILE, num_classes=0)
    assert "Logits" not in plan.endpoints
    assert not any(name.startswith("final_layer/FC") for name in plan.parameters)


def test_stem_pads_evenly_at_111_and_after_at_even_sizes() -> None:
    plan = build_plan(MOBILE)
    first = plan["cell_stem_0/comb_iter_0/left/separable_5x5_1/depthwise"]
    assert first.padding == ((2, 2), (2, 2))
    second = plan["cell_stem_1/comb_iter_0/left/separable_5x5_1/depthwise"]
    assert second.padding == ((1, 2), (1, 2))
    assert plan["cell_stem_1/comb_iter_1/left/pool"].padding == ((0, 1), (0, 1))


def test_only_cifars_first_cell_projects_pools_and_unused_states() -> None:
    projections = [n for n in build_plan(CIFAR).parameters if "cell_output" in n]
    assert {name.split("/")[0] for name in projections} == {"cell_0"}
    for spec in (MOBILE, LARGE):
        names = build_plan(spec).parameters
        assert not any("cell_output" in name or "bn_1/" in name for name in names)


def test_path_dropout_is_planned_where_the_recipe_has_any() -> None:
    def kinds(spec: Spec) -> set[str]:
        return {operation.kind for operation in build_plan(spec).operations}

    assert "drop_path" not in kinds(MOBILE)
    assert "drop_path" in kinds(LARGE) & kinds(CIFAR)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 64), (225, 223), (331, 600)])
def test_parameters_do_not_depend_on_the_size(size: tuple[int, int]) -> None:
    plan = build_plan(MOBILE, height=size[0], width=size[1])
    assert plan.parameters == build_plan(MOBILE).parameters
    assert plan.num_features == 1056


def test_each_operation_reads_only_earlier_ones() -> None:
    seen = {"images"}
    for operation in build_plan(LARGE, aux_head=True).operations:
        assert seen.issuperset(operation.inputs)
        assert operation.name not in seen
        seen.add(operation.name)


def test_too_small_and_too_large_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="40x9000 px are too large: 8,192 px"):
        build_plan(MOBILE, height=40, width=9000)
    with pytest.raises(InputError, match="31x40 px are too small: 32 px"):
        build_plan(MOBILE, height=31, width=40)
    with pytest.raises(InputError, match="auxiliary head"):
        build_plan(MOBILE, height=32, width=32, aux_head=True)


def test_an_unknown_endpoint_lists_those_there_are() -> None:
    with pytest.raises(SignatureError, match="no endpoint 'Cell_12'; there are Stem, Cell_0"):
        build_plan(MOBILE).endpoint("Cell_12")


def test_fewer_than_no_classes_are_refused() -> None:
    with pytest.raises(InputError, match="num_classes starts at 0"):
        build_plan(MOBILE, num_classes=-1)
