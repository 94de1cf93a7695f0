"""Prepare Hypersim: ``python tools/dataset_converters/hypersim.py SCENES OUT --split-csv CSV``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'HDF5 -> photographs, depth, normals, albedo and shading under OUT/SPLIT; start again to resume.', config=False
    )
    parser.add_argument('source', help='folder of the scenes (ai_001_001, ...)')
    parser.add_argument('target', help='output folder')
    parser.add_argument('--split', default='train', help='split to prepare (default: train)')
    parser.add_argument('--split-csv', help='metadata_images_split_scene_v1.csv (default: every frame found)')
    parser.add_argument('--camera-csv', help='metadata_camera_parameters.csv, for the exact depth of shifted lenses')
    parser.add_argument('--workers', type=int, default=0, help='processes (default: this one alone)')
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.datasets.preparation.hypersim import prepare_hypersim

    made, before = run_command(
        lambda: prepare_hypersim(args.source, args.target, args.split, args.split_csv, args.camera_csv, args.workers)
    )
    print(f'{made} frames made, {before} were there')


if __name__ == '__main__':
    main()
