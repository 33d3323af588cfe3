"""The gallery's page, in a browser: what is shown, found and typed, and that names cannot do anything."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conversion_fakes import save_photo
from gallery_folder import HOSTILE, draw, drawn_folder

from apdraw_cli.commands.gallery import gallery
from apdraw_cli.gallery import page as written
from apdraw_cli.gallery.page import is_page

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver


def until(true: Callable[[], object]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to that")


class Page:
    """The page as its user has it before them."""

    def __init__(self, browser: "WebDriver", path: Path) -> None:
        from selenium.webdriver.common.keys import Keys

        self.keys = Keys
        self.browser = browser
        browser.get("about:blank")
        browser.get(path.as_uri())

    def element(self, name: str) -> Any:
        return self.browser.find_element("id", name)

    def titles(self) -> list[str]:
        script = "return [...document.querySelectorAll('.card')].map(c => c.getAttribute('aria-label')).sort()"
        return self.browser.execute_script(script)  # type: ignore[no-any-return]

    def type(self, *keys: str, at: str = "grid") -> None:
        self.element(at).send_keys(*keys)

    def status(self, name: str) -> None:
        self.browser.find_element("css selector", f"[data-status={name}]").click()

    def pictures(self) -> dict[str, bool]:
        """Whether each picture in view could be loaded, by its address."""
        waiting = "return [...document.querySelectorAll('.card img')].every(i => i.src && i.complete)"
        until(lambda: self.browser.execute_script(waiting))
        images = "[...document.querySelectorAll('.card img')]"
        script = f"return Object.fromEntries({images}.map(i => [i.src, i.naturalWidth > 0]))"
        return self.browser.execute_script(script)  # type: ignore[no-any-return]

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[attr-defined]


@pytest.fixture
def page(browser: "WebDriver", tmp_path: Path) -> Page:
    return Page(browser, gallery(drawn_folder(tmp_path)).page)


def test_photos_drawings_and_failures_are_shown(page: Page) -> None:
    assert len(page.titles()) == 8
    assert {"plain.png", "sub/group.png (1)", "sub/group.png (2)", "landscape.png", "text.jpg"} < {*page.titles()}
    loaded = page.pictures()
    assert (
        len(loaded) == 12
    )  # six drawings, and their photos, of which the group's two faces share one; the one failure's
    assert all(loaded.values())
    assert "no face was found" in page.element("grid").text
    assert page.errors() == []


def test_names_are_text_and_nothing_more(page: Page) -> None:
    assert HOSTILE in page.titles()
    assert page.browser.execute_script("return document.querySelectorAll('img[src=x], script').length") == 2
    page.type(page.keys.HOME, page.keys.ENTER)
    assert page.element("name").text == HOSTILE
    until(lambda: page.browser.execute_script("return document.getElementById('drawing').naturalWidth") == 512)
    assert page.errors() == []


def test_no_other_script_runs_and_nothing_comes_from_elsewhere(page: Page) -> None:
    page.browser.execute_script(
        "document.body.append(document.createRange().createContextualFragment('<script>window.ran = 1</script>'))"
    )
    assert page.browser.execute_script("return window.ran === undefined")
    assert any("Content Security Policy" in error for error in page.errors())
    source = (Path(written.__file__).parent / "page.html").read_text(encoding="utf-8")
    assert "http://" not in source
    assert "https://" not in source


def test_search_and_filters(page: Page) -> None:
    page.type("GROUP", at="search")
    assert page.titles() == ["sub/group.png (1)", "sub/group.png (2)"]
    page.element("search").clear()
    page.type("face small", at="search")
    assert page.titles() == ["p10.png"]
    page.type(page.keys.CONTROL + "a", page.keys.BACKSPACE, at="search")
    assert len(page.titles()) == 8
    expected = {"done": 6, "warned": 1, "no_face": 1, "failed": 1, "all": 8}
    for status, count in expected.items():
        page.status(status)
        assert len(page.titles()) == count, status
    reasons = [each.text for each in page.element("reason").find_elements("tag name", "option")]
    assert sorted(reasons) == ["Any warning or error", "no face (1)", "not an image (1)", "small face (1)"]
    page.type("not", at="reason")
    until(lambda: page.titles() == ["text.jpg"])
    assert page.element("count").text == "1 of 8 entries"


def test_keys_and_the_slider(page: Page) -> None:
    keys = page.keys
    page.type(keys.HOME, keys.ARROW_RIGHT, keys.ARROW_RIGHT, keys.ENTER)
    assert page.element("name").text == "p9.png"

    def cut() -> str:
        return page.browser.execute_script(  # type: ignore[no-any-return]
            "return getComputedStyle(document.getElementById('drawing')).clipPath"
        )

    assert "50%" in cut()
    page.type(keys.ARROW_UP, at="cut")
    assert "55%" in cut()
    page.type(keys.SPACE, at="cut")
    assert cut() == "inset(0px 0px 0px 0%)"  # all of it: the drawing alone
    page.type(keys.ARROW_RIGHT, at="cut")
    assert page.element("name").text == "p10.png"
    assert "the face is small" in page.element("reasons").text
    page.type(keys.ESCAPE, at="cut")
    until(lambda: not page.element("detail").is_displayed())
    page.type("/")
    assert page.browser.switch_to.active_element.get_attribute("id") == "search"


def test_light_and_dark(page: Page) -> None:
    def ground() -> str:
        return page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")  # type: ignore

    page.type("d")
    light = ground()
    page.type("d")
    assert ground() != light
    assert light == "rgb(244, 244, 242)"
    page.type("d")


def test_ten_thousand_entries_are_as_quick_as_ten(browser: "WebDriver", tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "p0.png", 100)
    draw(tmp_path)
    folder = tmp_path / "drawings"
    line = json.loads((folder / "apdraw-manifest.jsonl").read_text())
    lines = [line | {"source": f"p{number}.png"} for number in range(10_000)]
    (folder / "apdraw-manifest.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert gallery(folder).entries == 10_000
    page = Page(browser, folder / "index.html")
    assert page.element("count").text == "10000 entries"
    assert len(page.titles()) < 60
    page.type(page.keys.END)
    until(lambda: "p9999.png" in page.titles())
    assert len(page.titles()) < 60
    page.type("p1234", at="search")
    assert page.titles() == ["p1234.png"]


def test_a_page_is_known_again(tmp_path: Path) -> None:
    with gallery(drawn_folder(tmp_path)).page.open("rb") as file:
        assert is_page(file)
