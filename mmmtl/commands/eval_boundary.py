"""Boundary metrics of files: ``mmmtl eval-boundary PRED_DIR GT_DIR --protocol bsds``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'ODS, OIS and AP of boundary maps in a folder, without MATLAB.',
        epilog='protocols: atrc (InvPT, TaskPrompter, DiffusionMTL, TaskDiffusion), mti (MTI-Net), bsds (Berkeley)',
        config=False,
    )
    parser.add_argument('pred_dir', nargs='?', help='ID.png (8 or 16 bit) or ID.npy per image')
    parser.add_argument('gt_dir', nargs='?', help='ID.mat (BSDS, SBD, PASCAL-Context), ID.png or ID.npy per image')
    parser.add_argument('--protocol', default='atrc', help='atrc, mti or bsds (default: atrc)')
    parser.add_argument(
        '--max-dist',
        type=float,
        default=0.0075,
        help='largest distance as a share of the diagonal (default: 0.0075; the NYUDv2 protocol has 0.011)',
    )
    parser.add_argument(
        '--thresholds', type=positive, metavar='N', help="k / (N + 1), k = 1..N (default: the protocol's own)"
    )
    parser.add_argument('--nms', action=argparse.BooleanOptionalAction, help='suppress non-maxima first')
    parser.add_argument(
        '--labels',
        default='contours',
        choices=['contours', 'regions'],
        help='what label pictures are; the published NYUDv2 protocol reads its edge pictures as segmentations',
    )
    parser.add_argument('--image-list', metavar='FILE', help='evaluate these ids only, one per line')
    parser.add_argument(
        '--counts', metavar='FILE', help='JSON file of counts: used where it has an image, then written'
    )
    parser.add_argument('--merge', nargs='+', metavar='FILE', help='further files of counts to add')
    parser.add_argument(
        '--published-counts',
        metavar='DIR',
        help="read what another program counted instead of two folders: ID_ev1.txt (Berkeley's) or ID.txt (SEISM)",
    )
    parser.add_argument('--out', metavar='FILE', help='write all metrics as JSON')
    parser.add_argument('--processes', type=positive, metavar='N', help='worker processes (default: one per core)')


def run(args: argparse.Namespace) -> None:
    """Evaluate and print."""
    from mmmtl.analysis.boundary_report import evaluate_command

    print(evaluate_command(**vars(args)))
