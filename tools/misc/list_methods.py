"""Write the catalogue of methods: ``python tools/misc/list_methods.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.utils.command_line import make_parser

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Write docs/methods.md out of the model index and the configs.', config=False)
    parser.add_argument('--out', default=str(DOCS / 'methods.md'), metavar='FILE', help='default: docs/methods.md')
    parser.add_argument(
        '--count',
        nargs='*',
        metavar='NAME',
        help='count these configs anew (atrc/hrnet18_nyud ...); without names: all',
    )
    return parser.parse_args()


def do(args: argparse.Namespace) -> None:
    """Count if asked to, and write the page."""
    from mmmtl.analysis.costs import count_configs
    from mmmtl.analysis.methods import methods_page
    from mmmtl.utils.files import write_atomically

    costs = DOCS / 'results' / 'costs.json'
    if args.count is not None:
        count_configs(args.count, costs)
    write_atomically(args.out, methods_page(costs))


def main() -> None:
    """Write the page; a mistake is told in a line."""
    args = parse_args()
    from mmmtl.apis import run_command

    run_command(lambda: do(args))


if __name__ == '__main__':
    main()
