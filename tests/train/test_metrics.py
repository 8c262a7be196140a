"""Metrics against scikit-learn, against small cases done by hand, and what they refuse."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from nasnet.errors import InputError
from nasnet.text import display_name
from nasnet.train.metrics import (
    Scores,
    as_dict,
    by_recall,
    most_confused,
    score,
    table,
    temperature,
    wilson_interval,
)

Logits = npt.NDArray[np.float32]


def drawn(
    count: int, width: int, *, seed: int = 0, sharp: float = 2.0
) -> tuple[Logits, npt.NDArray[np.int64]]:
    """Logits of a middling classifier."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, width, count)
    logits = random.normal(size=(count, width))
    logits[np.arange(count), labels] += 1.0
    return (sharp * logits).astype(np.float32), labels


def names(width: int) -> list[str]:
    return [f"class {at}" for at in range(width)]


def softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def cross_entropy(logits: npt.NDArray[Any], labels: npt.NDArray[Any], heat: float) -> float:
    shares = softmax(np.asarray(logits / heat, np.float64))
    return float(-np.log(shares[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize(("count", "width"), [(400, 7), (60, 30), (50, 2)])
def test_scores_are_those_of_scikit_learn(count: int, width: int) -> None:
    logits, labels = drawn(count, width, seed=width)
    found = score(logits, labels, names(width))
    everything = list(range(width))
    predicted, probabilities = logits.argmax(axis=1), softmax(logits)
    present = sorted(set(labels.tolist()))

    np.testing.assert_array_equal(
        found.confusion, confusion_matrix(labels, predicted, labels=everything)
    )
    assert found.confusion.dtype == np.int64
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=everything, zero_division=np.nan
    )
    rows = found.classes
    np.testing.assert_allclose([row.precision for row in rows], precision, rtol=1e-12)
    np.testing.assert_allclose([row.recall for row in rows], recall, rtol=1e-12)
    np.testing.assert_allclose([row.f1 for row in rows], f1, rtol=1e-12)
    assert [row.support for row in rows] == support.tolist()
    assert [row.name for row in rows] == names(width)
    for at, row in enumerate(rows):
        if at in present:
            expected = average_precision_score(labels == at, probabilities[:, at])
            assert row.average_precision == pytest.approx(expected, rel=1e-9)
        else:
            assert math.isnan(row.average_precision)

    assert found.count == count
    assert found.top1 == pytest.approx((predicted == labels).mean())
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.loss == pytest.approx(log_loss(labels, probabilities, labels=everything))
    # scikit-learn warns where a class was predicted that has no pictures
    if set(predicted.tolist()) <= set(present):
        assert found.mean_class_accuracy == pytest.approx(
            balanced_accuracy_score(labels, predicted)
        )
    if width > 5:
        expected = top_k_accuracy_score(labels, logits, k=5, labels=everything)
        assert found.top5 == pytest.approx(expected)
    else:
        assert found.top5 == 1.0


def test_one_class_alone_is_always_right() -> None:
    logits, labels = drawn(9, 1)
    found = score(logits, labels, ["all"])
    assert (found.top1, found.top5, found.loss) == (1.0, 1.0, 0.0)
    assert found.confusion.tolist() == [[9]]
    assert found.classes[0].average_precision == 1.0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_average_precision_shares_ties_as_scikit_learn_does(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 25))
    # two classes and whole numbers: many equal probabilities
    gap = data.draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))
    labels = np.asarray(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    logits = np.stack([np.zeros(count), np.asarray(gap)], axis=1).astype(np.float32)
    found = score(logits, labels, ["no", "yes"]).classes[1].average_precision
    if labels.any():
        assert found == pytest.approx(average_precision_score(labels, gap))
    else:
        assert math.isnan(found)


def test_equal_logits_rank_by_index_so_a_constant_classifier_gets_its_due() -> None:
    labels = np.repeat(np.arange(10), 3)
    found = score(np.zeros((30, 10), np.float32), labels, names(10))
    assert found.top1 == pytest.approx(0.1)
    assert found.top5 == pytest.approx(0.5)
    assert found.confusion[:, 0].tolist() == [3] * 10
    assert found.loss == pytest.approx(math.log(10))


def test_top5_of_few_classes_counts_what_there_is() -> None:
    logits, labels = drawn(40, 4)
    assert score(logits, labels, names(4)).top5 == 1.0


def test_classes_without_pictures_or_predictions_are_undefined_and_out_of_the_means() -> None:
    logits = np.array([[3, 0, 0, 0], [3, 0, 0, 0], [0, 0, 3, 0]], np.float32)
    found = score(logits, np.array([0, 1, 0]), ["a", "b", "c", "d"])
    a, b, c, d = found.classes
    assert (a.recall, a.precision, a.f1) == (0.5, 0.5, 0.5)
    assert (b.recall, b.f1) == (0.0, 0.0)
    assert math.isnan(b.precision)
    assert (c.precision, c.f1) == (0.0, 0.0)
    assert math.isnan(c.recall)
    assert math.isnan(d.recall)
    assert math.isnan(d.f1)
    assert found.mean_class_accuracy == pytest.approx(0.25)
    assert found.macro_f1 == pytest.approx(0.5 / 3)
    assert by_recall(found) == [1, 0, 2, 3]


def test_many_rows_are_scored_in_blocks_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, labels = drawn(100, 6)
    whole = as_dict(score(logits, labels, names(6)))
    monkeypatch.setattr("nasnet.train.metrics.checks._BLOCK", 42)
    assert as_dict(score(logits, labels, names(6))) == whole


def test_huge_logits_give_finite_numbers() -> None:
    logits = np.array([[3e38, -3e38], [-3e38, 3e38], [3e38, -3e38]], np.float32)
    found = score(logits, np.array([0, 1, 1]), ["a", "b"])
    assert found.top1 == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(6e38 / 3, rel=1e-6)
    assert math.isfinite(temperature(logits, np.array([0, 1, 1])))


def test_calibration_error_by_hand() -> None:
    # confidence 0.7 twice (bin 11 of 15: 0.6667..0.7333), one right; 0.95 once, right
    shares = np.array([[0.7, 0.3], [0.7, 0.3], [0.05, 0.95]])
    found = score(np.log(shares).astype(np.float32), np.array([0, 1, 1]), ["a", "b"]).calibration
    assert found.counts.tolist() == [0] * 10 + [2, 0, 0, 0, 1]
    assert len(found.edges) == 16
    assert found.confidence[10] == pytest.approx(0.7)
    assert found.accuracy[10] == 0.5
    assert math.isnan(found.accuracy[0])
    assert found.ece == pytest.approx((2 * 0.2 + 1 * 0.05) / 3, rel=1e-6)
    assert found.mce == pytest.approx(0.2, rel=1e-6)


def test_certainty_falls_into_the_last_bin() -> None:
    logits = np.array([[200, 0], [0, 200]], np.float32)
    found = score(logits, np.array([0, 1]), ["a", "b"]).calibration
    assert found.counts.tolist() == [0] * 14 + [2]
    assert (found.ece, found.mce) == (0.0, 0.0)


@pytest.mark.parametrize("sharp", [0.3, 1.0, 4.0, 30.0])
def test_temperature_is_where_the_cross_entropy_is_least(sharp: float) -> None:
    logits, labels = drawn(300, 5, seed=3, sharp=sharp)
    found = temperature(logits, labels)
    least = cross_entropy(logits, labels, found)
    tried = [cross_entropy(logits, labels, found * by) for by in (0.98, 0.999, 1.001, 1.02)]
    assert least < min(tried)
    # sharpening the logits sharpens the answer by as much
    blunt, _ = drawn(300, 5, seed=3, sharp=1.0)
    assert found / sharp == pytest.approx(temperature(blunt, labels), rel=1e-4)
    # the true logits of these pictures have sharp = 1
    assert 0.9 < found / sharp < 1.1


def test_temperature_ends_at_its_bounds_and_leaves_the_undecided_alone() -> None:
    logits, labels = drawn(50, 3)
    perfect = np.eye(3, dtype=np.float32)[labels] * 5
    assert temperature(perfect, labels) == pytest.approx(0.01)
    assert temperature(-perfect, labels) == pytest.approx(100.0)
    assert temperature(np.ones_like(logits), labels) == 1.0
    assert temperature(logits[:, :1], labels * 0) == 1.0


def nan_at(row: int) -> Logits:
    logits, _ = drawn(6, 3)
    logits[row, 1] = np.nan
    return logits


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "text"),
    [
        (np.zeros((0, 3), np.float32), np.zeros(0, int), names(3), "at least one row"),
        (np.zeros(3, np.float32), np.zeros(3, int), names(3), r"float32 \[3\]"),
        (np.zeros((2, 3), int), np.zeros(2, int), names(3), "expected floats"),
        (np.zeros((2, 3), np.float32), np.zeros(3, int), names(3), r"integers \[2\]"),
        (np.zeros((2, 3), np.float32), np.zeros(2), names(3), "expected integers"),
        (np.zeros((2, 3), np.float32), np.array([0, 3]), names(3), "row 1 is 3, expected 0 to 2"),
        (np.zeros((2, 3), np.float32), np.array([-1, 0]), names(3), "row 0 is -1"),
        (np.zeros((2, 3), np.float32), np.array([0, 1]), names(2), "2 names.*3 columns"),
        (np.zeros((2, 3), np.float32), np.array([0, 1]), "abc", "sequence of names"),
        (np.zeros((2, 3), np.float32), np.array([0, 1]), [1, 2, 3], "sequence of names"),
        (nan_at(4), np.zeros(6, int), names(3), "row 4 .* not finite"),
        (np.full((2, 3), 1e300), np.array([0, 1]), names(3), "row 0 .* not finite"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    logits: Any, labels: Any, classes: Any, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        score(logits, labels, classes)


def test_temperature_refuses_the_same() -> None:
    with pytest.raises(InputError, match="row 2 "):
        temperature(nan_at(2), np.zeros(6, int))


def some_scores(width: int = 8) -> Scores:
    logits, labels = drawn(90, width, seed=5)
    labels[labels == 3] = 4  # a class without pictures
    return score(logits, labels, names(width))


def test_the_dictionary_is_json_without_nan() -> None:
    found = some_scores()
    text = json.dumps(as_dict(found), allow_nan=False)
    read = json.loads(text)
    assert read["top1"] == found.top1
    assert read["confusion"] == found.confusion.tolist()
    assert read["classes"][3]["recall"] is None
    assert read["classes"][0]["name"] == "class 0"
    assert len(read["calibration"]["edges"]) == 16
    assert None in read["calibration"]["accuracy"]


def test_the_table_starts_with_the_whole_then_the_worst_class() -> None:
    found = some_scores()
    lines = table(found).splitlines()
    assert lines[0].startswith(f"90 pictures, top-1 {found.top1:.2%}, top-5 {found.top5:.2%}")
    assert lines[2].split() == ["class", "pictures", "recall", "precision", "F1", "AP"]
    worst = found.classes[by_recall(found)[0]]
    assert lines[3].startswith(worst.name)
    assert f"{worst.recall:.4f}" in lines[3]
    recalls = [float(line.split()[3]) for line in lines[3:-1]]
    assert recalls == sorted(recalls)
    assert lines[-1].split()[:4] == ["class", "3", "0", "-"], "without pictures, so last"
    assert len({len(line) for line in lines[2:]}) == 1


def test_the_table_counts_what_it_leaves_out() -> None:
    found = some_scores()
    assert table(found, limit=3).splitlines()[-1] == "(5 more classes not shown)"
    assert len(table(found, limit=3).splitlines()) == 7
    assert table(found, limit=7).splitlines()[-1] == "(1 more class not shown)"
    assert table(found, limit=0).splitlines()[1:] == ["(8 classes not shown)"]
    with pytest.raises(InputError, match="limit is -1"):
        table(found, limit=-1)


def test_the_table_leaves_out_a_top5_that_cannot_fail() -> None:
    logits, labels = drawn(20, 5)
    assert "top-5" not in table(score(logits, labels, names(5)))


def test_names_in_a_table_cannot_drive_the_terminal_and_keep_the_columns() -> None:
    logits, labels = drawn(30, 3)
    odd = ["\x1b[2Jred\nline", "猫" * 40, "x" * 80]
    lines = table(score(logits, labels, odd)).splitlines()
    assert len(lines) == 6
    assert not any(character < " " for line in lines for character in line)
    wide = next(line for line in lines if "猫" in line)
    other = next(line for line in lines if "xxx" in line)
    assert len(wide) + wide.count("猫") == len(other)


@given(st.text(max_size=60), st.integers(5, 40))
@settings(max_examples=100, deadline=None)
def test_a_shown_name_can_be_written_and_fits(name: str, cells: int) -> None:
    shown = display_name(name, cells)
    shown.encode("utf-8")
    assert shown
    assert not any(character < " " or character == "\x7f" for character in shown)
    assert display_name(shown, cells) == shown, "and fits by its own measure"


def test_a_name_is_cut_in_the_middle_for_the_ends_tell_names_apart() -> None:
    assert display_name("abcdefghijklmnop", 10) == "abcde...op"
    assert display_name("  ") == "(no name)"
    assert display_name("\ud800\u202eab\nc") == "\ufffd\ufffdab c"
    assert display_name("猫猫猫猫猫猫猫猫", 10) == "猫猫...猫"


def test_most_confused_are_the_largest_counts_off_the_diagonal() -> None:
    found = some_scores()
    pairs = most_confused(found, limit=4)
    off = found.confusion - np.diag(found.confusion.diagonal())
    assert [pair.count for pair in pairs] == sorted(off.ravel().tolist(), reverse=True)[:4]
    assert all(found.confusion[pair.true, pair.predicted] == pair.count for pair in pairs)
    perfect = np.eye(3, dtype=np.float32)
    assert most_confused(score(perfect, np.arange(3), names(3))) == ()


def test_wilson_interval_by_the_book() -> None:
    low, high = wilson_interval(0.5, 100)
    assert low == pytest.approx(0.40383, abs=1e-5)
    assert high == pytest.approx(0.59617, abs=1e-5)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(1.0, 10)[0] == pytest.approx(0.72247, abs=1e-5)
    assert wilson_interval(0.0, 10)[0] == pytest.approx(0.0, abs=1e-12)
