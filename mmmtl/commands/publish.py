"""Strip a checkpoint to its weights: ``mmmtl publish SRC DST``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Write the weights of a checkpoint, with their hash in the name.', config=False)
    parser.add_argument('source', help='checkpoint of a training (.pth)')
    parser.add_argument('target', help='NAME.safetensors or NAME.pth; the hash is added to the name')
    parser.add_argument(
        '--drop-aux', action='store_true', help='leave out auxiliary heads, which prediction does not use'
    )


def run(args: argparse.Namespace) -> None:
    """Publish."""
    from mmmtl.apis import publish_model

    print(publish_model(args.source, args.target, args.drop_aux))
