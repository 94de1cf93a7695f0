"""Mean and spread over the noise of prediction: ``mmmtl noise-seeds CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Evaluate one checkpoint under several noise seeds; print mean and spread of every metric.',
        checkpoint=True,
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='N', help='default: 0 1 2')
    parser.add_argument('--work-dir', help="default: work_dirs/ + the config's name + /noise_seeds")
    parser.add_argument(
        '--losses-only', action='store_true', help='of boundaries only the loss, which is quick (as the paper does)'
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate and compare."""
    from mmmtl.analysis.noise_seeds import compare_noise_seeds
    from mmmtl.apis.runs import default_work_dir
    from mmmtl.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    folder = args.work_dir or f'{default_work_dir(cfg)}/noise_seeds'
    compare_noise_seeds(cfg, args.checkpoint, args.seeds, folder, args.losses_only)
