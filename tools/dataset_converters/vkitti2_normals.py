"""Surface normals of Virtual KITTI 2: ``python tools/dataset_converters/vkitti2_normals.py ROOT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'ROOT/original/.../depth_N.png -> ROOT/normal_estimated/.../normal_N.npy; start again to resume.', config=False
    )
    parser.add_argument('root', help='folder with "original"')
    parser.add_argument('--workers', type=int, default=0, help='processes (default: this one alone)')
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.datasets.preparation.normals_from_depth import prepare_vkitti2_normals

    made, before = run_command(lambda: prepare_vkitti2_normals(args.root, args.workers))
    print(f'{made} maps of normals made, {before} were there')


if __name__ == '__main__':
    main()
