"""Prepare Hypersim: ``mmmtl prepare-hypersim SCENES OUT --split-csv CSV``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'HDF5 -> photographs, depth, normals, albedo and shading under OUT/SPLIT; start again to resume.',
        config=False,
    )
    parser.add_argument('source', help='folder of the scenes (ai_001_001, ...)')
    parser.add_argument('target', help='output folder')
    parser.add_argument('--split', default='train', help='split to prepare (default: train)')
    parser.add_argument('--split-csv', help='metadata_images_split_scene_v1.csv (default: every frame found)')
    parser.add_argument('--camera-csv', help='metadata_camera_parameters.csv, for the exact depth of shifted lenses')
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from mmmtl.datasets.preparation.hypersim import prepare_hypersim

    made, before = prepare_hypersim(args.source, args.target, args.split, args.split_csv, args.camera_csv, args.workers)
    print(f'{made} frames made, {before} were there')
