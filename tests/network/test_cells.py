import pytest

from nasnet.errors import InputError
from nasnet.network.spec import CIFAR, LARGE, MOBILE, CellOperation, Genotype, preset


def test_reductions_sit_where_slim_puts_them() -> None:
    assert MOBILE.reduction_indices == (4, 8)
    assert LARGE.reduction_indices == CIFAR.reduction_indices == (6, 12)


def test_path_dropout_counts_the_stem_cells_of_imagenet() -> None:
    totals = [preset(name).total_num_cells for name in ("mobile", "large", "cifar")]
    assert totals == [16, 22, 20]


def test_preset_takes_both_spellings_and_lists_what_there_is() -> None:
    assert preset("nasnet_mobile") is preset("mobile") is MOBILE
    with pytest.raises(InputError, match="mobile, large, cifar"):
        preset("medium")


@pytest.mark.parametrize(
    ("operations", "indices", "used", "message"),
    [
        (("none",), (0,), (0, 0), "two operations"),
        (("none", "none"), (0, 2), (0, 0, 0), "not made yet"),
        (("none", "none"), (0, 1), (0, 0), "has 3 states"),
        (("none", "none"), (0, 1), (1, 1, 1), "empty output"),
    ],
)
def test_a_genotype_that_cannot_be_built_is_refused(
    operations: tuple[CellOperation, ...],
    indices: tuple[int, ...],
    used: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        Genotype(operations=operations, hiddenstate_indices=indices, used_hiddenstates=used)
