"""Prepare MID Intrinsics: ``mmmtl prepare-mid SOURCE OUT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'SOURCE/SPLIT/SCENE/{dir_K_mip2,albedo}.exr -> photographs, albedo, shading; start again to resume.',
        config=False,
    )
    parser.add_argument('source', help='folder of the splits')
    parser.add_argument('target', help='output folder')
    parser.add_argument('--split', default='test', help='split to prepare (default: test)')
    parser.add_argument('--jpeg', action='store_true', help='JPEG of quality 75 instead of PNG, as published')
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from mmmtl.datasets.preparation.mid import prepare_mid

    made, before = prepare_mid(args.source, args.target, args.split, args.jpeg, args.workers)
    print(f'{made} photographs made, {before} were there')
