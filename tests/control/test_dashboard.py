"""The dashboard in a real browser."""

import os
import shutil
from contextlib import contextmanager

import httpx
import pytest

from tests.support import KEY, ROOT, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's packages chromium and chromium-driver",
    ),
]

PATTERNS = [
    {
        "name": "weather",
        "match": {"content_contains": "weather", "model": "gpt-4*"},
        "content": "It is sunny, with a light wind from the south, and it stays dry until the evening.",
    },
    {"name": "refund", "match": {"content_regex": "refund|money back"}, "content": "Your refund is on its way."},
]
CONFIG = {
    "latency": {"ttft": 120, "itl": {"distribution": "lognormal", "mean": 15, "std": 5}},
    "faults": [{"kind": "status", "status": 503, "every_nth": 6, "skip_first": 3}],
    "responses": {"chat_completions": {"patterns": PATTERNS}},
}
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
QUIET += ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,1250")


@contextmanager
def browser(directory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*QUIET, f"--user-data-dir={directory}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
        serious = [entry for entry in driver.get_log("browser") if "favicon" not in entry["message"]]
        assert serious == []
    finally:
        driver.quit()


def chat(server, content, stream=True, **headers):
    body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": content}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(server.url + "/v1/chat/completions", json=body, headers=KEY | named, timeout=30)


def text(driver, selector):
    return driver.find_element("css selector", selector).text


def background(driver):
    return driver.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_dashboard_shows_requests_and_sends_them(serve, tmp_path):
    server = serve(CONFIG, "--workers", "2")
    with browser(tmp_path / "profile") as driver:
        driver.get(server.url + "/")
        assert wait_until(lambda: text(driver, "#state") == "live", 10)
        assert "2 workers, 2 rules" in text(driver, "#about")
        # The journal is off at first; the page can turn it on.
        driver.find_element("id", "turn-on").click()
        assert wait_until(lambda: not driver.find_element("id", "journal-off").is_displayed(), 10)
        statuses = [chat(server, content, stream).status_code for content, stream in QUESTIONS]
        assert set(statuses) == {200, 503}
        chat(server, "<b>is this</b> the wether?", x_fastmock_session="checkout")
        assert wait_until(lambda: len(driver.find_elements("css selector", "#requests tr")) == len(QUESTIONS) + 1, 10)
        shown = text(driver, "#requests")
        assert "nearest: weather \u2013 content '<b>is this</b> the wether?' does not contain 'weather'" in shown
        assert "session checkout" in shown
        assert "503" in text(driver, "#statuses")
        assert "weather" in text(driver, "#rules")
        assert 110 < float(text(driver, "#ttft")) < 400
        assert float(text(driver, "#lateness")) < 500
        assert "/v1/chat/completions (stream)" in shown
        # A request is tried, and its stream is seen to arrive.
        message = driver.find_element("id", "message")
        message.clear()
        message.send_keys("How is the weather?")
        # The page itself notes what it shows: a driver on a busy machine looks too seldom.
        driver.execute_script(
            "const answer = document.getElementById('answer'); window.seen = new Set();"
            "new MutationObserver(() => window.seen.add(answer.textContent))"
            ".observe(answer, {childList: true, characterData: true, subtree: true});"
        )
        driver.find_element("css selector", "#try button").click()
        assert wait_until(lambda: text(driver, "#answer").endswith("evening."), 10)
        assert driver.execute_script("return window.seen.size") > 3
        assert "TTFT" in text(driver, "#measured")
        driver.find_element("id", "stream").click()
        driver.find_element("css selector", "#try button").click()
        assert wait_until(lambda: text(driver, "#measured").startswith("status 200"), 10)
        assert wait_until(lambda: text(driver, "#requests").count("…") == 0, 10)
        # Findings are off at first, too.
        driver.find_element("id", "check").click()
        assert wait_until(lambda: "not watched" in text(driver, "#findings"), 10)
        driver.find_element("css selector", "#findings button").click()
        assert wait_until(lambda: text(driver, "#findings") == "No findings.", 10)
        for _ in range(2):
            chat(server, "I want a refund", False, x_fastmock_session="twice")
        driver.find_element("id", "check").click()
        assert wait_until(lambda: "repeated_success" in text(driver, "#findings"), 10)
        assert "client twice" in text(driver, "#findings")
        light = background(driver)
        if path := os.environ.get("SCREENSHOT"):  # how the picture in the docs is made
            driver.save_screenshot(str(ROOT / path))
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
        assert wait_until(lambda: background(driver) != light, 5)
        # On a phone nothing is wider than the screen.
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


QUESTIONS = [
    ("How is the weather?", True),
    ("and the weather tomorrow?", True),
    ("I want a refund", False),
    ("weather in Oslo", True),
    ("my money back, please", True),
    ("Hello", True),
    ("weather", False),
    ("weather at sea", True),
    ("a refund", True),
    ("What about trains?", True),
]


def test_dashboard_on_a_separate_port_prompts_for_the_token(serve, tmp_path):
    config = CONFIG | {"admin": {"token": "tok-1", "port": 0}, "journal": {"enabled": True}}
    server = serve(config, "--workers", "1")
    url = server.greeting.partition("in a browser")[2].split()[0]
    with browser(tmp_path / "profile") as driver:
        driver.get(url)
        assert wait_until(lambda: text(driver, "#state") == "locked", 10)
        assert "admin.token" in text(driver, "#locked-why")
        driver.find_element("id", "token").send_keys("tok-1")
        driver.find_element("css selector", "#locked button").click()
        assert wait_until(lambda: text(driver, "#state") == "live", 10)
        driver.find_element("css selector", "#try button").click()  # which goes to the other port
        assert wait_until(lambda: text(driver, "#answer").startswith("Hello from fastmock!"), 10)
        assert wait_until(lambda: "chat_completions.default" in text(driver, "#requests"), 10)
        driver.get_log("browser")  # which has the 401 that it was answered at first


def test_dashboard_opens_with_the_printed_url(serve, tmp_path):
    server = serve(CONFIG, "--host", "0.0.0.0", "--workers", "1")
    assert wait_until(lambda: "/#token=" in "".join(server.errors), 10)
    printed = next(word for word in "".join(server.errors).split() if "/#token=" in word)
    url, _, token = printed.partition("#token=")
    with browser(tmp_path / "profile") as driver:
        driver.get(printed)
        assert wait_until(lambda: text(driver, "#state") == "live", 10)
        assert driver.current_url == url  # the token is neither in the address bar nor in the history
        assert driver.execute_script("return sessionStorage.getItem('fastmock-token')") == token
        driver.refresh()
        assert wait_until(lambda: text(driver, "#state") == "live", 10)
        driver.get(f"{url}#token=wrong")
        driver.refresh()
        assert wait_until(lambda: text(driver, "#state") == "locked", 10)
        assert "FASTMOCK_ADMIN_TOKEN" in text(driver, "#locked-why")
        driver.get_log("browser")  # which has the 401
