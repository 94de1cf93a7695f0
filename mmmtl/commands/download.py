"""Fetch a data set: ``mmmtl download camvid``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Fetch a data set with public links, and unpack it. Its licence is told first. A transfer that was cut off goes '
        'on; without NAME, all data sets are listed.',
        config=False,
    )
    parser.add_argument('name', nargs='?', metavar='NAME', help='camvid, nyud, vkitti2, ...; default: list them')
    parser.add_argument('folder', nargs='?', metavar='FOLDER', help='where to (default: data/NAME)')
    parser.add_argument(
        '--accept-licence', action='store_true', help='the licence has been read and is agreed to: do not ask'
    )
    parser.add_argument(
        '--only', default='', metavar='TEXT', help='of its files those alone whose names hold this text'
    )
    parser.add_argument('--keep-archives', action='store_true', help='keep the archives after they are unpacked')


def run(args: argparse.Namespace) -> None:
    """Fetch, or list."""
    from mmmtl.hub.download import download, terminal
    from mmmtl.hub.sources import SOURCES
    from mmmtl.utils.tables import format_table

    if args.name is None:
        rows = [[n, s.kind, 'fetched' if s.files else 'by hand', s.title] for n, s in SOURCES.items()]
        print(format_table(['name', 'class', 'how', 'what'], rows))
        return
    download(args.name, args.folder, args.accept_licence, terminal(), args.keep_archives, args.only)
