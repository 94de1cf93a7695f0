"""Strip a checkpoint to its weights: ``python tools/misc/publish_model.py SRC DST``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Write the weights of a checkpoint, with their hash in the name.', config=False)
    parser.add_argument('source', help='checkpoint of a training (.pth)')
    parser.add_argument('target', help='NAME.safetensors or NAME.pth; the hash is added to the name')
    parser.add_argument(
        '--drop-aux', action='store_true', help='leave out auxiliary heads, which prediction does not use'
    )
    return parser.parse_args()


def main() -> None:
    """Publish."""
    args = parse_args()
    from mmmtl.apis import publish_model, run_command

    run_command(lambda: print(publish_model(args.source, args.target, args.drop_aux)))


if __name__ == '__main__':
    main()
