"""`nasnet train` as people run it: recipes, whole runs, and what is said where they cannot be."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.errors import InputError, NasnetError, OutputError, SourceError, TrainingError
from nasnet.pictures.augment import preset
from nasnet.pictures.batches import TrainBatch
from nasnet.pictures.sources import Dataset, Example
from nasnet.train.from_scratch import TrainSummary, train
from nasnet.train.loop import TrainEvent
from nasnet.train.recipe import Stage, TrainRecipe
from nasnet.train.recipe_files import read_recipe, shipped_recipes
from nasnet.train.run import classification, network_for, without_room
from nasnet.weights.weights import read_safetensors, seeded
from tests.support.pictures import encoded, jpeg, pixels
from tests.support.training import one_thread, same, untimed

__all__ = ["one_thread"]  # a fixture

NASNET = [sys.executable, "-m", "nasnet"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = """
network = "mobile"
label_smoothing = 0.1
mixup = 0.2

[augment]
area = [0.5, 1.0]

[train]
clip = 5.0
batch_norm_momentum = 0.9
checkpoint_seconds = 0

[train.optimizer]
kind = "rmsprop"
learning_rate = 1e-2

[[stages]]
epochs = 1
size = 32
batch_size = 4

[[stages]]
epochs = 1
size = 48
batch_size = 2
without = ["red/0"]
"""


def nasnet_(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NASNET, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=240,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("data")
    for place, name in enumerate(("blue", "red")):
        (folder / name).mkdir()
        for number in range(6):
            picture = pixels(40, 40, seed=number) // 3
            picture[..., 2 * (1 - place)] += 150
            (folder / name / f"{number}.jpg").write_bytes(encoded(picture, quality=95))
    (folder / "red" / "broken.jpg").write_bytes(jpeg()[:300])
    return folder


def recipe_file(folder: Path, text: str = SMALL) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


# -- whole runs


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run that was interrupted and started again, and what the command said both times."""
    folder = tmp_path_factory.mktemp("runs")
    command = ("train", data, "-o", folder / "run", "--recipe", recipe_file(folder))
    with subprocess.Popen(
        [*NASNET, *map(str, command)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as running:
        end = time.monotonic() + 120
        while not (folder / "run" / "checkpoint.safetensors").exists():
            assert time.monotonic() < end
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        first = running.stderr.read()
    assert running.returncode == 130, first
    assert not (folder / "run" / "weights.safetensors").exists()
    again = nasnet_(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout == ""
    return folder / "run", first, again.stderr


def test_a_run_ends_in_a_module_and_a_log(done: tuple[Path, str, str]) -> None:
    folder, first, said = done
    assert first.endswith("run: the same command continues from here\n\nnasnet: stopped\n")
    module = nasnet.Module(folder)
    assert nasnet.get_expected_image_size(module) == [48, 48]
    logits = module(np.stack([pixels(48, 48)]))
    assert logits.shape == (1, 2)
    assert [row["epoch"] for row in rows(folder)] == [1, 2]
    told = {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    assert told <= set(rows(folder)[0])
    assert re.search(r"^epoch 2 of 2: train_loss \d.* validation_accuracy", said, re.M)
    assert re.search(r"^.*run: \d+ pictures, 2 epochs, best epoch [12], \d+ s$", said, re.M)
    assert (folder / "best.safetensors").exists()


def arrays(folder: Path) -> dict[str, np.ndarray]:
    weights = read_safetensors(folder / "weights.safetensors")
    assert weights.labels == ("blue", "red")
    return dict(weights.arrays)


def test_it_ends_as_an_unbroken_one(
    data: Path, done: tuple[Path, str, str], tmp_path: Path
) -> None:
    started(data, tmp_path / "run", recipe=read_recipe(recipe_file(tmp_path)))
    assert same(arrays(tmp_path / "run"), arrays(done[0]))
    assert untimed(rows(tmp_path / "run")) == untimed(rows(done[0]))


def test_started_again_a_finished_run_changes_nothing(
    data: Path, done: tuple[Path, str, str]
) -> None:
    folder = done[0]
    log, before = (folder / "log.csv").read_bytes(), arrays(folder)
    started(data, folder, recipe=read_recipe(folder.parent / "my.toml"))
    assert same(arrays(folder), before)
    assert (folder / "log.csv").read_bytes() == log


# -- what cannot be


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["{missing}"], "missing: no such file or folder", 1),
        (["{one}"], r"only one class \(red\) has pictures to train on", 1),
        (["{empty}"], "empty: empty; expected", 1),
        (["{data}", "--recipe", "none"], "none: no recipe of that name", 2),
        (["{data}", "--device", "abacus"], "device 'abacus' cannot be used here", 2),
        (["{data}", "--validation-fraction", "2"], "validation_fraction is 2.0", 2),
    ],
)
def test_mistakes_are_one_line(
    data: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    status: int,
    capfd: Any,
    monkeypatch: Any,
) -> None:
    from nasnet.cli import main

    (tmp_path / "one" / "red").mkdir(parents=True)
    (tmp_path / "one" / "red" / "0.jpg").write_bytes(jpeg())
    (tmp_path / "empty").mkdir()
    places = {name: tmp_path / name for name in ("missing", "one", "empty")} | {"data": data}
    if "--recipe" not in arguments:
        arguments = [*arguments, "--recipe", str(recipe_file(tmp_path))]
    filled = [argument.format(**places) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["nasnet", "train", *filled, "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr()
    assert ended.value.code == status
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert re.search(f"^nasnet: .*{message}", lines[0])


def started(
    data: Path, folder: Path, *, on_event: Callable[[TrainEvent], None] | None = None, **how: Any
) -> TrainSummary:
    recipe = TrainRecipe(name="test", stages=(Stage(epochs=1, size=32, batch_size=4),))
    return train(data, folder, how.pop("recipe", recipe), on_event=on_event, **how)


def test_pictures_that_cannot_be_read_and_notes_are_told(data: Path, tmp_path: Path) -> None:
    for name in ("blue", "red"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / "train" / name / f"{number}.jpg").write_bytes(jpeg(seed=number))
        (tmp_path / "data" / "val" / name / "9.jpg").write_bytes(jpeg(seed=9))
    (tmp_path / "data" / "train" / "red" / "0.jpg").write_bytes(b"no picture")
    events: list[TrainEvent] = []
    summary = started(tmp_path / "data", tmp_path / "run", on_event=events.append)
    assert [failure.id for failure in summary.failures] == ["train/red/0.jpg"]
    assert summary.pictures == 6
    notes = [event.text for event in events if event.kind == "note"]
    assert list(summary.notes) == notes[: len(summary.notes)]
    assert "the split of the data is used: 6 pictures to train on" in notes[0]


def test_another_runs_folder_is_refused_and_overwritten_when_told(
    data: Path, tmp_path: Path
) -> None:
    renamed = TrainRecipe(name="renamed", stages=(Stage(epochs=1, size=32, batch_size=4),))
    started(data, tmp_path)
    started(data, tmp_path, recipe=renamed)  # a name is for people
    other = TrainRecipe(name="test", stages=(Stage(epochs=1, size=32, batch_size=2),))
    with pytest.raises(TrainingError, match=r"recipe\.stages 1\.batch_size was 4, now it is 2"):
        started(data, tmp_path, recipe=other)
    with pytest.raises(SourceError):  # what is wrong with the data is found first
        started(data / "missing", tmp_path, overwrite=True)
    assert (tmp_path / "checkpoint.safetensors").exists()
    summary = started(data, tmp_path, recipe=other, overwrite=True)
    assert len(summary.result.history) == len(rows(tmp_path)) == 1


def test_a_module_of_another_origin_is_not_written_over(
    data: Path, done: tuple[Path, str, str], tmp_path: Path
) -> None:
    nasnet.Module(done[0]).export(tmp_path / "module")
    with pytest.raises(OutputError, match="holds a module that was not trained there"):
        started(data, tmp_path / "module")


def test_two_runs_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    refused: list[NasnetError] = []

    def second(event: TrainEvent) -> None:
        if event.kind == "step" and not refused:
            with pytest.raises(OutputError, match="is being written by another run") as found:
                started(data, tmp_path)
            refused.append(found.value)

    started(data, tmp_path, on_event=second)
    assert refused


def test_folders_that_cannot_be_made_are_said(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made: Not a directory"):
        started(data, tmp_path / "file" / "run")


# -- recipes


def test_the_shipped_recipes_are_read() -> None:
    assert shipped_recipes() == (
        "builtin",
        "builtin-joined",
        "builtin-live",
        "cifar",
        "finetune",
        "mobile",
    )
    found = {name: read_recipe(name) for name in shipped_recipes()}
    assert {name: recipe.name for name, recipe in found.items()} == {n: n for n in found}
    mobile = found["mobile"]
    assert (mobile.network, mobile.label_smoothing, mobile.aux_weight) == ("mobile", 0.1, 0.4)
    assert (mobile.epochs, mobile.train.epochs, mobile.train.optimizer.kind) == (
        250,
        250,
        "rmsprop",
    )
    assert mobile.train.schedule.kind == "exponential"
    assert mobile.train.path_dropout == "ramp"
    assert found["cifar"].train.optimizer.learning_rate == 0.025
    builtin = found["builtin"]
    assert builtin.teacher is not None
    assert builtin.teacher.views == 3
    sizes = [builtin.stage(epoch).size for epoch in range(builtin.epochs)]
    assert (sizes[0], sizes[-1]) == (64, 128)
    turns = [int(epoch) for epoch in builtin.train.schedule.restarts]
    assert [sizes[epoch - 1] for epoch in turns] == [128] * len(turns)  # each turn ends large
    assert builtin.recalibrate is not None
    assert builtin.recalibrate.size == 224
    live = found["builtin-live"]
    assert live.teacher is not None
    assert (live.teacher.views, live.stages[0].crops, live.held_out) == (0, 2, builtin.held_out)


def test_single_values_of_a_recipe_are_changed() -> None:
    changes = {
        "stages.epochs": 3,
        "train.optimizer.kind": "sgd",
        "augment": "none",
        "teacher.name": "efficientnet-lite0",  # a table that the recipe has not
        "label_smoothing": 0.0,
        "aux_weight": 0.0,
    }
    found, own = read_recipe("mobile", changes), read_recipe("mobile")
    assert (found.epochs, found.train.epochs, found.train.optimizer.kind) == (3, 3, "sgd")
    assert found.augment == preset("none")
    assert found.teacher is not None
    assert (found.stages[0].size, found.train.ema) == (None, own.train.ema)


def test_a_stage_of_so_many_steps_shows_few_pictures_more_often() -> None:
    recipe = read_recipe("finetune", {"stages.steps": 100, "stages.batch_size": 32})
    assert [recipe.of(count).epochs for count in (5, 32, 200, 1000, 5000)] == [100, 100, 17, 4, 1]
    assert recipe.of(200).train.epochs == 17
    # The command's flags are one or the other; a file has to say one.
    assert read_recipe("finetune", {"stages.epochs": 3}).of(1000).epochs == 3
    with pytest.raises(InputError, match="either epochs or steps"):
        Stage(epochs=1, steps=2, batch_size=8)
    with pytest.raises(InputError, match="either epochs or steps"):
        Stage(batch_size=8)


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("builtin", "stages.epochs", 3, "^recipe builtin has 10 stages, and epochs may differ"),
        ("mobile", "augment", "wild", "^recipe mobile, augment: no augmentation 'wild'"),
        ("mobile", "train.optimizer.kinds", 3, "^recipe mobile, train, optimizer: no key 'kinds'"),
        ("mobile", "train.clip", -1.0, "^recipe mobile, train: clip starts at 0"),
        ("mobile", "network.size", 3, "^recipe mobile, network: "),
        ("mobile", "preprocessing", "none", "^recipe mobile: no recipe 'none'; there are photo"),
        ("mobile", "stages.batch_size", 3, "^recipe mobile: mixup needs an even batch, found 3"),
        ("builtin", "preprocessing", "tf1-hub", r"a \[teacher\] sees pictures by the preproc"),
        ("builtin", "class_weights", True, r"class_weights is for labels; this recipe has a"),
    ],
)
def test_changes_that_make_no_recipe_are_refused(
    name: str, path: str, value: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe(name, {path: value} | ({"mixup": 0.2} if path == "stages.batch_size" else {}))


def test_rare_classes_weigh_more_if_the_recipe_says_so() -> None:
    examples = tuple(Example(str(n), int(n > 2), lambda: b"") for n in range(4))
    data = Dataset(name="", classes=("a", "b"), train=examples, validation=(), notes=())
    recipe = read_recipe("finetune", {"class_weights": True})
    batch = TrainBatch(
        images=np.zeros((2, 1, 1, 3), np.uint8),
        labels=np.array([0, 1]),
        mixed=np.array([0, 1]),
        share=np.ones(2, np.float32),
        epoch=0,
        step=0,
        ids=("0", "3"),
        rows=np.array([0, 3]),
    )
    np.testing.assert_allclose(classification(recipe, data).targets(batch)["share"], [4 / 6, 4 / 2])


def test_training_goes_on_with_the_borders_of_the_weights_it_starts_from() -> None:
    start = dataclasses.replace(seeded(7), padding="keras")
    data = Dataset(name="", classes=("a", "b"), train=(), validation=(), notes=())
    assert network_for(read_recipe("finetune"), data, start, (32, 32)).padding == "keras"


def refusal(tmp_path: Path, text: str) -> str:
    path = recipe_file(tmp_path, text)
    with pytest.raises(InputError) as found:
        read_recipe(path)
    said = str(found.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(str(path))


STAGE = "[[stages]]\nepochs = 1\nsize = 32\nbatch_size = 4\n"
TEACHER = '[teacher]\nname = "efficientnet-lite0"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3\n" + STAGE, ": no key 'epochs'; there are augment, aux_weight"),
        ("label_smoothing = 'much'\n" + STAGE, ", label_smoothing: 'much' is not a number"),
        ("label_smoothing = true\n" + STAGE, ", label_smoothing: True is not a number"),
        ("label_smoothing = nan\n" + STAGE, ", label_smoothing: nan is not a finite number"),
        ("label_smoothing = 1.0\n" + STAGE, ": label_smoothing lies in"),
        ("network = 'huge'\n" + STAGE, ": no preset 'huge'; there are mobile"),
        ("network = 7\n" + STAGE, ", network: 7 is not a text"),
        ("network = 'mobile'", ": the key 'stages' is missing"),
        ("stages = []", ": a recipe needs at least one"),
        ("stages = 3", ", stages: 3 is not a list"),
        ("[stages]\nepochs = 1", ", stages: {'epochs': 1} is not a list"),
        (
            STAGE + "[[stages]]\nepochs = 0\nsize = 32\nbatch_size = 1",
            ", stages 2: a stage has either epochs",
        ),
        ("[[stages]]\nepochs = 1\nsize = 32", ", stages 1: the key 'batch_size' is missing"),
        (STAGE + "length = 3", ", stages 1: no key 'length'; there are batch_size"),
        (STAGE.replace("32", "32.0"), ", stages 1, size: 32.0 is not an integer"),
        (STAGE.replace("1", "true"), ", stages 1, epochs: True is not an integer"),
        (STAGE + "without = 'tiny/'", ", stages 1, without: 'tiny/' is not a list"),
        (STAGE + "without = [1]", ", stages 1, without 1: 1 is not a text"),
        ("augment = 3\n" + STAGE, ", augment: 3 is not a table"),
        ("augment.area = [0.5]\n" + STAGE, ", augment, area: [0.5] has 1 members, not 2"),
        ("augment.area = [0.5, 2]\n" + STAGE, ", augment: area is a share"),
        ("augment.flip = 1\n" + STAGE, ", augment, flip: 1 is not true or false"),
        ("train.precision = 'f8'\n" + STAGE, ", train, precision: 'f8' is none of 'f32'"),
        (
            "train.optimizer.learning_rate = -1\n" + STAGE,
            ", train, optimizer: learning_rate is above",
        ),
        ("train.schedule.kind = 'up'\n" + STAGE, ", train, schedule, kind: 'up' is none of"),
        ("train.epochs = 3\n" + STAGE, ", train, epochs: say in [[stages]] how many"),
        ("held_out = 0.1\n" + STAGE, ": held_out is for a recipe with a [teacher]"),
        (
            "label_smoothing = 0.1\n" + TEACHER + STAGE,
            ": label_smoothing is for labels; this recipe has a",
        ),
        ("mixup = 0.1\n" + TEACHER + STAGE, ": mixup and crops make pictures a stored answer"),
        (TEACHER + STAGE + "crops = 2\n", ": mixup and crops make pictures a stored answer"),
        (STAGE + "crops = 0\n", ", stages 1: crops starts at 1"),
        ("train.workers = -1\n" + STAGE, ", train: workers starts at 0"),
        ("train.workers = 1.5\n" + STAGE, ", train, workers: 1.5 is not an integer"),
        ("network = 'cifar'\n" + TEACHER + STAGE, ": a teacher knows 1000 classes, nasnet_cifar"),
        (TEACHER + "views = -1\n" + STAGE, ", teacher: views starts at 0"),
        ("[teacher]\nviews = 1\n" + STAGE, ", teacher: the key 'name' is missing"),
        ("aux_weight = 0.4\n" + STAGE + STAGE.replace("32", "64"), ": aux_weight: the auxiliary"),
        ("= 3", ": no TOML: Invalid statement"),
    ],
)
def test_recipes_that_are_none_name_the_file_and_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    assert refusal(tmp_path, text).startswith(message)


def test_recipes_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b"\xe9\xff = 1")
    with pytest.raises(InputError, match=r"my\.toml: no TOML: line 1 is not UTF-8: save it"):
        read_recipe(path)
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(
            InputError,
            match=r"no recipe of that name \(builtin, builtin-joined, builtin-live, cifar,",
        ):
            read_recipe(missing)


@pytest.mark.parametrize(
    ("size", "weight", "reason"),
    [
        (224, 0.4, ""),
        (96, 0.4, ""),
        (64, 0.4, "the auxiliary head needs a 5x5 map, cell_7/cell_output/concat has 4x4 px"),
        (64, 0.0, ""),
    ],
)
def test_small_pictures_leave_no_room_for_the_auxiliary_head(
    size: int, weight: float, reason: str
) -> None:
    recipe = dataclasses.replace(read_recipe("mobile"), aux_weight=weight)
    assert without_room(recipe, None, (size, size)) == reason
