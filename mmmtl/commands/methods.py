"""Write the catalogue of methods: ``mmmtl methods``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Write the page of all methods out of the model index and the configs.', config=False)
    parser.add_argument('--out', default='docs/methods.md', metavar='FILE', help='default: docs/methods.md')
    parser.add_argument(
        '--costs',
        default='docs/results/costs.json',
        metavar='FILE',
        help='what networks cost (default: docs/results/costs.json)',
    )
    parser.add_argument(
        '--count',
        nargs='*',
        metavar='NAME',
        help='first count these configs (atrc/hrnet18_nyud ...); without names: those that are not in the file',
    )


def run(args: argparse.Namespace) -> None:
    """Count if asked to, and write the page."""
    from mmmtl.analysis.costs import count_configs
    from mmmtl.analysis.methods import methods_page
    from mmmtl.utils.files import write_atomically

    if args.count is not None:
        count_configs(args.count, Path(args.costs))
    write_atomically(args.out, methods_page(Path(args.costs)))
