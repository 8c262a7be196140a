from hypothesis import given, strategies as st

from nasnet.network.plan import same_padding


@given(
    size=st.integers(1, 500), kernel=st.sampled_from([1, 3, 5, 7]), stride=st.sampled_from([1, 2])
)
def test_same_padding_covers_every_output_and_leans_to_the_end(
    size: int, kernel: int, stride: int
) -> None:
    before, after = same_padding(size, kernel, stride)
    assert 0 <= after - before <= 1
    outputs = (size + before + after - kernel) // stride + 1
    assert outputs >= -(-size // stride)
    if before + after:
        assert outputs == -(-size // stride), "padding is no larger than needed"


def test_same_padding_at_the_sizes_of_the_network() -> None:
    assert [same_padding(111, k, 2) for k in (3, 5, 7)] == [(1, 1), (2, 2), (3, 3)]
    assert [same_padding(56, k, 2) for k in (3, 5, 7)] == [(0, 1), (1, 2), (2, 3)]
    assert [same_padding(28, k, 1) for k in (3, 5, 7)] == [(1, 1), (2, 2), (3, 3)]
