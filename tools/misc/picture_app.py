"""Pictures of the web page in a headless browser, for a person to look at.

    python tools/misc/picture_app.py CONFIG CHECKPOINT --out DIR [--browser /usr/bin/chromium]

Starts the page, predicts on an example, opens every tab, and writes a screenshot of each. Needs ``mmmtl[app]``, playwright
and a Chromium. Exits with status 1 where the page asked another server for anything, or logged an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmmtl.apis import Inferencer
from mmmtl.app import Limits, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

TABS = ('Compare', 'All tasks', 'Panel', 'Film', 'Download')


def visit(page: Page, address: str, out: Path, note: Path) -> None:
    """Go through the page as a visitor does."""
    page.goto(address)
    page.get_by_role('button', name='Predict').wait_for()
    page.screenshot(path=out / '0_start.png', full_page=True)
    page.locator('.gallery-item, .gallery button').first.click()
    page.wait_for_timeout(6000)  # the example travels to the server and back
    ensemble = page.get_by_label('number input for Ensemble', exact=False)
    if ensemble.count() and ensemble.is_visible():
        ensemble.fill('4')
        ensemble.press('Tab')
        page.wait_for_timeout(1000)
    right = page.get_by_label('Right').input_value()
    page.get_by_role('button', name='Predict').click()
    page.wait_for_function(
        """before => { const fields = [...document.querySelectorAll('input')].map(field => field.value);
                       return fields.includes('Photograph') && !fields.includes(before) }""",
        arg=right,
        timeout=120_000,
    )
    page.wait_for_timeout(3000)
    for number, tab in enumerate(TABS, 1):
        button = page.get_by_role('tab', name=tab)
        if not button.count() or not button.is_visible():
            continue
        button.click()
        if tab == 'Film':
            page.get_by_role('button', name='Show the denoising').click()
            page.wait_for_timeout(6000)
        if tab == 'Download':
            page.get_by_role('button', name='Prepare files').click()
            page.wait_for_timeout(4000)
        page.wait_for_timeout(800)
        page.screenshot(path=out / f'{number}_{tab.lower().replace(" ", "_")}.png', full_page=True)
    note.write_text('this is no picture', encoding='utf-8')  # with the name of one
    page.goto(address)
    page.get_by_role('button', name='Predict').wait_for()
    page.locator('input[type="file"]').first.set_input_files(note)
    page.wait_for_timeout(1500)
    page.get_by_role('button', name='Predict').click()
    page.wait_for_timeout(3000)
    page.screenshot(path=out / '6_no_image.png', full_page=True)


def main() -> int:
    """Serve, visit, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', default='work_dirs/app', type=Path, metavar='DIR')
    parser.add_argument('--browser', default='/usr/bin/chromium', metavar='FILE')
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright  # of the extra docs; --help needs none of it

    args.out.mkdir(parents=True, exist_ok=True)
    strangers: set[str] = set()
    errors: list[str] = []
    with (
        serve(Inferencer(args.config, args.checkpoint), port=None, limits=Limits()) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=args.browser, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=1280, height=860))
        page.on(
            'request', lambda r: strangers.add(r.url) if not r.url.startswith((address, 'data:', 'blob:')) else None
        )
        page.on('pageerror', lambda error: errors.append(str(error)))
        visit(page, address, args.out, args.out / 'note.webp')
        browser.close()
    for text in (*sorted(strangers), *errors):
        print(text)
    print(f'{len(list(args.out.glob("*.png")))} pictures in {args.out}, {len(strangers)} requests to others')
    return int(bool(strangers or errors))


if __name__ == '__main__':
    sys.exit(main())
