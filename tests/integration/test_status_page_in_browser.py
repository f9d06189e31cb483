"""The status page in a real browser, over a real service one of whose backends is down."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests import program
from tests.fakes.browser import Page, axe_source, opened_page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
IS_LIVE = "document.getElementById('freshness').textContent.startsWith('Updated')"
SETTINGS = (
    "backends.bad.kind=scripted",
    "backends.bad.fault=unavailable",
    "backends.good.kind=scripted",
    "guard.retry.max_attempts=1",
    "guard.breaker.open_s=300",
)
WIDTHS = [320, 360, 1200]


@dataclass
class Site:
    address: str
    process: subprocess.Popen[str]

    def ask(self, question: str) -> None:
        body = f'{{"messages": [{{"role": "user", "content": "{question}"}}]}}'.encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}/v1/chat/completions", body, headers)  # noqa: S310 - http
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
            assert answer.status == 200


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    process = program.start(folder, "serve", "--port", "0", *settings)
    assert process.stderr is not None
    announced = re.search(r"http://\S+", process.stderr.readline())
    assert announced is not None
    site = Site(announced[0], process)
    for number in range(8):
        site.ask(f"question {number}")
    yield site
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


def shown(page: Page, site: Site, **screen: Any) -> None:  # noqa: ANN401 - width, height and colours
    page.show_as(**({"width": 1200} | screen))
    page.go_to(f"{site.address}/status")
    page.wait_until(IS_LIVE)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_status_page_has_no_barrier_that_axe_finds(site: Site, page: Page, width: int, dark: bool) -> None:
    shown(page, site, width=width, dark=dark)
    page.evaluate(f"{axe_source()};0")
    tags = ", ".join(repr(rule) for rule in RULES)

    found = page.evaluate(
        f"axe.run(document, {{runOnly: [{tags}]}}).then(({{violations, passes}}) => "
        "({wrong: violations.map(rule => [rule.id, rule.nodes.map(node => node.html)]), "
        "right: passes.map(rule => rule.id)}))"
    )

    assert found["wrong"] == []
    assert "color-contrast" in found["right"]


@pytest.mark.parametrize("width", WIDTHS)
def test_status_page_needs_no_scrolling_to_the_side(site: Site, page: Page, width: int) -> None:
    shown(page, site, width=width)

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_status_page_is_dark_for_those_who_prefer_it(site: Site, page: Page) -> None:
    shown(page, site)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shown(page, site, dark=True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(20, 24, 28)"


def test_status_page_loads_nothing_from_elsewhere_and_breaks_no_rule_of_its_own(site: Site, page: Page) -> None:
    page.problems.clear()
    page.requested.clear()
    shown(page, site)

    assert {address for address in page.requested if not address.startswith("data:")} == {
        f"{site.address}/status",
        f"{site.address}/status.json",
    }
    assert page.problems == []


def test_status_page_shows_which_breaker_is_open(site: Site, page: Page) -> None:
    shown(page, site)

    states = page.evaluate("[...document.querySelectorAll('section .state')].map(e => [e.textContent, e.dataset.fine])")

    assert states == [["breaker open", "false"], ["breaker closed", "true"]]


def test_status_page_updates_itself(site: Site, page: Page) -> None:
    shown(page, site)
    page.evaluate("window.isTheSamePage = true")
    before = page.evaluate("document.querySelector('[data-text=\"0.1\"]').textContent")

    site.ask("something new")
    page.wait_until(f"document.querySelector('[data-text=\"0.1\"]').textContent !== {before!r}")

    assert page.evaluate("window.isTheSamePage") is True


def test_status_page_updates_can_be_paused_by_keyboard_and_go_on(site: Site, page: Page) -> None:
    shown(page, site)
    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.id") == "pause"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    page.press("Enter", 13)
    paused = page.evaluate("[pause.getAttribute('aria-pressed'), freshness.textContent]")
    page.press("Enter", 13)
    page.wait_until(IS_LIVE)
    running = page.evaluate("pause.getAttribute('aria-pressed')")

    assert outline == "solid"
    assert paused == ["true", "Updates are paused."]
    assert running == "false"


def test_status_page_charts_have_names_and_say_in_words_what_they_show(site: Site, page: Page) -> None:
    shown(page, site)

    tree = page.accessible_tree()
    words = page.evaluate("document.getElementById('latency-words').textContent")

    assert {("image", "Latency"), ("image", "Answers per second"), ("image", "Requests inside")} <= set(tree)
    assert re.fullmatch(
        r"median: now [\d.]+ m?s, highest [\d.]+ m?s; 99th percentile: now [\d.]+ m?s, highest [\d.]+ m?s", words
    )


def test_status_page_has_one_main_part_and_headings_without_a_gap(site: Site, page: Page) -> None:
    shown(page, site)

    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_status_page_without_scripts_shows_the_figures_of_its_loading(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened_page(tmp_path_factory.mktemp("plain")) as plain:
        plain.without_scripts()
        plain.show_as(width=1200)
        plain.go_to(f"{site.address}/status")

        tree = plain.accessible_tree()

    texts = {name for _, name in tree}
    assert {"Answered", "breaker open", "As of the loading of this page."} <= texts
    assert ("button", "Pause updates") not in tree


def test_status_page_says_so_when_the_service_answers_no_more(page: Page, tmp_path: Path) -> None:
    with running_site(tmp_path) as short_lived:
        shown(page, short_lived)

    page.wait_until("document.getElementById('trouble').textContent !== ''")

    assert ("status", "") in page.accessible_tree()
    assert page.evaluate("document.getElementById('trouble').textContent").startswith("No answer")
