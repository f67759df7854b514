"""Drives `usd demo` in a headless Chromium; as a program it takes the README's pictures of it and of Prefect's page.

python -m docs.screenshot demo models/reference results/demo.png
python -m docs.screenshot prefect http://127.0.0.1:4200 results/prefect.png
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
app = typer.Typer()
SEGMENTS = 5  # the row of image2seg
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """The browser to drive: the machine's, else the one that playwright has installed, else none."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found:
        return found
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return str(own) if own.is_file() else None


@contextmanager
def tab() -> Iterator[Page]:
    """An empty tab that reaches this machine only."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser())
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.route(lambda url: "://127.0.0.1:" not in url, lambda route: route.abort())
        yield page
        chromium.close()


def try_out(page: Page, url: str, row: int, upload: Path | None = None, steps: int = 0, seed: int = 0) -> bytes:
    """Click the example pair of a row, counted from 0, run it on `upload` or its own query; the result's PNG."""
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#examples tbody tr").nth(row).click()
    page.locator("#query img").wait_for()
    if upload:
        page.locator("#query").get_by_label("Remove Image").click()
        page.locator("#query input[type=file]").set_input_files(upload)
        page.locator("#query img").wait_for()
    page.get_by_label("Steps").first.fill(str(steps))
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_role("button", name="Run").click()
    result = page.locator("#result img")
    result.wait_for()
    return page.request.get(str(result.get_attribute("src"))).body()


@app.command()
def demo(model: Path, out: Path) -> None:
    """Serve MODEL, try the example pair of segments, write a picture of the page to OUT."""
    from usd.generation.demo import serve

    served = serve(model, ROOT / "data" / "examples", wait=False)
    with tab() as page:
        try_out(page, served.local_url, SEGMENTS)
        page.wait_for_timeout(1000)  # until nothing moves
        page.screenshot(path=out, full_page=True)
    served.close()


@app.command()
def prefect(url: str, out: Path) -> None:
    """Write a picture of the last run of the pipeline on the server at URL, which `make serve` started, to OUT."""
    with tab() as page:
        started = {"start_time": {"is_null_": False}}
        last = {"flow_runs": started, "flows": {"name": {"any_": ["reproduce"]}}, "sort": "START_TIME_DESC", "limit": 1}
        found = page.request.post(f"{url}/api/flow_runs/filter", data=last).json()
        page.goto(f"{url}/runs/flow-run/{found[0]['id']}", wait_until="domcontentloaded")
        page.get_by_text(found[0]["name"]).first.wait_for()
        page.wait_for_timeout(4000)  # until the run's graph is drawn
        page.screenshot(path=out)


if __name__ == "__main__":
    app()
