"""Convert published maps of partial labels: ``tools/dataset_converters/mtpsl_label_maps.py SRC DST --dataset NAME``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('From the .npy and .pth files of MTPSL and DiffusionMTL to JSON or CSV.', config=False)
    parser.add_argument('source', help='.npy or .pth file; its pickle is read without running anything in it')
    parser.add_argument('target', help='.json or .csv file, for label_sampler=dict(type="LabelMap", path=...)')
    parser.add_argument(
        '--dataset', required=True, choices=['pascal', 'nyud', 'cityscapes'], help='which data set it is for'
    )
    parser.add_argument(
        '--any-counts', action='store_true', help='accept a map with other counts than the published ones'
    )
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.datasets.preparation.mtpsl_maps import convert_label_map

    print(run_command(lambda: convert_label_map(args.source, args.target, args.dataset, args.any_counts)))


if __name__ == '__main__':
    main()
