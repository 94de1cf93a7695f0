"""Surface normals of Virtual KITTI 2: ``mmmtl prepare-vkitti2 ROOT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'ROOT/original/.../depth_N.png -> ROOT/normal_estimated/.../normal_N.npy; start again to resume.',
        config=False,
    )
    parser.add_argument('root', help='folder with "original"')
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from mmmtl.datasets.preparation.normals_from_depth import prepare_vkitti2_normals

    made, before = prepare_vkitti2_normals(args.root, args.workers)
    print(f'{made} maps of normals made, {before} were there')
