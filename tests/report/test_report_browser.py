"""The page in a browser, driven as a person would: from disk, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.report.comparison import contend, write_comparison
from paraformer_bench.report.index import build_index
from paraformer_bench.study import wire
from paraformer_bench.study.run_folder import read_run
from tests.report.gpu_run import WAYS, write_trace
from tests.report.test_report_hostile import STRINGS
from tests.report.test_why import CEILINGS

api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed"),
]

OOM = ("oom", "CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(scope="module")
def run_page(make: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every section: two widths, one curve out of memory, flags, traces and a broken line."""
    folder = tmp_path_factory.mktemp("browser") / "reports" / "run"
    records = make.study(device="cuda:0", gpu=True, width=768)
    for model, execution, runtime in WAYS:
        records += make.curve(
            (lambda depth: 1e-3 * depth) if execution == "loop" else (lambda depth: 1.3e-3),
            (1, 4, 16),
            lost={16: OOM} if execution == "streams" else None,
            gpu=True,
            device="cuda:0",
            model=model,
            execution=execution,
            runtime=runtime,
        )
    records[0].flags = ["drift"]
    for record in records:
        times = record.case.depth if record.case.execution == "loop" else 1
        record.work = [("addmm", times, 8 * 10**7, 10**6), ("add", times, 0, 10**5)]
        record.flops, record.energy_joules = 10**9 * record.case.depth, 0.2 * record.case.depth
    make.run(folder, records, make.info(ceilings=wire.plain(CEILINGS)))
    for case in {record.case for record in records if record.case.spec.width == 192}:
        if case.depth in (1, 16):
            write_trace(folder, case)
    with (folder / "records.jsonl").open("a") as file:
        file.write("{torn")
    path = build_report(folder)
    build_index(folder.parent)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; whatever it asks of a network, and every error it reports, fails the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def visit(address: str, **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:200]}"))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def shown(page: Any, selector: str) -> list[str]:
    """Texts of the elements that can be seen."""
    return [
        item.inner_text().strip() for item in page.locator(selector).all() if item.is_visible()
    ]


def heads(page: Any) -> list[str]:
    """Methods of the rows of verdicts that can be seen."""
    return shown(page, "#verdicts tbody[data-curve] > tr:first-child > th")


def test_narrowing_down_hides_all_else_and_can_be_sent(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page)
    whole = heads(page)
    assert len({" ".join(head.split()) for head in whole}) == 5
    page.locator('#filters [name="execution"]').select_option("stacked")
    page.locator('#filters [name="width"]').select_option("width 192")
    assert {" ".join(head.split()) for head in heads(page)} == {
        "paraformer stacked, eager",
        "paraformer stacked, graph",
    }
    assert shown(page, "#latency .legend li") == [
        "paraformer stacked, eager",
        "paraformer stacked, graph",
    ]
    curves = page.locator("#latency figure").first.locator("[data-points]")
    assert [one.is_visible() for one in curves.all()].count(True) == 2
    assert len(shown(page, "#latency figure")) == 1
    assert page.url.endswith("#?execution=stacked&width=width+192")

    again = visit(page.url)
    assert heads(again) == heads(page)
    assert again.locator('#filters [name="execution"]').input_value() == "stacked"

    page.get_by_role("link", name="The price", exact=True).click()
    page.wait_for_url("**#price?execution=stacked&width=width+192")
    page.get_by_role("button", name="show everything").click()
    assert heads(page) == whole
    assert page.url.endswith("#price")


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_hostile_names_run_nothing_and_break_nothing(
    visit: Callable[..., Any], make: Any, tmp_path: Path, text: str
) -> None:
    fields = {"model": text, "execution": text, "runtime": text, "dtype": text, "scope": text}
    records = make.curve(lambda depth: 1e-3, depths=(1, 2), **fields)
    records += make.curve(lambda depth: 1e-3, depths=(1, 2), batch=8, **fields)
    records += make.study(depths=(1, 2))
    for record in records:
        record.work = [("addmm", 1, 10**7, 10**5)]
    info = make.info(name=text, ceilings=wire.plain(CEILINGS))
    page = visit(build_report(make.run(tmp_path, records, info)).as_uri())
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    if "\0" not in text:  # at which names end for pandas: to it these cases are one
        page.locator('#filters [name="batch"]').select_option("batch 8")
        assert len(shown(page, "#latency figure")) == 1
    page.locator('#filters [name="text"]').fill("serial")
    page.mouse.move(400, 600)


def test_predictions_are_narrowed_down_by_their_regimes(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page + "#?width=width+768")
    assert shown(page, "#outlook caption") == [
        "width 768 · 197 tokens · float32 · cuda:0 · inference · whole net: "
        "depth up to which time is predicted to be constant, at batch"
    ]
    assert len(shown(page, "#price figure")) == 3


def test_a_mark_of_the_overview_leads_to_its_curve(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page)
    page.locator("#verdicts details.regime").last.evaluate("fold => fold.open = false")
    mark = page.locator("#verdicts .grid tbody tr").last.locator("a.mark").first
    mark.click()
    row = page.locator(f"[id='{(mark.get_attribute('href') or '')[1:]}']")
    assert row.is_visible()
    assert " ".join(row.locator("th").inner_text().split()) == "serial loop, eager"


def test_search_looks_at_methods_verdicts_and_regimes(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page)
    page.locator('#filters [name="text"]').fill("768 grows")
    assert {" ".join(head.split()) for head in heads(page)} == {
        "serial loop, eager",
        "paraformer loop, eager",
    }
    page.locator('#filters [name="text"]').fill("no such thing")
    assert heads(page) == []
    page.locator('#filters [name="text"]').fill("")
    assert len(heads(page)) > 5


def test_an_address_with_nonsense_shows_everything(
    visit: Callable[..., Any], run_page: str
) -> None:
    whole = heads(visit(run_page))
    page = visit(run_page + "#memory?execution=nobody&colour=red&%zz")
    assert heads(page) == whole


def test_tables_sort_both_ways(visit: Callable[..., Any], run_page: str) -> None:
    page = visit(run_page)
    table = page.locator("table.verdicts").last
    button = table.get_by_role("button", name="largest growth")
    cells = "tbody > tr:first-child > td[data-head='largest growth']"

    def keys() -> list[float]:
        return [
            float(cell.get_attribute("data-key") or "inf") for cell in table.locator(cells).all()
        ]

    button.click()
    assert keys() == sorted(keys())
    assert len(set(keys())) > 2
    button.click()
    assert keys() == sorted(keys(), reverse=True)
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_points_tell_their_numbers_to_pointer_and_keyboard(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page)
    figure = page.locator("#latency figure svg").first
    figure.scroll_into_view_if_needed()
    group = figure.locator("[data-points]").first
    number = group.get_attribute("data-points")
    row = page.locator("#latency .data [data-regime]").first.locator(f"tr[data-line='{number}']")
    cells = [cell.text_content() for cell in row.locator("td").all()]
    cells = [text for text in cells if text[0].isdigit()]
    label = row.locator("th").text_content()
    group.locator("use").nth(1).hover(force=True)
    assert page.locator(".tip-box").inner_text() == f"{label}, L = 4: {cells[1]} ms"

    page.mouse.move(1, 1)
    figure.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip-box").inner_text() == f"{label}, L = 1: {cells[0]} ms"
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip-box").inner_text() == f"{label}, L = 4: {cells[1]} ms"
    page.keyboard.press("Escape")
    assert not page.locator(".tip-box").is_visible()


def test_without_scripts_everything_can_be_read(visit: Callable[..., Any], run_page: str) -> None:
    page = visit(run_page, java_script_enabled=False)
    assert len(heads(page)) > 5
    assert not page.locator("#filters").is_visible()
    page.locator("#latency summary").click()
    assert page.locator("#latency table").first.is_visible()
    assert page.locator("#timelines svg").last.is_visible()


@pytest.mark.parametrize("width", [390, 1600])
def test_nothing_is_wider_than_the_window(
    visit: Callable[..., Any], run_page: str, width: int
) -> None:
    for address in (run_page, run_page.replace("/run/index.html", "/index.html")):
        page = visit(address, viewport={"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_prints_without_what_only_works_on_a_screen(
    visit: Callable[..., Any], run_page: str
) -> None:
    page = visit(run_page)
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible()
    assert not page.locator("nav").is_visible()
    assert len(heads(page)) > 5
    assert len(page.pdf()) > 10_000


@pytest.fixture(scope="module")
def comparison_page(make: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs, of which one is slower."""
    folder = tmp_path_factory.mktemp("compared")
    runs = [read_run(make.run(folder / name, make.study())) for name in ("a", "b", "c")]
    for record in runs[2].records:
        record.wall_seconds = [2 * seconds for seconds in record.wall_seconds]
    return write_comparison(folder / "page.html", contend(runs, 0.03)).as_uri()


def test_comparison_fits_a_phone(visit: Callable[..., Any], comparison_page: str) -> None:
    page = visit(comparison_page, viewport={"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#cases-c tbody tr").count() == 12
    assert page.locator("#latency figure").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    visit: Callable[..., Any], run_page: str, comparison_page: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for address in (
        run_page,
        run_page.replace("/run/index.html", "/index.html"),
        comparison_page,
    ):
        page = visit(address, color_scheme=scheme, bypass_csp=True)
        for folded in page.locator("details:not([open]) > summary").all():
            if folded.is_visible():
                folded.click()
        found = axe.run(page).response["violations"]
        said = [
            f"{one['id']}: {node['target']} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"][:3]
        ]
        assert said == []


def test_index_leads_to_the_run(visit: Callable[..., Any], run_page: str) -> None:
    page = visit(run_page.replace("/run/index.html", "/index.html"))
    page.locator(".runs h2 a").first.click()
    page.wait_for_url(f"**{Path(run_page).parent.name}/index.html")
    assert page.locator("#verdicts").is_visible()


def test_drawn_text_stays_inside_its_figure(visit: Callable[..., Any], run_page: str) -> None:
    page = visit(run_page)
    outside = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].flatMap((svg) => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll("text")].filter((text) => {
                const box = text.getBoundingClientRect();
                return box.width && (box.left < frame.left - 5 || box.right > frame.right + 5
                    || box.top < frame.top - 4 || box.bottom > frame.bottom + 4);
            }).map((text) => svg.getAttribute("aria-labelledby") + ": " + text.textContent);
        })"""
    )
    assert outside == []
