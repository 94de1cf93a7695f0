"""An HTML report of an evaluation: ``python tools/analysis_tools/report.py WORK_DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Write WORK_DIR/report/index.html, with tables by image and by class as CSV and JSON, from what '
        '`tools/test.py ... --report` left in WORK_DIR.',
        config=False,
    )
    parser.add_argument('work_dir', help='work dir of the evaluation')
    parser.add_argument(
        '--images', type=int, default=3, metavar='N', help='worst and best images per task (default: 3)'
    )
    return parser.parse_args()


def main() -> None:
    """Write the report."""
    args = parse_args()
    from mmmtl.analysis import make_report
    from mmmtl.apis import run_command

    run_command(lambda: print(f'report: {make_report(args.work_dir, args.images)}'))


if __name__ == '__main__':
    main()
