from xml.etree import ElementTree

from nasnet.network.drawing import cell_svg
from nasnet.network.spec import NORMAL_A, OPERATIONS, Block, genotype


def _texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter() if "text" in text.tag]


def test_a_drawing_shows_each_operation_how_blocks_combine_and_the_output() -> None:
    texts = _texts(cell_svg(NORMAL_A, "NASNet-A <normal> & co"))
    assert texts[0] == "NASNet-A <normal> & co"
    assert texts.count("add") == 5
    assert texts.count("sep 5x5") == 2
    assert texts.count("avg 3x3") == 3
    assert texts.count("identity") == 2
    assert texts[-1].startswith("concat")


def test_every_operation_can_be_drawn() -> None:
    blocks = [
        Block(left=(operation, number), right=("none", 0), combine="concat")
        for number, operation in enumerate(OPERATIONS)
    ]
    texts = _texts(cell_svg(genotype(blocks)))
    assert len(set(texts)) == len(OPERATIONS) + 4  # their words, concat, two inputs, the output
