"""The page, used in a real browser as its readers use it, against a real server and a gallery of pictures drawn here.

`python tests/semblance/service/test_page.py FOLDER` takes the screenshots of docs/ in the same way.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from semblance import Encoder, Gallery
from semblance.local.sift import SiftOptions
from semblance.service import create_app
from semblance.service.settings import Settings

TOKEN = "a-token-of-the-tests"
MARKUP = "<img src=x onerror=alert(1)>.png"  # a file's name that must stay one
ANOTHER_KEY = 9_007_199_254_740_993  # 2^53 + 1: the first that is no number of JavaScript's
KINDS = ("arcs", "circles", "hills", "stripes", "tiles")
PALETTES = (
    ("#f2e8d5", "#d1495b", "#edae49", "#00798c", "#30343f"),
    ("#e8edf2", "#2f4858", "#f26419", "#f6ae2d", "#86bbd8"),
    ("#f4efe6", "#386641", "#a7c957", "#bc4749", "#6a994e"),
    ("#ece4db", "#463f57", "#e0afa0", "#8a817c", "#bcb8b1"),
    ("#fdf0d5", "#003049", "#669bbc", "#c1121f", "#780000"),
)

Picture = NDArray[np.uint8]


# ----------------------------------------------------------------------------------------------------------------------
# Pictures, drawn: five kinds of posters, each seen from several sides


def poster(kind: str, number: int, side: int = 360) -> Picture:
    """A picture [side, side, 3] uint8 BGR with shapes in a few colours, and a grain in which SIFT finds points."""
    rng = np.random.default_rng([KINDS.index(kind), number])
    ground, *inks = (_bgr(text) for text in PALETTES[number % len(PALETTES)])
    drawn = np.full((side, side, 3), ground, np.uint8)
    {"arcs": _arcs, "circles": _circles, "hills": _hills, "stripes": _stripes, "tiles": _tiles}[kind](drawn, inks, rng)
    grain = cv2.GaussianBlur(rng.normal(0, 9, (side, side)), (0, 0), 1.3)
    return np.clip(drawn + grain[:, :, np.newaxis], 0, 255).astype(np.uint8)


def seen(picture: Picture, degrees: float, zoom: float) -> Picture:
    """The picture turned about its middle and cut, without what lies beyond its edge."""
    side = picture.shape[0]
    turned = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, zoom)
    return np.asarray(cv2.warpAffine(picture, turned, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)


def _bgr(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text[1:])
    return blue, green, red


def _place(rng: np.random.Generator, drawn: Picture) -> tuple[int, int]:
    x, y = rng.integers(0, drawn.shape[0], 2)
    return int(x), int(y)


def _arcs(drawn: Picture, inks: list[Any], rng: np.random.Generator) -> None:
    for _ in range(5):
        middle, start = _place(rng, drawn), int(rng.integers(0, 4)) * 90
        for ring, ink in enumerate(rng.permutation(inks)):
            size = int(rng.integers(70, 90)) - 19 * ring
            cv2.ellipse(drawn, middle, (size, size), 0, start, start + 180, ink.tolist(), -1, cv2.LINE_AA)


def _circles(drawn: Picture, inks: list[Any], rng: np.random.Generator) -> None:
    for size in sorted(rng.integers(10, 80, 14), reverse=True):
        cv2.circle(drawn, _place(rng, drawn), int(size), inks[rng.integers(len(inks))], -1, cv2.LINE_AA)


def _hills(drawn: Picture, inks: list[Any], rng: np.random.Generator) -> None:
    side = drawn.shape[0]
    cv2.circle(drawn, (_place(rng, drawn)[0], side // 4), int(rng.integers(25, 60)), inks[1], -1, cv2.LINE_AA)
    for layer, ink in enumerate(inks):
        x = np.arange(side)
        waves = sum(np.sin(x / rng.uniform(18, 70) + rng.uniform(0, 6)) * rng.uniform(8, 24) for _ in range(3))
        edge = (side * (0.4 + 0.15 * layer) + waves).astype(np.int32)
        outline = np.concatenate([np.stack([x, edge], 1), [[side, side], [0, side]]]).astype(np.int32)
        cv2.fillPoly(drawn, [outline], ink, cv2.LINE_AA)


def _stripes(drawn: Picture, inks: list[Any], rng: np.random.Generator) -> None:
    for _ in range(18):
        (x, y), ink = _place(rng, drawn), inks[rng.integers(len(inks))]
        run = int(rng.integers(60, 260))
        cv2.line(drawn, (x - run, y + run), (x + run, y - run), ink, int(rng.integers(3, 26)), cv2.LINE_AA)


def _tiles(drawn: Picture, inks: list[Any], rng: np.random.Generator) -> None:
    step = drawn.shape[0] // 6
    for x in range(0, drawn.shape[0], step):
        for y in range(0, drawn.shape[0], step):
            ink, corner = inks[rng.integers(len(inks))], rng.permutation([[0, 0], [step, 0], [step, step], [0, step]])
            cv2.fillPoly(drawn, [(corner[:3] + np.array([x, y])).astype(np.int32)], ink, cv2.LINE_AA)


def write_posters(folder: Path, num_each: int) -> None:
    """Fill a folder: a folder for each kind, in it `num_each` posters, each from three sides."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for number in range(num_each):
            for side, (degrees, zoom) in enumerate([(0, 1.0), (14, 1.25), (-23, 1.1)]):
                picture = seen(poster(kind, number), degrees, zoom)
                cv2.imwrite(str(folder / kind / f"{number:02}-{'abc'[side]}.png"), picture)


def make_gallery(folder: Path) -> Path:
    """A gallery with keypoints, of the pictures in `folder`/posters."""
    made = folder / "posters.gallery"
    encoder = Encoder.load("siamese", threads=1)
    Gallery.build(str(folder / "posters"), encoder, made, sift=SiftOptions())
    return made


# ----------------------------------------------------------------------------------------------------------------------
# A server and a browser


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """The address of a service of these settings, on a port of its own."""
    app = create_app(Settings(threads=1, backend="cpu", access_log=False, **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=3))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server has not come up"
        assert time.monotonic() < until, "the server has not come up in 30 s"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of this machine's own; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with the package playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        pytest.skip(f"the page is tested in a browser; none of {', '.join(names)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_posters(folder / "posters", 3)
    shutil.copy(folder / "posters/arcs/00-b.png", folder / "posters/arcs" / MARKUP)
    return make_gallery(folder)


@pytest.fixture(scope="module")
def service(gallery: Path) -> Iterator[str]:
    with served(gallery=gallery) as address:
        yield address


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Opens the page; at the end nothing may have gone wrong in it, nor anything been asked for elsewhere.

    `expected` is of what the browser's console tells when a test means to have it: that a request fails.
    """
    wrong: list[str] = []
    contexts = []

    def open_page(address: str, *, at: str = "/", expected: tuple[str, ...] = (), **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda line: (
                line.type in ("error", "warning")
                and not any(each in line.text for each in expected)
                and wrong.append(f"console: {line.text}")
            ),
        )
        page.on(
            "request", lambda request: _is_elsewhere(request.url, address) and wrong.append(f"asked: {request.url}")
        )
        page.goto(address + at)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def _is_elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address + "/", f"blob:{address}/"))


def png(picture: Picture) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def give(page: Any, event: str, content: bytes, name: str = "given.png", kind: str = "image/png") -> None:
    """Drop or paste a file."""
    page.evaluate(
        """([event, text, name, type]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, { type }));
            const how = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data, ...how })
                : new DragEvent(event, { dataTransfer: data, ...how }));
        }""",
        [event, base64.b64encode(content).decode(), name, kind],
    )


def wait_for_neighbours(page: Any, text: str = "nearest of") -> None:
    page.wait_for_function("text => document.querySelector('#results-title').textContent.includes(text)", arg=text)
    page.wait_for_selector("#results[aria-busy=false] .pick")


def labels(page: Any) -> list[str]:
    return [str(text) for text in page.locator(".pick .label").all_text_contents()]


def query_name(page: Any) -> str:
    return str(page.locator("#query strong").text_content())


def overflows(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


# ----------------------------------------------------------------------------------------------------------------------


def test_the_first_visit_says_what_to_do_and_offers_some_of_the_gallery(visit: Visit, service: str) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    assert "look like yours" in page.locator("h1:visible").text_content()
    assert page.locator(".pick").count() == 12
    assert page.locator("#choose").is_visible()
    assert page.locator(".distance").count() == 0
    assert "46 pictures" in page.locator("#served").text_content()


def test_a_dropped_picture_finds_itself_first(visit: Visit, service: str) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    give(page, "dragenter", b"")
    assert page.locator("#drop").is_visible()
    give(page, "drop", png(seen(poster("hills", 1), 0, 1.0)), "mine.png")
    assert not page.locator("#drop").is_visible()
    wait_for_neighbours(page)
    assert page.locator(".pick").count() == 24
    assert page.locator(".tile").first.text_content().startswith("hills0.0000")
    assert query_name(page) == "mine.png"
    assert page.locator("#timing").text_content().endswith(" ms")
    assert "24 nearest of 46" in page.locator("#status").text_content()
    page.wait_for_function("() => [...document.querySelectorAll('.pick img')].every((image) => image.naturalWidth > 0)")
    assert all(page.locator(".mat img").evaluate_all("images => images.map((image) => image.alt)"))


def test_a_pasted_and_a_chosen_picture_are_searched_with(visit: Visit, service: str, gallery: Path) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    give(page, "paste", png(poster("tiles", 0)), "pasted.png")
    wait_for_neighbours(page)
    assert labels(page)[0] == "tiles"
    page.set_input_files("#file", gallery.parent / "posters/circles/02-a.png")
    page.wait_for_function("() => document.querySelector('.pick .label').textContent === 'circles'")
    assert query_name(page) == "02-a.png"


def test_searching_on_with_a_neighbour_leaves_a_trail_that_back_goes(visit: Visit, service: str) -> None:
    page = visit(service, at="/#key=7")
    wait_for_neighbours(page)
    first = query_name(page)
    page.locator(".pick").nth(3).click()
    page.wait_for_function("() => location.hash !== '#key=7'")
    wait_for_neighbours(page)
    second = page.evaluate("location.hash")
    assert page.locator("#trail button").count() == 2
    page.go_back()
    page.wait_for_function("() => location.hash === '#key=7'")
    wait_for_neighbours(page)
    assert query_name(page) == first
    assert page.locator("#trail button").first.get_attribute("aria-current") == "step"
    page.locator("#trail button").nth(1).click()
    page.wait_for_function("hash => location.hash === hash", arg=second)
    page.evaluate("location.hash = '#key=40&k=12'")  # as somebody may write it
    wait_for_neighbours(page, "12 nearest")
    page.wait_for_selector("text=key 40")
    assert page.locator("#trail button").count() == 3
    page.locator("#home").click()
    page.wait_for_selector("#welcome:visible")
    assert page.evaluate("location.href") == f"{service}/"


def test_a_picture_that_was_dropped_is_shown_again_by_back_and_not_after_loading_anew(
    visit: Visit, service: str
) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    give(page, "drop", png(poster("arcs", 2)), "mine.png")
    wait_for_neighbours(page)
    page.locator(".pick").nth(2).click()
    page.wait_for_function("() => location.hash.startsWith('#key=')")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#query strong').textContent === 'mine.png'")
    page.reload()
    page.wait_for_selector("#notice:visible")
    assert "not here any more" in page.locator("#notice").text_content()
    assert page.locator("#welcome").is_visible()


def test_options_are_applied_and_stand_in_the_address(visit: Visit, service: str) -> None:
    page = visit(service, at="/#key=7", expected=("status of 422",))
    wait_for_neighbours(page)
    page.select_option("#k", "12")
    wait_for_neighbours(page, "12 nearest")
    page.locator("#columns button", has_text="label").click()
    page.keyboard.type("= 'tiles'")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('where')")
    wait_for_neighbours(page, "9 nearest")
    assert set(labels(page)) == {"tiles"}
    page.check("#exact")
    page.check("#rerank")
    page.wait_for_selector("text=/matches fit/")
    assert page.evaluate("location.hash") == "#key=7&k=12&where=label+%3D+%27tiles%27&exact=true&rerank=sift"
    page.reload()
    wait_for_neighbours(page, "9 nearest")
    assert page.locator("#where").input_value() == "label = 'tiles'"
    assert page.locator("#rerank").is_checked()
    page.fill("#where", "colour = 1")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#where-error').textContent.includes('no column')")
    assert page.locator("#where").get_attribute("aria-invalid") == "true"
    page.fill("#where", "width > 9999")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=No picture passes the condition")


def test_matches_are_shown_with_their_numbers(visit: Visit, service: str) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    give(page, "drop", png(seen(poster("stripes", 1), 0, 1.0)))
    wait_for_neighbours(page)
    page.locator(".match").first.click()
    page.wait_for_selector("#matches-sheet img")
    told = page.locator("#matches-told").text_content()
    num_matches, num_inliers = (int("".join(filter(str.isdigit, part))) for part in told.split(",", 1))
    assert num_matches >= num_inliers > 20
    page.locator("#matches-next").click()
    page.wait_for_selector("#matches-previous:enabled")
    page.keyboard.press("Escape")
    assert not page.locator("#matches").is_visible()
    assert page.evaluate("document.activeElement.className").startswith("match")


def test_all_of_it_goes_by_keyboard(visit: Visit, service: str) -> None:
    page = visit(service, at="/#key=7")
    wait_for_neighbours(page)
    page.locator("#rerank").focus()
    page.keyboard.press("Tab")
    focused = "[...document.querySelectorAll('.pick')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 0
    columns = page.evaluate("getComputedStyle(document.querySelector('#grid')).gridTemplateColumns.split(' ').length")
    for key, expected in [
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("Home", 0),
        ("End", 23),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("m")
    page.wait_for_selector("#matches-sheet img")
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash !== '#key=7'")
    wait_for_neighbours(page)
    assert page.evaluate(focused) == 0  # and the arrows lead on from there


def test_a_uri_with_html_in_it_stays_text(visit: Visit, service: str) -> None:
    page = visit(service)
    page.wait_for_selector(".pick")
    give(page, "drop", png(seen(poster("arcs", 0), 14, 1.25)), MARKUP)
    wait_for_neighbours(page)
    assert query_name(page) == MARKUP
    assert page.locator(".pick .uri", has_text=MARKUP).count() == 1
    assert page.locator("img[src=x]").count() == 0
    page.locator(".pick", has_text=MARKUP).click()
    page.wait_for_function("() => location.hash.startsWith('#key=')")
    page.wait_for_selector("#query .uri")
    assert page.locator("#query .uri").text_content() == f"arcs/{MARKUP}"


def test_a_key_keeps_its_digits_and_a_picture_that_is_not_kept_shows_its_name(visit: Visit, service: str) -> None:
    given = png(seen(poster("circles", 9), 0, 1.0))
    place = f"{service}/v1/images/{ANOTHER_KEY}"
    headers = {"Content-Type": "image/png"}
    urllib.request.urlopen(urllib.request.Request(f"{place}?uri=far/away.png", given, headers, method="PUT")).close()
    try:
        page = visit(service, expected=("status of 404",))
        page.wait_for_selector(".pick")
        give(page, "drop", given)
        wait_for_neighbours(page)
        page.wait_for_selector(".pick .mat .name")
        assert page.locator(".pick").first.locator(".name").text_content() == "away.png"
        page.locator(".pick").first.click()
        page.wait_for_function("key => location.hash === `#key=${key}`", arg=str(ANOTHER_KEY))
        wait_for_neighbours(page)
        page.wait_for_selector(f"text=key {ANOTHER_KEY}")
        assert page.locator(".distance").first.text_content() == "itself"
    finally:
        urllib.request.urlopen(urllib.request.Request(place, method="DELETE")).close()


def test_numbers_are_read_whole_and_strings_are_let_alone(visit: Visit, service: str) -> None:
    page = visit(service)
    read = "text => import('/page/exact_json.js').then((module) => module.parseExact(text))"
    text = r'{"key":-9223372036854775808,"uri":"a\"1234567890123456789,","small":7,"distance":0.12345678901234567}'
    assert page.evaluate(read, text) == {
        "key": "-9223372036854775808",
        "uri": 'a"1234567890123456789,',
        "small": 7,
        "distance": 0.12345678901234567,
    }


def test_what_is_no_picture_is_told_in_a_sentence(visit: Visit, service: str) -> None:
    page = visit(service, expected=("status of 422",))
    page.wait_for_selector(".pick")
    give(page, "drop", b"these are words", "words.txt", "text/plain")
    page.wait_for_selector("#notice:visible")
    assert page.locator("#notice h2").text_content() == "That picture cannot be used"
    assert page.locator("#notice p").text_content().endswith(".")
    assert not page.locator("#notice button").is_visible()  # the same picture would fail again
    give(page, "drop", png(poster("hills", 0)))
    wait_for_neighbours(page)
    assert not page.locator("#notice").is_visible()


def test_a_busy_service_is_asked_again_and_one_that_fails_is_told_of(visit: Visit, service: str) -> None:
    page = visit(service, expected=("status of 429", "status of 503"))
    page.wait_for_selector(".pick")
    num_asked = []

    def busy_once(route: Any) -> None:
        num_asked.append(1)
        if len(num_asked) == 1:
            route.fulfill(status=429, headers={"Retry-After": "0"}, content_type="application/problem+json", body="{}")
        else:
            route.continue_()

    page.route("**/v1/search?*", busy_once)
    give(page, "drop", png(poster("hills", 0)))
    page.wait_for_selector("text=/busy; asking again/")
    wait_for_neighbours(page)
    assert len(num_asked) == 2
    page.unroute("**/v1/search?*")
    page.route("**/v1/search", lambda route: route.fulfill(status=503, body="<html>a proxy's own page</html>"))
    page.locator(".pick").nth(1).click(no_wait_after=True)
    page.wait_for_selector("#notice:visible")
    assert "503" in page.locator("#notice p").text_content()
    page.unroute("**/v1/search")
    page.locator("#notice button").click()
    wait_for_neighbours(page)


def test_a_service_that_is_gone_is_told_of(visit: Visit, gallery: Path) -> None:
    with served(gallery=gallery, read_only=True) as address:
        page = visit(address, at="/#key=7", expected=("ERR_CONNECTION", "ERR_EMPTY_RESPONSE"))
        wait_for_neighbours(page)
    page.locator(".pick").nth(1).click()
    page.wait_for_selector("#notice:visible")
    assert page.locator("#notice h2").text_content() == "The service does not answer"
    assert page.locator("#notice button").is_visible()


def test_a_token_is_asked_for_and_kept_in_the_tab(visit: Visit, gallery: Path) -> None:
    with served(gallery=gallery, read_only=True, token=TOKEN) as address:
        page = visit(address, at="/#key=3", expected=("status of 401",))
        page.wait_for_selector("#token:visible")
        assert not page.locator("#desk").is_visible()
        assert page.locator("#token-error").text_content() == ""
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#token-error').textContent.includes('not the right one')")
        page.fill("#token-text", TOKEN)
        page.keyboard.press("Enter")
        wait_for_neighbours(page)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.pick img')].every((image) => image.naturalWidth > 0)"
        )
        assert page.locator(".pick img").first.get_attribute("src").startswith("blob:")
        assert page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [
            0,
            "",
            [TOKEN],
        ]
        page.reload()
        wait_for_neighbours(page)
        page.locator("#foot summary").click()
        page.locator("#forget").click()
        page.wait_for_selector("#token:visible")


def test_only_what_is_above_the_limits_is_shrunk_and_the_page_says_so(visit: Visit, gallery: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (420, 420, 3), np.uint8)
    with served(gallery=gallery, read_only=True, max_body_bytes=400_000, max_pixels=150_000) as address:
        page = visit(address, expected=("status of 413",))
        page.wait_for_selector(".pick")
        asked: list[Any] = []
        page.on("request", lambda request: "v1/search?" in request.url and asked.append(request))
        within, many_pixels, many_bytes = png(poster("hills", 0)), png(poster("hills", 0, 400)), png(noise)
        for name, content in {"within": within, "many pixels": many_pixels, "many bytes": many_bytes}.items():
            give(page, "drop", content, name)
            page.wait_for_function("name => document.querySelector('#query strong').textContent === name", arg=name)
            wait_for_neighbours(page)
        assert asked[0].all_headers()["content-length"] == str(len(within))
        assert len(asked) == 4  # the second was refused first, the third not even sent as it is
        assert (
            page.locator("#query .note").text_content().startswith("Shrunk from 420 \N{MULTIPLICATION SIGN} 420 to 387")
        )


def test_a_model_alone_shows_the_vector(visit: Visit, browser: Any) -> None:
    with served(model="siamese") as address:
        page = visit(address, permissions=["clipboard-read", "clipboard-write"])
        page.wait_for_selector("#welcome:visible")
        give(page, "drop", png(poster("hills", 0)))
        page.wait_for_selector("#vector svg")
        assert "64 numbers by siamese" in page.locator("#results-title").text_content()
        assert page.locator(".numbers li").count() == 16
        assert not page.locator("#options").is_visible()
        page.locator("#vector button").click()
        page.wait_for_selector("text=Copied")
        copied = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
        assert len(copied) == 64
        assert f"{np.linalg.norm(copied):.4f}" in page.locator("#vector dl").text_content()


@pytest.mark.parametrize(("width", "factor"), [(360, 1), (640, 2)])  # a phone, and a laptop's screen at 200 %
def test_nothing_is_wider_than_a_small_screen(visit: Visit, service: str, width: int, factor: int) -> None:
    size = {"width": width, "height": 780}
    page = visit(service, viewport=size, device_scale_factor=factor, has_touch=True, is_mobile=True)
    page.wait_for_selector(".pick")
    assert not overflows(page)
    page.locator(".pick").nth(1).click()
    wait_for_neighbours(page)
    page.locator("#options summary").click()
    page.wait_for_selector("#where:visible")
    assert not overflows(page)
    page.locator(".match").first.click()
    page.wait_for_selector("#matches-sheet img")
    assert not overflows(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(visit: Visit, service: str, scheme: str) -> None:
    page = visit(service, at="/#key=7", color_scheme=scheme)
    wait_for_neighbours(page)
    names = ("paper", "surface", "mat", "ink", "soft", "accent", "accent-ink", "bad")
    read = """names => Object.fromEntries(names.map((name) => {
        const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
        context.fillRect(0, 0, 1, 1);
        return [name, [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)];
    }))"""
    colors = {name: _luminance(rgb) for name, rgb in page.evaluate(read, list(names)).items()}
    pairs = [(ink, ground) for ink in ("ink", "soft", "accent", "bad") for ground in ("paper", "surface")]
    for ink, ground in [*pairs, ("soft", "mat"), ("accent-ink", "accent")]:
        darker, lighter = sorted((colors[ink], colors[ground]))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{ink} on {ground}"  # WCAG 2.2, AA


def _luminance(rgb: list[int]) -> float:
    parts = np.array(rgb) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


# ----------------------------------------------------------------------------------------------------------------------
# The screenshots of docs/


def save_screenshots(out: Path, work: Path) -> None:
    """Write page-desktop.png and page-phone.png to a folder, in 256 colours each."""
    from PIL import Image

    sizes: dict[str, dict[str, Any]] = {
        "desktop": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
        "phone": {
            "viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True,
        },
    }  # fmt: skip
    write_posters(work / "posters", 8)
    with served(gallery=make_gallery(work), read_only=True) as address, chromium() as browser:
        for name, options in sizes.items():
            page = browser.new_page(**options, reduced_motion="reduce")
            page.goto(f"{address}/#key=48&rerank=sift")
            wait_for_neighbours(page)
            page.locator(".pick").nth(1).click()
            wait_for_neighbours(page)
            page.wait_for_load_state("networkidle")
            page.mouse.move(0, 0)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(out / f"page-{name}.png", optimize=True)


if __name__ == "__main__":
    import tempfile

    with suppress(FileExistsError):
        Path(sys.argv[1]).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        save_screenshots(Path(sys.argv[1]), Path(folder))
