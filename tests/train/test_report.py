"""The report: what the page tells, that it needs nothing from outside, all or nothing on disk."""

from __future__ import annotations

import base64
import io
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from nasnet.errors import InputError, MissingExtraError, OutputError
from nasnet.features.page import palettes
from nasnet.pictures.sources import open_dataset
from nasnet.pictures.thumbnails import data_url
from nasnet.train.metrics import Scores, by_recall, score
from nasnet.train.report import Labelled, Mistake, Report, write_report
from nasnet.train.report.drawing import Shown, drawing, png, svg
from nasnet.train.report.figures import calibration, confusion, curves, mistakes, per_class
from nasnet.train.report.files import page as html
from nasnet.train.report.lettering import Lettering, lettering_for
from tests.support.browser import PHONE, browsing, calm
from tests.support.pictures import encoded, jpeg, pixels

NASTY = [
    "<script>alert(1)</script>",
    "$x_1$ & $\\frac$",
    "\"quoted\" onerror='x'",
    "猫 हिन्दी 👩‍👩‍👧",
    "العربية",
    "line\nbreak\x1b[2J\x00",
    "\udcff undecodable",
    "a_very_long_class_name_" * 6,
    "",
]
# Elements that HTML never closes.
VOID = frozenset({"input", "meta", "img", "source", "wbr", "br", "link"})


class Page(HTMLParser):
    """A page read strictly: elements must close in order, and all text is kept."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self) -> str:
        return " ".join(text for tag, text in self.texts if tag != "style")

    def within(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


def scores(classes: list[str], count: int = 90, *, seed: int = 0, gain: float = 3.0) -> Scores:
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(classes), count)
    logits = random.normal(size=(count, len(classes)))
    logits[np.arange(count), labels] += gain
    return score(logits.astype(np.float32), labels, classes)


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": at,
            "train_loss": 2 / at,
            "train_accuracy": 1 - 0.5 / at,
            "validation_loss": 2.2 / at,
            "validation_accuracy": 0.8 - 0.5 / at if at < 4 else 0.6,
            "learning_rate": 0.001 / at,
        }
        for at in range(1, epochs + 1)
    ]


def report(
    classes: list[str] | None = None,
    *,
    rows: list[dict[str, float]] | None = None,
    wrong: int = 3,
    gain: float = 3.0,
    title: str = "Fine-tuning",
) -> Report:
    names = ["cat", "dog", "cow"] if classes is None else classes
    return Report(
        title=title,
        facts=(("Data", "/photos <b>of mine</b>"), ("Time", "3 s")),
        history=history(5) if rows is None else rows,
        scores=scores(names, gain=gain),
        mistakes=[
            Mistake(
                id=f"folder/{at}&{names[0]}.jpg",
                true=names[0],
                predicted=names[-1],
                confidence=(at + 1) / (wrong + 1),
                picture=None if at == 1 else pixels(40 + at, 60, seed=at),
            )
            for at in range(wrong)
        ],
        notes=("2 pictures were <unreadable>.",),
    )


def source_of(told: Report) -> str:
    """The page with tiny pictures for charts: drawing them takes most of the time."""
    picture = data_url("image/png", encoded(pixels(9, 12), "PNG"))
    names = ["confusion", "per_class", "calibration", *(["curves"] if told.history else [])]
    charts = {name: Shown(data=picture, width=12, height=9) for name in names}
    return html(told, charts, lettering_for(row.name for row in told.scores.classes))


def page_of(told: Report) -> Page:
    return Page(source_of(told))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The files of one report; not to be changed."""
    return write_report(report(), tmp_path_factory.mktemp("report") / "new" / "folder")


def test_the_page_comes_first_and_every_figure_can_be_decoded(
    written: tuple[Path, ...],
) -> None:
    assert [path.name for path in written] == [
        "report.html",
        "curves.png",
        "confusion.png",
        "per_class.png",
        "calibration.png",
        "mistakes.png",
    ]
    assert sorted(written) == sorted(written[0].parent.iterdir())
    for path in written[1:]:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 200 < image.width < 3000
            assert 100 < image.height < 3000
            colours = image.convert("RGB").getcolors(2**24)
            assert colours is not None
            assert len(colours) > 10, "something is drawn"


def test_the_page_needs_nothing_from_outside_and_allows_one_script(
    written: tuple[Path, ...],
) -> None:
    page = Page(written[0].read_text(encoding="utf-8"))
    assert [list(one) for one in page.all("script")] == [["type", "id"], []]
    assert not page.all("link")
    assert not page.all("iframe")
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
    (style,) = page.within("style")
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m for m in page.all("meta") if "http-equiv" in m)["content"]
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    assert policy is not None
    assert re.fullmatch(rf"{re.escape(allowed)}[A-Za-z0-9+/=]+'", policy)


def test_pictures_in_the_page_are_whole_and_described(
    written: tuple[Path, ...],
) -> None:
    page = Page(written[0].read_text(encoding="utf-8"))
    images = page.all("img")
    assert len(images) == 4 + 2, "charts, and mistakes that have a picture"
    charts = 0
    for attributes in images:
        assert attributes["alt"]
        kind, _, data = (attributes["src"] or "").partition(";base64,")
        content = base64.b64decode(data, validate=True)
        across, up = int(attributes["width"] or 0), int(attributes["height"] or 0)
        if kind == "data:image/svg+xml":
            charts += 1
            width, height = size_in_every_colour(content)
        else:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                assert kind == f"data:image/{(image.format or '').lower()}"
                width, height = image.size
        assert across / up == pytest.approx(width / height, rel=0.02)
    assert charts == 4


def size_in_every_colour(content: bytes) -> tuple[float, float]:
    """Size of a chart in SVG, once sure that the reader's scheme gives it all of its colours."""
    root = ElementTree.fromstring(content)
    text = content.decode("utf-8")
    rules, drawn = text.partition("</style>")[::2]
    assert "prefers-color-scheme: dark" in rules
    used = set(re.findall(r"var\(--([\w-]+)\)", drawn))
    assert {"paper", "ink"} <= used
    for palette in palettes():
        assert used <= set(palette)
    assert re.findall(r"#[0-9a-f]{6}", drawn) == [], "all colours are the palette's"
    assert not re.search(r"(href|src)=.(?!#)|url\((?!#)", drawn)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    return width, height


def test_the_page_is_built_for_everybody() -> None:
    page = page_of(report())
    assert page.all("html") == [{"lang": "en"}]
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = [(link["href"] or "")[1:] for link in page.all("a")]
    named = [part["aria-labelledby"] for part in page.all("section")]
    assert targets == named
    assert set(targets) <= set(ids)
    assert targets == [
        "result",
        "notes",
        "training",
        "mistakes",
        "confusions",
        "classes",
        "calibration",
        "facts",
    ]


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(palette: dict[str, str]) -> None:
    def luminance(colour: str) -> float:
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text in (palette[name] for name in ("ink", "muted", "accent", "warn")):
        for behind in (palette["paper"], palette["panel"]):
            light, dark = sorted((luminance(text), luminance(behind)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


def test_the_page_tells_the_numbers() -> None:
    told = report()
    page = page_of(told)
    words = page.words()
    assert f"{told.scores.top1:.1%}" in page.within("dd")
    assert f"{told.scores.loss:.3f}" in page.within("dd")
    assert "best validation accuracy, 63.3%, came in epoch 3" in words
    assert "/photos <b>of mine</b>" in page.within("td")
    assert "2 pictures were <unreadable>." in page.within("li")
    assert page.within("h1") == ["Fine-tuning"] == page.within("title")


def class_rows(page: Page) -> list[str]:
    """Names in the table of classes, in its order."""
    rows: list[str] = []
    start = next(
        at for at, (tag, words) in enumerate(page.texts) if (tag, words) == ("h3", "Each class")
    )
    for tag, words in page.texts[start:]:
        if tag == "h2":
            break
        if tag == "th":
            rows.append(words)
    return rows[7:]  # after the heads of the columns


@pytest.mark.parametrize("count", [2, 5, 41, 300])
def test_every_class_has_one_row_lowest_recall_first(count: int) -> None:
    told = report([f"class {at}" for at in range(count)], rows=[], wrong=0)
    page = page_of(told)
    assert class_rows(page) == [f"class {at}" for at in by_recall(told.scores)]


def test_names_are_escaped_wherever_they_appear() -> None:
    told = report(NASTY, title="<script>alert(2)</script>")
    raw = source_of(told)
    raw.encode("utf-8")
    page = Page(raw)
    assert len(page.all("script")) == 2, "the labels and our own"
    assert not page.all("b")
    assert raw.count("<script") == 2
    assert "\x00" not in raw
    assert "\x1b" not in raw
    rows = class_rows(page)
    assert len(rows) == len(NASTY)
    assert "<script>alert(1)</script>" in rows
    assert "猫 हिन्दी 👩‍👩‍👧" in rows
    assert "line break\ufffd[2J\ufffd" in rows
    assert "\ufffd undecodable" in rows
    assert "(no name)" in rows
    assert page.within("h1") == ["<script>alert(2)</script>"]


def test_letters_that_no_font_has_become_numbers_and_the_page_says_so() -> None:
    # A code point for private use: no font gives it a shape.
    told = report(["cat", "\U000f1234"], rows=[])
    words = page_of(told).words()
    assert "No font on this machine has all letters" in words
    words = page_of(report()).words()
    assert "No font on this machine" not in words


def test_beyond_forty_classes_the_charts_hold_some_and_the_page_says_so() -> None:
    many = [f"class {at}" for at in range(50)]
    words = page_of(report(many, gain=1.0)).words()
    assert "Of 50 classes the chart holds the 30 that are confused most often" in words
    assert "The chart holds the 40 of 50 classes with the lowest recall." in words
    words = page_of(report(many[:40], gain=1.0)).words()
    assert "the chart holds" not in words.lower()


def test_the_most_confident_mistakes_come_first_and_the_rest_is_counted() -> None:
    told = report(gain=0.0, wrong=70)
    page = page_of(told)
    shown = [float(one) for one in re.findall(r'"sure">([\d.]+)%', source_of(told))]
    assert len(shown) == 60
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(100 * 70 / 71, abs=0.1)
    assert "60 of 70 wrong pictures" in page.words()
    assert "48 more" in page.within("summary")
    assert page.words().count("not shown") == 0, "the one without a picture is among the last"


def test_a_mistake_without_a_picture_keeps_its_place() -> None:
    page = page_of(report())
    assert page.within("div").count("not shown") == 1
    assert len([one for one in page.all("dd") if one.get("class") == "wrong"]) == 3


def test_nothing_trained_has_no_part_and_nothing_wrong_is_said(
    tmp_path: Path, written: tuple[Path, ...]
) -> None:
    shutil.copytree(written[0].parent, tmp_path, dirs_exist_ok=True)
    told = report(["only"], rows=[], wrong=0)
    paths = write_report(told, tmp_path)
    assert [path.name for path in paths] == [
        "report.html",
        "confusion.png",
        "per_class.png",
        "calibration.png",
    ]
    assert sorted(paths) == sorted(tmp_path.iterdir()), "no figure of the earlier report is left"
    words = Page(paths[0].read_text(encoding="utf-8")).words()
    assert "Training" not in words
    assert "No picture was predicted wrong." in words


def test_wrong_pictures_that_were_not_recorded_are_counted() -> None:
    told = report(gain=0.5, wrong=0)
    wrong = told.scores.count - int(told.scores.confusion.trace())
    words = page_of(told).words()
    assert f"The {wrong} wrong pictures were not recorded." in words


@pytest.mark.parametrize(
    "rows",
    [
        [{"epoch": 1, "train_loss": 0.5}],
        [{"validation_accuracy": 0.5}, {"validation_accuracy": float("nan")}],
        [{"train_loss": float("inf"), "learning_rate": 0.1}, {"learning_rate": 0.0}],
        [{"train_loss": 1.0}, {}, {"train_loss": 0.5, "train_accuracy": 1.0}],
    ],
)
def test_a_history_with_gaps_is_drawn(rows: list[dict[str, float]]) -> None:
    told = report(rows=rows)
    with drawing(letters_of(told)):
        figure = curves(told, letters_of(told))
        assert figure is not None
        size_of(png(figure))
    page_of(told)


def test_a_line_bridges_the_epochs_that_were_not_validated() -> None:
    rows = [
        {"train_loss": 1.0, **({"validation_loss": 2.0} if at % 5 == 4 else {})}
        for at in range(100)
    ]
    told = report(rows=rows)
    with drawing(letters_of(told)):
        figure = curves(told, letters_of(told))
    assert figure is not None
    lines = {str(line.get_label()): np.size(line.get_xdata()) for line in figure.axes[0].lines}
    assert lines == {"training": 100, "validation": 20}


def letters_of(told: Report) -> Lettering:
    return lettering_for(row.name for row in told.scores.classes)


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


# Warnings are errors here, so a missing letter or a failed layout would show.
@pytest.mark.parametrize("classes", [["only"], NASTY, [f"n{at:08d}, a name" for at in range(41)]])
def test_charts_are_drawn_whatever_the_classes(classes: list[str]) -> None:
    told = report(classes, gain=1.0, wrong=7)
    with drawing(letters_of(told)):
        for draw in (confusion, per_class, calibration, mistakes):
            figure = draw(told, letters_of(told))
            assert figure is not None
            across, up = size_of(png(figure))
            assert 60 < across < 2500
            assert 60 < up < 2500
            assert 40 < svg(figure).width < 1700


def test_names_are_drawn_as_they_are_and_not_as_mathematics() -> None:
    told = report(["$x_1$", "$\\nonsense{$"])
    with drawing(letters_of(told)):
        figure = per_class(told, letters_of(told))
        labels = {text.get_text() for text in figure.axes[0].get_yticklabels()}
        assert labels == {"$x_1$", "$\\nonsense{$"}
        png(figure)


def test_a_class_may_be_called_as_a_colour_of_the_palette_is_written() -> None:
    names = [palettes()[0]["ink"], palettes()[0]["paper"]]
    told = report(names)
    with drawing(letters_of(told)):
        shown = svg(per_class(told, letters_of(told)))
    root = ElementTree.fromstring(base64.b64decode(shown.data.partition(",")[2]))
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert set(names) <= set(texts)
    assert not [text for text in texts if "var(" in text]


def test_the_same_report_gives_the_same_bytes() -> None:
    told = report()
    assert source_of(told) == source_of(told)
    letters = letters_of(told)
    with drawing(letters):
        assert png(calibration(told, letters)) == png(calibration(told, letters))
        assert svg(confusion(told, letters)) == svg(confusion(told, letters))


def test_no_global_state_of_matplotlib_is_touched() -> None:
    import matplotlib

    before: Mapping[str, object] = matplotlib.rcParams.copy()
    told = report()
    with drawing(letters_of(told)):
        png(confusion(told, letters_of(told)))
    after: Mapping[str, object] = matplotlib.rcParams.copy()
    assert after == before


def test_a_folder_that_is_a_file_is_refused_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("precious")
    with pytest.raises(OutputError, match="taken"):
        write_report(report(rows=[], wrong=0), target)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_that_fails_midway_leaves_the_earlier_report_whole(
    tmp_path: Path, written: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(written[0].parent, tmp_path, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(report(["other", "classes"]), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pictures_and_numbers_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    def told(**changes: object) -> Report:
        good = report()
        values = {name: getattr(good, name) for name in Report.__dataclass_fields__}
        return Report(**{**values, **changes})

    def wrong(confidence: float, shape: tuple[int, ...]) -> list[Mistake]:
        picture = np.zeros(shape, np.uint8)
        return [
            Mistake(id="x.jpg", true="a", predicted="b", confidence=confidence, picture=picture)
        ]

    with pytest.raises(InputError, match=r"x\.jpg.*uint8 \[4, 4\]"):
        write_report(told(mistakes=wrong(0.5, (4, 4))), tmp_path)
    with pytest.raises(InputError, match=r"confidence of 'x\.jpg' is 97"):
        write_report(told(mistakes=wrong(97, (4, 4, 3))), tmp_path)
    with pytest.raises(InputError, match="history row 0: train_loss is 'low'"):
        write_report(told(history=[{"train_loss": "low"}]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nasnet\[report\]'"):
        write_report(report(), tmp_path)


SAVED = "window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return '#'; }"
NEWEST = "saved.at(-1).text().then(arguments[0])"


def test_wrong_labels_are_marked_and_the_corrected_table_is_read_again(tmp_path: Path) -> None:
    """By hand as a user does it, in a browser; what it saves is what `nasnet finetune` takes."""
    folder = tmp_path / "photos, all"
    told = report()
    rows = [(one.id, one.true, "validation") for one in told.mistakes]
    rows += [(f"folder/{name}.jpg", name, "train") for name in ("cat", "dog", "cow")]
    rows += [("folder/4.jpg", "dog", "validation")]
    (folder / "folder").mkdir(parents=True)
    for seed, (id, _, _) in enumerate(rows):
        (folder / id).write_bytes(jpeg(seed=seed))
    known = replace(told, labelled=Labelled(folder=str(folder), rows=rows))
    for name, one in (("known", known), ("unknown", told)):
        (tmp_path / f"{name}.html").write_text(source_of(one), encoding="utf-8")
    with browsing(tmp_path / "profile", size=PHONE) as driver:
        driver.get((tmp_path / "known.html").as_uri())
        calm(driver, "!document.querySelector('.marks').hidden")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
        driver.execute_script(SAVED)
        button = driver.find_element("id", "save-labels")
        assert not button.is_enabled()
        agree, other, left_out = driver.find_elements("class name", "mark")
        agree.find_element("tag name", "button").click()  # it is a cow
        field = other.find_element("tag name", "input")
        field.clear()
        field.send_keys("dog")
        left_out.find_element("tag name", "input").clear()
        assert button.text == "Save corrected labels (3)"
        button.click()
        (tmp_path / "corrected.csv").write_text(
            driver.execute_async_script(NEWEST), encoding="utf-8", newline=""
        )
        driver.get((tmp_path / "unknown.html").as_uri())
        driver.execute_script(SAVED)
        driver.find_element("class name", "agree").click()
        driver.find_element("id", "save-labels").click()
        alone = driver.execute_async_script(NEWEST)
        assert [one for one in driver.get_log("browser") if one["level"] == "SEVERE"] == []
    worst_first = sorted(told.mistakes, key=lambda one: -one.confidence)
    assert alone == f"id,label,was\n{worst_first[0].id},cow,cat\n"
    found = open_dataset(tmp_path / "corrected.csv")
    labels = {
        Path(one.id).relative_to(folder).as_posix(): found.classes[one.label]
        for one in (*found.train, *found.validation)
    }
    expected = {id: label for id, label, _ in rows}
    expected |= {worst_first[0].id: "cow", worst_first[1].id: "dog"}
    del expected[worst_first[2].id]
    assert labels == expected
    assert len(found.train) == 3, "the split stays"
