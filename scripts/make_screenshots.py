"""Write the pictures and the sample report in assets/ from a finished demo.

    scripts/demo && python scripts/make_screenshots.py

Copies the demo's comparison and report, and photographs report and app in a headless Chromium. One
minute on 2 cores; needs the extras `dev` and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
ASSETS = Path("assets")


def main() -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, default=Path(".demo/study"))
    study = parser.parse_args().study
    chromium = shutil.which("chromium") or sys.exit("no Chromium here: apt install chromium")
    shutil.copy(study / "compare" / "grid.png", ASSETS / "tiny-comparison.png")
    shutil.copy(study / "report.html", ASSETS / "sample-report.html")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1400})
        page.goto((study / "report.html").resolve().as_uri())
        page.screenshot(path=ASSETS / "report.png")
        page.set_viewport_size({"width": 360, "height": 1200})
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=ASSETS / "report-narrow-dark.png")
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        photograph_app(study, page)
        browser.close()


def photograph_app(study: Path, page: Page) -> None:
    """Inpaint an example in the app, then look at its second page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "sdsearch", "app", str(study), "--port", str(port)]
    server = subprocess.Popen(line)
    try:
        for _ in range(120):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(1)
        page.goto(f"http://127.0.0.1:{port}")
        page.wait_for_selector("#editor canvas")
        page.locator("#example input").click()
        page.get_by_role("option").nth(1).click()
        page.wait_for_timeout(3000)
        box = page.locator("#editor canvas").first.bounding_box()
        if box is None:
            sys.exit("the app shows no canvas")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x - 60, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 10, steps=12)
        page.mouse.up()
        page.locator("#inpaint").click()
        page.wait_for_selector("#results img", timeout=120_000)
        page.wait_for_timeout(1000)
        page.screenshot(path=ASSETS / "app.png")
        page.get_by_role("tab", name="Scores and designs").click()
        page.wait_for_timeout(2000)
        page.screenshot(path=ASSETS / "app-designs.png")
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
