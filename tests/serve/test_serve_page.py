"""The page at `/` in a real browser: pictures in, labels, neighbours and likeness to be seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import nasnet
from nasnet.serve import ModelChoice, ServeOptions
from nasnet.weights import weights
from nasnet.weights.classes import class_names
from tests.support import pictures
from tests.support.browser import PHONE, WIDE, browsing, calm, calm_within, requested
from tests.support.serving import Serving, form

NAMES = [f"kind {number}" for number in range(10)]
# Words that the page must never take for markup.
NASTY = "<img src=x onerror=alert(1)>.jpg"
MAP = "<!doctype html><title>map</title><p id=m>The map</p>"
# All that was asked is answered and shown: nothing moves or is replaced any more.
LOOKED = """document.getElementById('status').textContent.includes('nearest pictures')
  && !document.getElementById('results').hasAttribute('aria-busy')
  && [...document.querySelectorAll('#tool img[src]')].every(image => image.complete)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(pictures.jpeg(180, 240, seed=number))
    (folder / NASTY).write_bytes(pictures.jpeg(180, 240, seed=9))
    return folder


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    around = tmp_path_factory.mktemp("around")
    named = dataclasses.replace(weights.seeded(7, num_classes=10), labels=tuple(NAMES))
    weights.write_safetensors(named, around / "named.safetensors")
    weights.write_safetensors(weights.seeded(8, num_classes=0), around / "headless.safetensors")
    unsure = dataclasses.replace(named, min_confidence=0.999)
    weights.write_safetensors(unsure, around / "unsure.safetensors")
    (around / "map.html").write_text(MAP, encoding="utf-8")
    nasnet.embed_to_file(
        folder, around / "features.parquet", weights=str(around / "named.safetensors")
    )
    options = ServeOptions(
        models=(
            ModelChoice(handle=str(around / "named.safetensors"), name="named"),
            ModelChoice(handle=str(around / "headless.safetensors"), name="headless"),
            ModelChoice(handle=str(around / "unsure.safetensors"), name="unsure"),
        ),
        port=0,
        index=around / "features.parquet",
        pictures=folder,
        map=around / "map.html",
    )
    with Serving(options) as running:
        yield running
        assert running.faults() == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsing(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, service: Serving) -> Iterator[Any]:
    """The page just opened; afterwards nothing has gone wrong in it, and it asked nobody else."""
    requested(browser)
    browser.get_log("browser")
    browser.get(service.url)
    calm(browser, "!document.getElementById('tool').hidden")
    yield browser
    wrong = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
    assert wrong == []
    asked = requested(browser)
    assert asked
    assert [url for url in asked if not url.startswith((service.url, "blob:", "about:"))] == []


def choose(driver: Any, file: Path, *, input: str = "first-file") -> None:
    driver.find_element("id", input).send_keys(str(file))


def texts(driver: Any, selector: str) -> list[str]:
    # In one step: element by element, the page may replace them in between.
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())"
    found: list[str] = driver.execute_script(script, selector)
    return found


def test_a_chosen_file_shows_labels_with_bars_and_neighbours(
    page: Any, folder: Path, service: Serving
) -> None:
    choose(page, folder / "1.jpg")
    calm(page, LOOKED)
    expected = service.post("/classify?top=5", (folder / "1.jpg").read_bytes()).json
    classes = expected["results"][0]["classes"]
    assert texts(page, "#labels .name") == [one["label"] for one in classes]
    assert texts(page, "#labels .share") == [f"{one['probability']:.1%}" for one in classes]
    widths = [
        page.execute_script("return arguments[0].firstChild.style.width", bar)
        for bar in page.find_elements("css selector", "#labels .bar")
    ]
    assert [float(width.rstrip("%")) / 100 for width in widths] == pytest.approx(
        [one["probability"] for one in classes], abs=1e-4
    )
    assert texts(page, "#neighbours .name")[0] == "1.jpg"
    assert texts(page, "#neighbours .score")[0] == "1.000"
    assert len(texts(page, "#neighbours .name")) == 5
    assert NASTY in texts(page, "#neighbours .name")
    there = "i => i.complete && i.naturalWidth"
    calm(page, f"[...document.querySelectorAll('#neighbours img')].every({there})")
    assert "1.jpg, 240 \u00d7 180 pixels" in texts(page, "#first figcaption")[0]
    assert page.find_element("id", "status").text.startswith(f"1.jpg: {classes[0]['label']}")


def test_no_label_is_shown_that_is_not_probable_enough(page: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", "module-name")).select_by_value("unsure")
    choose(page, folder / "1.jpg")
    calm(page, "document.getElementById('status').textContent.includes('not sure')")
    (told,) = texts(page, "#labels .name")
    assert told.startswith("Not sure: the likeliest class has only ")
    assert not texts(page, "#labels .share")


def test_the_page_begins_with_the_collection_and_a_picture_of_it_shows_its_neighbours(
    page: Any, service: Serving
) -> None:
    calm(page, "document.querySelectorAll('#gallery img').length === 5")
    assert texts(page, "#collection-title") == ["5 pictures in the collection"]
    calm(page, "document.getElementById('copies-note').textContent.startsWith('No picture')")
    name = texts(page, "#gallery .name")[1]
    page.find_elements("css selector", "#gallery button")[1].click()
    calm(page, LOOKED)
    near = service.get(f"/neighbours?{urlencode({'id': name})}").json["neighbours"]
    assert texts(page, "#neighbours .name") == [one["id"] for one in near]
    assert name not in [one["id"] for one in near]
    # The answer stands above the fold.
    bottom = "return document.querySelector('#neighbours .tiles').getBoundingClientRect().bottom"
    assert page.execute_script(bottom) < WIDE[1]


def test_names_that_are_known_are_offered_and_a_refusal_is_seen_from_below(page: Any) -> None:
    calm(page, "document.querySelectorAll('#gallery img').length === 5")
    field = page.find_element("id", "label")
    field.send_keys("no such thing")
    known = "[...document.getElementById('names').options].map(one => one.value)"
    calm(page, f"{known}.length === {len(NAMES)}")
    assert page.execute_script(f"return {known}") == NAMES
    page.execute_script("scrollTo(0, document.body.scrollHeight)")
    assert page.execute_script("return scrollY") > 0
    field.submit()
    calm(page, "!document.getElementById('trouble').hidden")
    assert texts(page, "#trouble")[0].startswith("no class 'no such thing' among the 10")
    top = "return document.getElementById('trouble').getBoundingClientRect().top"
    assert -1 < page.execute_script(top) < WIDE[1]
    page.get_log("browser")  # it tells of the refusal


def test_the_gallery_comes_back_when_nothing_is_asked_for_any_more(page: Any) -> None:
    from selenium.webdriver import Keys

    calm(page, "document.querySelectorAll('#gallery img').length === 5")
    field = page.find_element("id", "label")
    field.send_keys(NAMES[3], Keys.ENTER)
    calm(page, "document.querySelectorAll('#gallery .score').length === 5")
    field.send_keys(*[Keys.BACKSPACE] * len(NAMES[3]))
    calm(
        page,
        "!document.querySelector('#gallery .score') && "
        "document.querySelectorAll('#gallery img').length === 5",
    )


def test_what_is_not_said_yet_takes_no_room(page: Any) -> None:
    taken = page.execute_script(
        "const status = document.getElementById('status');"
        "return status.offsetHeight + parseFloat(getComputedStyle(status).marginBottom)"
    )
    assert taken == 0


def test_a_neighbour_can_be_gone_on_with(page: Any, folder: Path) -> None:
    choose(page, folder / "1.jpg")
    calm(page, LOOKED)
    name = texts(page, "#neighbours .name")[2]  # before the click, which puts others there
    page.find_elements("css selector", "#neighbours button")[2].click()
    calm(page, f"{LOOKED} && !document.getElementById('status').textContent.startsWith('1.jpg')")
    assert page.find_element("id", "status").text.startswith(name)
    assert page.execute_script("return document.activeElement.id") == "first-title"


DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "dropped.jpg", {type: "image/jpeg"}));
const target = document.querySelector(arguments[0]);
for (const kind of ["dragenter", "dragover", "drop"])
  target.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}));
return target.className;
"""
PASTE = """
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "pasted.jpg", {type: "image/jpeg"}));
window.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
"""


def test_a_picture_may_be_dropped_or_pasted(page: Any, folder: Path) -> None:
    import base64

    data = base64.b64encode((folder / "2.jpg").read_bytes()).decode()
    assert page.execute_script(DROP, "#first .drop", data) == "drop"  # no longer `over`
    calm(page, f"{LOOKED} && document.getElementById('status').textContent.startsWith('dropped')")
    assert texts(page, "#neighbours .name")[0] == "2.jpg"
    page.execute_script(PASTE, data)
    calm(page, f"{LOOKED} && document.getElementById('status').textContent.startsWith('pasted')")


def test_two_pictures_are_compared(page: Any, folder: Path, service: Serving) -> None:
    choose(page, folder / "0.jpg")
    calm(page, LOOKED)
    choose(page, folder / "3.jpg", input="second-file")
    calm(page, "!document.getElementById('alike').hidden")
    files = [(folder / name).read_bytes() for name in ("0.jpg", "3.jpg")]
    body, kind = form(*files)
    cosine = service.post("/similarity", body, Content_Type=kind).json["cosine"]
    assert texts(page, "#alike .big") == [f"{cosine:.3f}"]
    # Another first picture: the comparison follows.
    choose(page, folder / "3.jpg")
    calm(page, "document.querySelector('#alike .big').textContent === '1.000'")


def test_the_camera_takes_a_picture_and_is_let_go(page: Any) -> None:
    button = page.find_element("css selector", "#first .camera")
    button.click()
    calm(page, "document.activeElement.classList.contains('shutter')")
    page.find_element("css selector", "#camera .cancel").click()
    calm(page, "!document.getElementById('camera').open")
    assert page.find_element("id", "results").is_displayed() is False
    button.click()
    calm(page, "document.activeElement.classList.contains('shutter')")
    page.find_element("css selector", "#camera .shutter").click()
    calm(page, LOOKED)
    assert page.find_element("id", "status").text.startswith("camera.jpg")
    assert page.execute_script("return document.querySelector('video').srcObject") is None


def test_a_module_without_a_head_shows_no_labels(page: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", "module-name")).select_by_value("headless")
    choose(page, folder / "0.jpg")
    calm(page, "document.getElementById('status').textContent.includes('its vector is ready')")
    for part in ("labels", "neighbours"):
        assert not page.find_element("id", part).is_displayed()
    assert page.find_element("id", "vector").is_displayed()
    assert "untrained" in page.find_element("id", "warning").text


def test_the_map_is_shown_and_can_reach_nothing(page: Any, service: Serving) -> None:
    frame = page.find_element("css selector", "#map iframe")
    page.execute_script("arguments[0].scrollIntoView()", frame)
    assert frame.get_attribute("sandbox") == "allow-scripts"
    calm_within(page, "#map iframe", "document.getElementById('m').textContent === 'The map'")
    assert page.execute_script("return window.origin") == "null"
    page.switch_to.default_content()


def test_what_the_service_refuses_is_said_in_its_words(
    browser: Any, service: Serving, tmp_path: Path
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir,", encoding="utf-8")
    browser.get(service.url)
    calm(browser, "!document.getElementById('tool').hidden")
    choose(browser, tmp_path / "letter.jpg")
    calm(browser, "!document.getElementById('trouble').hidden")
    assert "not a picture" in browser.find_element("id", "trouble").text
    assert not browser.find_element("id", "results").is_displayed()
    browser.get_log("browser")


def test_a_key_is_asked_for_once(browser: Any, folder: Path) -> None:
    options = ServeOptions(models=(ModelChoice(handle="seeded:7"),), port=0, api_key="open sesame")
    with Serving(options) as service:
        browser.get(service.url)
        calm(browser, "!document.getElementById('key').hidden")
        field = browser.find_element("id", "key-text")
        field.send_keys("open barley\n")
        calm(browser, "!document.getElementById('trouble').hidden")
        field.clear()
        field.send_keys("open sesame\n")
        calm(browser, "!document.getElementById('tool').hidden")
        choose(browser, folder / "0.jpg")
        calm(browser, "document.querySelectorAll('#labels li').length === 5")
        assert texts(browser, "#labels .name")[0] in class_names(weights.seeded(7))
        browser.get(service.url + "/docs")
        assert "TensorFlow Serving" in browser.find_element("tag name", "main").text
        assert service.faults() == []
    browser.get_log("browser")


def test_all_of_it_is_reached_by_the_keyboard_in_order(page: Any, folder: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    choose(page, folder / "0.jpg")
    calm(page, LOOKED)
    page.execute_script("const h = document.querySelector('h1'); h.tabIndex = -1; h.focus()")
    found = []
    for _ in range(26):
        ActionChains(page).send_keys(Keys.TAB).perform()
        found.append(
            page.execute_script(
                "const e = document.activeElement;"
                "return e.id || e.className || e.getAttribute('href') || e.tagName"
            )
        )
    expected = ["/docs", "first-file", "camera", "module-name", *["tile"] * 5]
    expected += ["second-file", "camera", "save", *["tile"] * 5, "/map"]
    assert [one for one in found if one in expected][: len(expected)] == expected


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_screen_and_can_be_read(
    service: Serving, folder: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    with browsing(tmp_path / "profile", size=size, dark=dark) as driver:
        driver.get(service.url)
        calm(driver, "!document.getElementById('tool').hidden")
        assert driver.execute_script(OUTSIDE) == []
        choose(driver, folder / "0.jpg")
        calm(driver, LOOKED)
        choose(driver, folder / "1.jpg", input="second-file")
        calm(driver, "!document.getElementById('alike').hidden")
        assert driver.execute_script(OUTSIDE) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
        assert driver.execute_script(CONTRAST) == []
        nameless = [
            node
            for node in driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            if node.get("role", {}).get("value") in ("button", "link", "combobox", "Iframe")
            and not node.get("ignored")
            and not node.get("name", {}).get("value")
        ]
        assert nameless == []
        # Who speaks to the page says what is to be seen on a button (WCAG 2.2, 2.5.3).
        seen = driver.execute_script(
            "return [...document.querySelectorAll('#neighbours .tile')]"
            ".map(e => [e.ariaLabel ?? e.textContent, e.textContent])"
        )
        assert len(seen) == 5
        assert [text for name, text in seen if text not in name] == []
        small = driver.execute_script(
            "return [...document.querySelectorAll('button, .button, select')]"
            ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 40)"
            ".map(e => e.textContent)"
        )
        assert small == []


# Controls that stick out of their card or their frame.
OUTSIDE = """
const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.bottom <= b.bottom;
return [...document.querySelectorAll(".card button, .card .button, .card select")]
  .filter((e) => e.offsetParent && !inside(
    e.getBoundingClientRect(), e.closest(".drop, .card").getBoundingClientRect()))
  .map((e) => e.textContent);
"""


# Texts with less contrast than WCAG 2.2 asks for (1.4.3: 4.5 to 1), by its own formula.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const low = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility()) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) low.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return low;
"""
