"""The page in Chromium: by keyboard, and as wide as a phone."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.cluster import Cluster
from tests.conftest import PASSWORD

DRIVER = Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PHONE = (360, 740)
DESKTOP = (1280, 900)

# Where to keep pictures of the pages, to be looked at.
PICTURES = os.environ.get("PICTURES")

CLICKS = """
INSERT INTO clicks SELECT id, (now() AT TIME ZONE 'utc')::date - day, (day * 7) % 23 + 3
    FROM links, generate_series(1, 29) AS day
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser with a profile of its own."""
    if not DRIVER.exists():
        pytest.fail("The tests need Chromium: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium: Chrome, client: httpx.Client) -> Iterator[Chrome]:
    """A browser at the first page, logged out; whatever it complains of is an error."""
    chromium.get(str(client.base_url))
    chromium.delete_all_cookies()
    chromium.get(str(client.base_url))
    yield chromium
    assert complaints(chromium) == []


def complaints(browser: Chrome) -> list[str]:
    """What the browser's console says since it was asked last."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


def press(browser: Chrome, *keys: str) -> None:
    """Type into whatever has the focus."""
    for key in keys:
        focused(browser).send_keys(key)


def focused(browser: Chrome) -> WebElement:
    return browser.switch_to.active_element


def title(browser: Chrome, text: str) -> None:
    # The page may go between the two questions.
    wait = WebDriverWait(browser, 10, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda b: text in b.find_element(By.TAG_NAME, "main").text)


def resize(browser: Chrome, size: tuple[int, int]) -> None:
    # Not the window's size, which has a least width.
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def look(browser: Chrome, name: str) -> None:
    """Keep a picture at both sizes, and see that nothing sticks out on a phone."""
    for label, size in {"phone": PHONE, "desktop": DESKTOP}.items():
        resize(browser, size)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= size[0], f"{name} is {wide} wide on a {label}"
        if PICTURES:
            browser.save_screenshot(f"{PICTURES}/{name}-{label}.png")


def test_shorten_a_link_by_keyboard_alone(browser: Chrome, cluster: Cluster, database: str) -> None:
    title(browser, "Log in")
    look(browser, "login")
    browser.find_element(By.LINK_TEXT, "Register").send_keys(Keys.ENTER)
    title(browser, "At least 12 characters")
    look(browser, "register")
    press(browser, "ann", Keys.TAB, PASSWORD, Keys.ENTER)
    title(browser, "None yet")
    look(browser, "home-empty")
    press(browser, "https://example.org/a/long/path?with=" + "words" * 30, Keys.TAB, "mine")
    press(browser, Keys.ENTER)
    title(browser, "0 clicks")
    cluster.sql(CLICKS, database=database)
    browser.refresh()
    title(browser, "clicks")
    look(browser, "stats")
    bars = browser.find_elements(By.CSS_SELECTOR, "rect.bar")
    assert len(bars) == 30
    heights = [float(bar.get_attribute("height") or 0) for bar in bars]
    assert max(heights) == 120
    assert heights[-1] == 0
    browser.find_element(By.LINK_TEXT, "links").send_keys(Keys.ENTER)
    title(browser, "mine")
    look(browser, "home")


def test_every_control_is_reached_and_shows_it(browser: Chrome) -> None:
    browser.get(browser.current_url.replace("/login", "/register"))
    press(browser, "ann", Keys.TAB, PASSWORD, Keys.ENTER)
    title(browser, "None yet")
    brand = browser.find_element(By.LINK_TEXT, "links")
    browser.execute_script("arguments[0].focus()", brand)
    reached = []
    while (element := focused(browser)).tag_name != "body":
        reached.append(element.accessible_name)
        assert element.value_of_css_property("outline-style") != "none", reached
        element.send_keys(Keys.TAB)
    assert list(dict.fromkeys(reached)) == [
        "links",
        "Log out",
        "Address",
        "Code (optional)",
        "Last day (optional)",  # its parts are stops of their own
        "Shorten",
    ]


def test_a_mistake_is_said_and_what_was_typed_is_kept(browser: Chrome) -> None:
    browser.get(browser.current_url.replace("/login", "/register"))
    press(browser, "ann", Keys.TAB, PASSWORD, Keys.ENTER)
    title(browser, "None yet")
    press(browser, "https://example.org/", Keys.TAB, "static", Keys.ENTER)
    title(browser, "one of the site's own paths")
    look(browser, "mistake")
    kept = browser.find_element(By.ID, "url").get_attribute("value")
    assert kept == "https://example.org/"
    # Chromium tells the console of every answer of 4xx.
    assert ["422" in said for said in complaints(browser)] == [True]


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(browser: Chrome, dark: bool) -> None:  # noqa: FBT001
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        title(browser, "Log in")
        if PICTURES:
            browser.save_screenshot(f"{PICTURES}/login-{'dark' if dark else 'light'}.png")
        for selector in ("label", "button", "main a", "h1"):
            ratio = contrast(browser, selector)
            assert ratio >= 4.5, (selector, ratio)  # WCAG 2.2, 1.4.3
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def contrast(browser: Chrome, selector: str) -> float:
    """The contrast of an element's text to what is behind it."""
    colours: list[list[int]] = browser.execute_script(
        """
        let e = document.querySelector(arguments[0]);
        const parse = text => text.match(/[\\d.]+/g).map(Number);
        const text = parse(getComputedStyle(e).color);
        let back;
        for (; e; e = e.parentElement) {
            back = parse(getComputedStyle(e).backgroundColor);
            if (back.length < 4 || back[3] > 0) break;
        }
        return [text, back];
        """,
        selector,
    )
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[int]) -> float:
    """By https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in unit(colour)]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def unit(colour: list[int]) -> list[float]:
    return [part / 255 for part in colour[:3]]
