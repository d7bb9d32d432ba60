"""Takes the pictures of the README: python tests/show/pictures.py DATA

DATA is the data directory of a running server that shows a simulated fleet:

    telemetry-server simulate --product Demo --installations 20000 --data DATA
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = {"width": 1240, "height": 620}
PAGES = {
    "overview": ("/?product=demo", "light"),
    "to-clear-up": ("/to-clear-up?product=demo", "light"),
    "installations": (
        "/installations?product=demo&filter=verdict%3Dover_seats&sort=-last&installation_id={id}",
        "dark",
    ),
    "timeline": ("/installations/{id}?tab=timeline", "light"),
    "licenses": ("/licenses?product=demo&show=over&sort=-over", "light"),
    "features": ("/features?product=demo", "dark"),
}
"""The address of each picture, and its scheme; {id}: an installation that is beyond the seats of its license."""


def take(data):
    """The six pictures, as a browser shows them."""
    command = [
        sys.executable,
        "-m",
        "telemetry_server",
        "sign-in",
        "--data",
        data,
        "--role",
        "admin",
        "--json",
    ]
    link = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["url"]
    server, _, _ = link.partition("/sign-in")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"{server}/installations?product=demo&filter=verdict%3Dover_seats&sort=-last")
        first = page.locator("tbody th a").first.get_attribute("href").rpartition("/")[2]
        for name, (path, scheme) in PAGES.items():
            page.emulate_media(color_scheme=scheme)
            page.goto(server + path.replace("{id}", first), wait_until="networkidle")
            page.screenshot(path=PICTURES / f"{name}.png")
            print(f"{name}: {(PICTURES / f'{name}.png').stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    take(*sys.argv[1:])
