"""An HTML report of an evaluation: ``mmmtl report WORK_DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write WORK_DIR/report/index.html, with tables by image and by class as CSV and JSON, from what '
        '`tools/test.py ... --report` left in WORK_DIR.',
        config=False,
    )
    parser.add_argument('work_dir', help='work dir of the evaluation')
    parser.add_argument(
        '--images', type=natural, default=3, metavar='N', help='worst and best images per task (default: 3)'
    )


def run(args: argparse.Namespace) -> None:
    """Write the report."""
    from mmmtl.analysis import make_report

    print(f'report: {make_report(args.work_dir, args.images)}')
