"""Convert published maps of partial labels: ``mmmtl label-map SRC DST --dataset NAME``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'From the .npy and .pth files of MTPSL and DiffusionMTL to JSON or CSV.', config=False)
    parser.add_argument('source', help='.npy or .pth file; its pickle is read without running anything in it')
    parser.add_argument('target', help='.json or .csv file, for label_sampler=dict(type="LabelMap", path=...)')
    parser.add_argument(
        '--dataset', required=True, choices=['pascal', 'nyud', 'cityscapes'], help='which data set it is for'
    )
    parser.add_argument(
        '--any-counts', action='store_true', help='accept a map with other counts than the published ones'
    )


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from mmmtl.datasets.preparation.mtpsl_maps import convert_label_map

    print(convert_label_map(args.source, args.target, args.dataset, args.any_counts))
