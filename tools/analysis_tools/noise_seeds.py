"""Mean and spread over the noise of prediction: ``python tools/analysis_tools/noise_seeds.py CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Evaluate one checkpoint under several noise seeds; print mean and spread of every metric.', checkpoint=True
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='N', help='default: 0 1 2')
    parser.add_argument('--work-dir', help="default: work_dirs/ + the config's name + /noise_seeds")
    parser.add_argument(
        '--losses-only', action='store_true', help='of boundaries only the loss, which is quick (as the paper does)'
    )
    return parser.parse_args()


def main() -> None:
    """Evaluate and compare."""
    args = parse_args()
    from mmmtl.analysis.noise_seeds import compare_noise_seeds
    from mmmtl.apis import run_command
    from mmmtl.apis.runs import default_work_dir
    from mmmtl.config import load_config

    def compare() -> None:
        cfg = load_config(args.config, args.cfg_options)
        folder = args.work_dir or f'{default_work_dir(cfg)}/noise_seeds'
        compare_noise_seeds(cfg, args.checkpoint, args.seeds, folder, args.losses_only)

    run_command(compare)


if __name__ == '__main__':
    main()
