"""Evaluate a checkpoint: ``mmmtl test CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_launcher, describe, natural, set_local_rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Evaluate a checkpoint: a table per task, and metrics.json.', checkpoint=True)
    parser.add_argument('--work-dir', help='where metrics.json goes (default: work_dirs/ + name of the config)')
    parser.add_argument('--out', metavar='DIR', help='write all predictions, without loss (PNG and NPY)')
    parser.add_argument('--show-dir', metavar='DIR', help='write a panel per image')
    parser.add_argument('--max-panels', type=natural, metavar='N', help='write no more than N panels per process')
    parser.add_argument(
        '--explain',
        action='store_true',
        help='also draw, beside the panels, how predictions came about and what the network makes of the labels: '
        'DIR/NAME.WHAT.png (TaskDiffusion, DiffusionMTL, StableMTL with two streams)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='average over the image and its mirror image, or over the views that model.tta of the config names',
    )
    parser.add_argument(
        '--no-optimize', action='store_true', help='predict with the network as it trains (slower on a CPU)'
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='write report/index.html into the work dir: tables, plots, worst and best images of every task',
    )
    parser.add_argument(
        '--times', action='store_true', help='print where the time goes: load, network, resize, metrics, pictures'
    )
    parser.add_argument(
        '--resume', action='store_true', help='measure only what an interrupted evaluation has not measured yet'
    )
    add_launcher(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    set_local_rank(args)
    from mmmtl.analysis import evaluate_and_report
    from mmmtl.apis import test
    from mmmtl.config import load_config

    evaluate = evaluate_and_report if args.report else test
    evaluate(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        max_panels=args.max_panels,
        tta=args.tta,
        resume=args.resume,
        launcher=args.launcher,
        explain=args.explain,
        optimize=not args.no_optimize,
        times=args.times,
    )
