"""Write a network as a folder for a hub: ``mmmtl pack CONFIG CHECKPOINT FOLDER``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write a network as a folder that from_pretrained reads (config.json, model.safetensors, a card), and put it on '
        'the Hugging Face hub if asked to.',
        checkpoint=True,
    )
    parser.add_argument('folder', help='where to')
    parser.add_argument('--metrics', metavar='FILE', help='metrics.json of an evaluation, told in the card')
    parser.add_argument('--half', action='store_true', help='store the weights in half precision')
    parser.add_argument(
        '--drop-aux', action='store_true', help='leave out auxiliary heads, which prediction does not use'
    )
    parser.add_argument('--about', default='', metavar='TEXT', help='what the network can and cannot do')
    parser.add_argument('--weights-licence', metavar='NAME', help='licence of the weights (default: not stated)')
    parser.add_argument(
        '--data-licence', metavar='NAME', help="licence of the data (default: that of the config's sets)"
    )
    parser.add_argument('--push', metavar='OWNER/NAME', help='put the folder into this repository of the hub')
    parser.add_argument('--private', action='store_true', help='a new repository is private')


def run(args: argparse.Namespace) -> None:
    """Write, and push."""
    from mmmtl.apis import init_model
    from mmmtl.errors import ConfigError
    from mmmtl.hub import save_pretrained
    from mmmtl.hub.pretrained import push_folder

    if args.private and not args.push:
        raise ConfigError('--private is of a repository: give --push OWNER/NAME')
    model = init_model(args.config, args.checkpoint, cfg_options=args.cfg_options)
    licences = dict(weights=args.weights_licence, data=args.data_licence)
    folder = save_pretrained(
        model,
        args.folder,
        metrics=args.metrics,
        dtype='float16' if args.half else 'float32',
        drop_aux=args.drop_aux,
        about=args.about,
        licences={key: value for key, value in licences.items() if value},
    )
    print(f'{folder}: written')
    if args.push:
        print(push_folder(folder, args.push, private=args.private or None))
