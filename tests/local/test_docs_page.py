"""The documentation page in a real browser, as somebody would use it who opens it for the first time."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.local.conftest import LocalPlatform

CHROMIUM = shutil.which("chromium")
# Nothing but the page: Chromium's own conversations with its maker would fail, or be taken for the page's.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 60_000  # milliseconds; a busy machine takes its time

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(SECONDS)
        yield page
        browser.close()


def answer_to_the_example(page: Page, path: str) -> dict[str, float]:
    """Open the operation, press Execute without changing anything, and read the answer on the page."""
    operation = page.locator(".opblock").filter(has=page.locator(f'[data-path="{path}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.execute").click()
    answer = operation.locator(".live-responses-table .response-col_description .microlight").first
    answer.wait_for()
    scores: dict[str, float] = json.loads(answer.inner_text())
    return scores


@pytest.mark.parametrize("address", ["docs", "apidocs"])
def test_the_example_on_the_page_is_answered_with_the_right_label_by_pressing_one_button(
    platform: LocalPlatform, page: Page, address: str
) -> None:
    page.goto(f"{platform.url}/{address}")
    scores = answer_to_the_example(page, "/predict")
    assert max(scores, key=lambda label: scores[label]) == "pants", scores


def test_the_page_asks_nobody_but_the_gateway_and_breaks_none_of_its_own_rules(
    platform: LocalPlatform, page: Page
) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{platform.url}/docs")
    answer_to_the_example(page, "/predict")
    assert {url for url in asked if not url.startswith((f"{platform.url}/", "data:", "blob:"))} == set()
    assert complaints == []
