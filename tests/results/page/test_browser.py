"""Pages in a real browser, at the widths of a phone and of a desktop."""

from __future__ import annotations

import pathlib

import pytest

from tests.support.browser import NAMES, find_browser, look_at
from tests.support.pages import HOSTILE, run_facts
from trainer.results.page.render import render
from trainer.results.page.run_page import run_page

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("classes", [len(HOSTILE), 30, 100])
def test_a_page_fits_into_the_window(
    tmp_path: pathlib.Path, width: int, classes: int
) -> None:
    """No error, no request, no overflow, and every image is there."""
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    names = HOSTILE if classes == len(HOSTILE) else tuple("abcdefghij")
    names += tuple(f"class {n}" for n in range(classes - len(names)))
    path = tmp_path / "report.html"
    path.write_text(run_page(run_facts(names)), encoding="utf-8")
    look = look_at(browser, path, width)
    assert look.errors == []
    assert look.requests == []
    assert look.width <= look.shown == width
    assert look.wide == []
    assert look.loose == 0
    # 12 mistakes; four pairs of 3 and 2 images.
    assert look.images == [True] * (12 + 4 * 5)
    assert len(look.svgs) == 9
    assert min(look.svgs) > 100


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_serve_fits_into_the_window(
    tmp_path: pathlib.Path, width: int
) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    path = tmp_path / "serve.html"
    page = render("serve.html", title=HOSTILE[0] * 9, note="n", max_bytes=1)
    path.write_text(page, encoding="utf-8")
    look = look_at(browser, path, width)
    assert look.errors == []
    assert look.requests == []
    assert look.width <= look.shown == width
    assert look.wide == []
    assert look.loose == 0


def test_the_check_finds_what_is_wrong(tmp_path: pathlib.Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    path = tmp_path / "bad.html"
    path.write_text(
        '<meta name="viewport" content="width=device-width">'
        '<img src="missing.png"><table><tr><td style="white-space:pre">'
        f"{'wide ' * 200}</td></tr></table><script>none()</script>"
    )
    look = look_at(browser, path, 390)
    assert any("none is not defined" in error for error in look.errors)
    assert [url.rpartition("/")[2] for url in look.requests] == ["missing.png"]
    assert look.width > 390
    assert "TABLE." in look.wide
    assert look.images == [False]
    assert look.loose == 1
