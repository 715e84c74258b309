"""The HTML page in a real browser: sorting, filters, dialogs, small screens, screen readers, no requests."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reports import compare, render
from tests.support.predicted_runs import predicted_runs

selenium = pytest.importorskip(
    "selenium", reason="selenium is not installed: the test extra brings it"
)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DRIVER, AXE = shutil.which("chromedriver"), os.environ.get("SIMPLEXBENCH_AXE")
if os.environ.get("CI"):
    assert DRIVER, "CI must have a browser: .ci/reading"
    assert AXE, "CI must have axe-core: .ci/reading"
pytestmark = pytest.mark.skipif(
    not DRIVER, reason="no chromedriver: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def address(grid_of, tmp_path_factory):
    """The address of a page with three methods, three tasks, two sizes and the texts of test examples."""
    runs = predicted_runs(grid_of, tasks=("cola", "rte", "sst2"))
    rows = [(f"the first text of example {i}", "<b>not bold</b>") for i in range(60)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        render(compare(runs), format="html", command="bench report", texts=lambda _: rows), "utf-8"
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, address):
    """The page, reloaded at the size of a desktop window."""
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get(address)
    return chromium


def column(page, number):
    """Return the texts of a column of the first table."""
    return [
        cell.text
        for cell in page.find_elements(
            By.CSS_SELECTOR, f".table table tbody tr > :nth-child({number})"
        )
    ][:4]  # of the first table


def test_the_page_makes_no_request_and_logs_no_error(page, address):
    """The only request is for the page itself, and the console is empty."""
    requests = [
        entry["message"]
        for entry in page.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert all(address in message or '"url":"data:' in message for message in requests)
    assert page.get_log("browser") == []


def test_a_column_sorts_both_ways(page):
    """A heading sorts in descending, then ascending order, and states the order for screen readers."""
    before = column(page, 2)
    button = page.find_elements(By.CSS_SELECTOR, ".table thead .sort")[1]
    button.click()
    numbers = [float(text.split()[0]) for text in column(page, 2)]
    assert numbers == sorted(numbers, reverse=True)
    assert sorted(column(page, 2)) == sorted(before)
    head = button.find_element(By.XPATH, "..")
    assert head.get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in column(page, 2)] == sorted(numbers)
    page.find_element(By.CSS_SELECTOR, ".table thead .sort").click()
    assert column(page, 1) == [
        "fine-tuning",
        "majority class",
        "prefix",
        "simplex",
    ]  # words sort in ascending order first


def test_filters_hide_rows_columns_and_tables(page):
    """Unchecking a method, task or size hides its rows, columns and tables; checking it shows them again."""

    def visible(kind, value):
        return [
            node
            for node in page.find_elements(By.CSS_SELECTOR, f'main [data-{kind}="{value}"]')
            if node.is_displayed()
        ]

    page.find_element(By.CSS_SELECTOR, ".filters summary").click()
    for kind, value in (("method", "simplex"), ("task", "rte"), ("size", "50")):
        assert visible(kind, value)
        box = page.find_element(By.CSS_SELECTOR, f'[data-filter={kind}][value="{value}"]')
        box.click()
        assert not visible(kind, value)
        assert page.find_element(By.ID, "hidden").text == f"Not shown: {kind} {value}"
        box.click()
        assert visible(kind, value)
        box.click()
        page.find_element(By.ID, "every").click()
        assert visible(kind, value)
    assert page.find_element(By.ID, "hidden").text == ""


def test_the_scales_of_a_cell_end_at_the_range_of_the_score(chromium, grid_of, tmp_path):
    """With perfect scores beside poor ones, the ends of both scales lie between 0 and 100."""
    runs = [
        replace(
            run,
            score=float(run.draw % 2),
            dev_score=float(run.draw % 2),
            curve=[(10, 0.0), (20, 1.0)],
        )
        for run in predicted_runs(grid_of, tasks=("rte",), sizes=(50,))
    ]
    path = tmp_path / "report.html"
    path.write_text(render(compare(runs), format="html", command="bench report"), "utf-8")
    chromium.get(path.as_uri())
    chromium.find_element(By.CSS_SELECTOR, ".cell").click()
    ends = [
        float(text.text)
        for text in chromium.find_elements(By.CSS_SELECTOR, "#runs .tick")
        if not text.text.startswith("step")
    ]
    assert sorted(ends) == [0, 0, 100, 100]


def test_a_cell_opens_by_the_keyboard_and_closes_with_escape(page):
    """The dialog shows runs, curves and misanswered examples as text; closing it restores the focus."""
    button = page.find_element(By.CSS_SELECTOR, ".cell")
    button.send_keys(Keys.ENTER)
    dialog = page.find_element(By.ID, "runs")
    assert dialog.is_displayed()
    assert "fine-tuning on cola, size 50" in dialog.text
    strip, curves = dialog.find_elements(By.CSS_SELECTOR, "svg")
    assert len(strip.find_elements(By.CSS_SELECTOR, "circle")) == 5
    assert len(curves.find_elements(By.CSS_SELECTOR, "polyline.line")) == 5
    assert len(curves.find_elements(By.CSS_SELECTOR, "polyline.mean")) == 1
    assert "of 5" in dialog.text
    assert "fine-tuning on cola, size 50" in (
        button.get_attribute("aria-label") or ""
    )  # a reader who uses Tab does not see the headings of the table
    assert "the first text of example" in dialog.text
    assert "<b>not bold</b>" in dialog.text
    assert not dialog.find_elements(By.TAG_NAME, "b")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element == button


def test_it_fits_a_phone_and_paper(page):
    """At 360 pixels only tables and figures scroll sideways; the print version has no controls."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find_element(By.ID, "theme").is_displayed()
    assert not page.find_element(By.CSS_SELECTOR, ".filters").is_displayed()


def test_print_is_dark_on_white(page):
    """A page in the dark theme is printed in black on white."""
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    assert page.execute_script(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    page.execute_script("document.documentElement.dataset.theme = 'dark'")
    assert page.execute_script(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


def test_numbers_are_aligned(page):
    """Marks do not shift the digits of a column, and no word of a heading is broken."""
    ends = page.execute_script(
        "return [...document.querySelectorAll('.table tbody tr')].slice(0, 3).map((row) => {"
        "const node = row.cells[1].querySelector('strong') || row.cells[1].firstChild, range = document.createRange();"
        "range.selectNodeContents(node); return Math.round(range.getBoundingClientRect().right)})"
    )
    assert max(ends) - min(ends) <= 1
    broken = page.execute_script(
        "const found = []; for (const node of document.querySelectorAll('.sort')) {"
        "const text = node.firstChild; for (const word of text.data.matchAll(/\\w+/g)) {"
        "const range = document.createRange(); range.setStart(text, word.index);"
        "range.setEnd(text, word.index + word[0].length); if (range.getClientRects().length > 1) found.push(word[0])}}"
        "return found"
    )
    assert broken == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system(page, scheme):
    """The page uses the theme of the system, and the button switches it."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    colour = "return getComputedStyle(document.body).backgroundColor"
    shades = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 29)"}
    assert page.execute_script(colour) == shades[scheme]
    page.find_element(By.ID, "theme").click()
    assert page.execute_script(colour) == shades["dark" if scheme == "light" else "light"]


@pytest.mark.skipif(
    not AXE, reason="no axe-core: SIMPLEXBENCH_AXE names its script (.ci/reading fetches it)"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True])
def test_axe_finds_no_violation(page, scheme, opened):
    """axe-core finds no accessibility violation, in both themes, with and without an open dialog."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    if opened:
        page.find_element(By.CSS_SELECTOR, ".cell").click()
    else:
        page.find_element(By.CSS_SELECTOR, ".filters summary").click()
    page.execute_script(Path(AXE or "").read_text("utf-8"))
    violations = page.execute_async_script(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations))"
    )
    assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in violations] == []
