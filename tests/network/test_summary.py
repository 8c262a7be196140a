from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE, preset
from nasnet.network.summary import summarise


def test_blocks_add_up_to_the_network() -> None:
    summary = summarise(build_plan(MOBILE))
    assert summary.parameters == sum(block.parameters for block in summary.blocks) == 5_327_773
    assert summary.trainable == 5_291_035
    assert summary.multiply_adds == summary.blocks[-1].total_multiply_adds == 563_639_872


def test_mobile_has_its_cells_in_order_with_their_ends() -> None:
    blocks = {block.name: block for block in summarise(build_plan(MOBILE)).blocks}
    cells_of_mobile = [f"cell_{index}" for index in range(12)]
    cells_of_mobile.insert(8, "reduction_cell_1")
    cells_of_mobile.insert(4, "reduction_cell_0")
    assert list(blocks) == [
        "conv0",
        "cell_stem_0",
        "cell_stem_1",
        *cells_of_mobile,
        "final_layer",
    ]
    assert blocks["cell_stem_1"].endpoint == "Stem"
    assert blocks["cell_8"].endpoint == "Cell_8"
    assert blocks["final_layer"].endpoint == "global_pool, Logits, Predictions"
    assert blocks["conv0"].shape == (111, 111, 32)


def test_previous_inputs_are_adjusted_as_slim_does() -> None:
    def factorized(name: str) -> list[str]:
        blocks = summarise(build_plan(preset(name))).blocks
        return [block.name for block in blocks if block.previous == "factorized"]

    assert factorized("mobile") == ["cell_stem_1", "cell_0", "cell_4", "cell_8"]
    assert factorized("large") == ["cell_stem_1", "cell_0", "cell_6", "cell_12"]
