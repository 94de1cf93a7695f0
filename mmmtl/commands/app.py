"""A web page of one network: ``mmmtl app [CONFIG CHECKPOINT]``."""

from __future__ import annotations

import argparse
import time

from mmmtl.utils.command_line import add_cfg_options, describe, positive

from ._model import add_model, default_device, model_to_use


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Serve a web page on which photographs can be predicted on. Config and checkpoint are fixed at the start.',
        config=False,
    )
    parser.add_argument('config', nargs='?', help='config file, or mmmtl::FOLDER/NAME of one that is shipped')
    parser.add_argument('checkpoint', nargs='?', help='.pth or .safetensors')
    add_model(parser)
    parser.add_argument(
        '--dtype',
        choices=['fp32', 'bf16', 'fp16'],
        help="precision that the network computes in (default: the config's)",
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen at (default: 127.0.0.1, this machine alone)'
    )
    parser.add_argument('--port', type=port, default=7860, metavar='N', help='default: 7860')
    parser.add_argument('--examples', metavar='DIR', help='photographs that are offered (default: generated scenes)')
    parser.add_argument(
        '--max-side', type=positive, default=1024, metavar='N', help='largest size that is predicted at'
    )
    parser.add_argument('--max-upload', type=float, default=20, metavar='MB', help='largest upload (default: 20)')
    parser.add_argument('--seconds', type=float, default=120, metavar='S', help='longest prediction (default: 120)')
    add_cfg_options(parser)


def port(text: str) -> int:
    """A number of a port."""
    if not 0 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f'must be from 0 to 65535, got {number}')
    return number


def run(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from mmmtl.errors import ConfigError

    if (args.config is None) != (args.checkpoint is None):
        raise ConfigError('a config needs its checkpoint: mmmtl app CONFIG CHECKPOINT')
    if args.config is not None and args.model is not None:
        raise ConfigError(f"--model '{args.model}' and the config '{args.config}': give one of the two")
    from mmmtl.apis import Inferencer
    from mmmtl.app import Limits, serve

    model = model_to_use(args.config, args.checkpoint, args.model, args.cfg_options)
    inferencer = Inferencer(model, device=args.device or default_device(), dtype=args.dtype)
    limits = Limits(megabytes=args.max_upload, seconds=args.seconds, max_side=args.max_side)
    with serve(inferencer, args.host, args.port, limits, args.examples) as address:
        print(f'{address}  (Ctrl-C ends it)', flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print('ended')
