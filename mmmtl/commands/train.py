"""Train a model: ``mmmtl train CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_launcher, describe, set_local_rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Train a model.')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/ + name of the config)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='PATH',
        help='go on from the newest whole checkpoint of the work dir (from the start where there is none), or from PATH',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='delete the checkpoints of an earlier run in the work dir'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16; float16 on GPUs without it)')
    parser.add_argument('--seed', type=int, help='seed of everything random in the run')
    add_launcher(parser)


def run(args: argparse.Namespace) -> None:
    """Train."""
    set_local_rank(args)
    from mmmtl.apis import train
    from mmmtl.config import load_config

    train(
        load_config(args.config, args.cfg_options),
        work_dir=args.work_dir,
        resume=args.resume,
        amp=args.amp,
        seed=args.seed,
        launcher=args.launcher,
        overwrite=args.overwrite,
    )
