"""Write the catalogue pages and the page of licences: ``mmmtl pages``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write the catalogue pages (tasks, data sets, metrics, transforms, losses, decoders, necks, ...) out of the '
        'registries and docstrings, and the page of licences.',
        config=False,
    )
    parser.add_argument('--docs', default='docs', metavar='DIR', help='folder of the documentation (default: docs)')


def pages(docs: Path) -> dict[str, str]:
    """``{path below the documentation: text}`` of every page that is made."""
    from mmmtl.analysis.component_pages import all_pages, licences_page
    from mmmtl.analysis.methods import collections
    from mmmtl.hub.sources import SOURCES

    methods = [(a['Title'], a['Code'], a['Licence']) for _, a, _ in collections() if a.get('Code')]
    sources = [(s.kind, s.title, s.licence, s.page) for s in SOURCES.values()]
    return {**all_pages(docs), 'licences.md': licences_page(methods, sources)}


def run(args: argparse.Namespace) -> None:
    """Write them."""
    from mmmtl.utils.files import write_atomically

    for place, text in pages(Path(args.docs)).items():
        print(write_atomically(Path(args.docs, place), text))
