"""Convert a published checkpoint: ``mmmtl convert METHOD SRC DST``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import OptionAction, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        "Convert a checkpoint of a method's authors into one of this package; every key is used or named as dropped.",
        config=False,
    )
    parser.add_argument(
        'method', help="the method's folder in configs/: taskdiffusion, diffusionmtl, stablemtl, invpt, ..."
    )
    parser.add_argument('source', metavar='SRC', help='published checkpoint (.pth, .pth.tar, .safetensors)')
    parser.add_argument('target', metavar='DST', help='.pth or .safetensors to write')
    parser.add_argument('--config', help='config it is for (default: the shipped config that it fits)')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE', help='change the config')


def run(args: argparse.Namespace) -> None:
    """Convert, and say for which config."""
    from mmmtl.apis.convert import convert_checkpoint

    done = convert_checkpoint(args.method, args.source, args.target, args.config, args.cfg_options)
    print(f'{args.target}: {len(done.state)} tensors for {done.config}')
    for key in done.dropped:
        print(f'  dropped: {key}')
