import pytest

from nasnet import cells
from nasnet.errors import InputError


def test_reductions_sit_where_slim_puts_them() -> None:
    assert cells.MOBILE.reduction_indices == (4, 8)
    assert cells.LARGE.reduction_indices == cells.CIFAR.reduction_indices == (6, 12)


def test_path_dropout_counts_the_stem_cells_of_imagenet() -> None:
    totals = [cells.preset(name).total_num_cells for name in ("mobile", "large", "cifar")]
    assert totals == [16, 22, 20]


def test_preset_takes_both_spellings_and_lists_what_there_is() -> None:
    assert cells.preset("nasnet_mobile") is cells.preset("mobile") is cells.MOBILE
    with pytest.raises(InputError, match="mobile, large, cifar"):
        cells.preset("medium")


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
    operations: tuple[cells.CellOperation, ...],
    indices: tuple[int, ...],
    used: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        cells.Genotype(operations=operations, hiddenstate_indices=indices, used_hiddenstates=used)
