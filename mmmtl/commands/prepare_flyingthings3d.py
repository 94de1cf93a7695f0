"""Prepare FlyingThings3D: ``mmmtl prepare-flyingthings3d SUBSET OUT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Scene flow from disparity, flow as pictures; start again to resume.', config=False)
    parser.add_argument('source', help='the unpacked subset, with the folders train and val')
    parser.add_argument('target', help='output folder')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], help='splits to prepare (default: train val)')
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d

    made, before = prepare_flyingthings3d(args.source, args.target, tuple(args.splits), args.workers)
    print(f'{made} frames and photographs made, {before} were there')
