"""Predict on whole collections: ``mmmtl predict CONFIG CHECKPOINT INPUT... --out DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import OptionAction, describe, parse_value, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Predict on a collection of images, shared out by their ids among processes that need not know each other; an '
        'interrupted run goes on. With --as-labels the predictions become labels to train on.',
        checkpoint=True,
    )
    parser.add_argument(
        'inputs', nargs='+', help='a folder, images, patterns with *; an index, shards; a config: its training set'
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='DIR/TASK/ID.png|npy and DIR/uncertainty/TASK/ID.npy'
    )
    parser.add_argument(
        '--part',
        metavar='I/N',
        help='share of the images, 1/N .. N/N (default: that of this process of torchrun, srun or mpirun, or all)',
    )
    parser.add_argument('--tasks', nargs='+', metavar='TASK', help='predict these only (default: all)')
    parser.add_argument(
        '--ensemble',
        type=positive,
        default=1,
        metavar='N',
        help='average over N noise seeds; write how far they differ',
    )
    parser.add_argument(
        '--as-labels',
        action='store_true',
        help='write labels for the tasks that an image lacks, and a config to train on',
    )
    parser.add_argument(
        '--keep-below',
        nargs='+',
        metavar='U',
        help='labels are unknown where the uncertainty is not below U; one number, or TASK=U for every task',
    )
    parser.add_argument(
        '--weight', type=float, default=1.0, metavar='W', help='draws from these labels for one from the true ones'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N', help='images per pass')


def run(args: argparse.Namespace) -> None:
    """Predict."""
    from mmmtl.analysis.collection import Part, origin_of, predict_collection, train_on_labels
    from mmmtl.apis import Inferencer
    from mmmtl.config import load_config
    from mmmtl.errors import ConfigError
    from mmmtl.ops.allocator import keep_freed_memory

    keep_freed_memory()
    if args.as_labels != (args.keep_below is not None):
        raise ConfigError('--as-labels and --keep-below go together: labels are what the network is certain of')
    if not args.weight > 0 or (args.weight != 1.0 and not args.as_labels):
        raise ConfigError(f'--weight must be above 0, and goes with --as-labels, got {args.weight}')
    part = Part.of(args.part)
    cfg = load_config(args.config, args.cfg_options)
    inferencer = Inferencer(cfg, args.checkpoint, device=args.device)
    line = predict_collection(
        inferencer,
        args.inputs,
        args.out,
        part,
        args.tasks,
        args.ensemble,
        limits(args.keep_below),
        args.batch_size,
        origin=origin_of(args.config, args.cfg_options, args.checkpoint),
    )
    if args.as_labels and part.number == 0:
        path = train_on_labels(cfg, args.inputs, args.out, args.tasks or list(inferencer.tasks), args.weight)
        line += f'; train on them beside the true ones: mmmtl train {path}'
    print(line)


def limits(words: list[str] | None) -> dict[str, float] | float | None:
    """``--keep-below``: one number, or ``{task: number}``."""
    if words is None or (len(words) == 1 and '=' not in words[0]):
        return None if words is None else parse_value(words[0])
    found = argparse.Namespace(limits=None)
    parser = argparse.ArgumentParser()
    OptionAction(['--keep-below'], 'limits')(parser, found, words, '--keep-below')
    return found.limits
