"""Convert a published checkpoint: ``python tools/model_converters/convert_upstream.py METHOD SRC DST``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import OptionAction, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "Convert a checkpoint of a method's authors into one of this package; every key is used or named as dropped.",
        config=False,
    )
    parser.add_argument('method', help='taskdiffusion, diffusionmtl or stablemtl')
    parser.add_argument('source', metavar='SRC', help='published checkpoint (.pth, .pth.tar, .safetensors)')
    parser.add_argument('target', metavar='DST', help='.pth or .safetensors to write')
    parser.add_argument('--config', help='config it is for (default: the shipped config that it fits)')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE', help='change the config')
    return parser.parse_args()


def main() -> None:
    """Convert, and say for which config."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.apis.convert import convert_checkpoint

    done = run_command(lambda: convert_checkpoint(args.method, args.source, args.target, args.config, args.cfg_options))
    print(f'{args.target}: {len(done.state)} tensors for {done.config}')
    for key in done.dropped:
        print(f'  dropped: {key}')


if __name__ == '__main__':
    main()
