"""A real headless browser for pages that the project makes; tests skip where there is none."""

import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# without looking for updates and the like, which a closed network refuses; root has no sandbox
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@contextmanager
def open_browser():
    """Playwright's handle of an installed Chromium or Chrome; skips the test without one."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page():
    """A page of `open_browser`, and a list to which its errors and its requests to other machines are added."""
    problems = []
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(20000)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: None if _is_local(request.url) else problems.append(request.url))
        yield page, problems


def _is_local(url):
    return url.startswith(("http://127.0.0.1", "blob:", "data:", "file:"))
