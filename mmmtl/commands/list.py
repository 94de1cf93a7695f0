"""List what there is to choose from: ``mmmtl list models '*pascal*'``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe

KINDS = ('models', 'tasks', 'datasets', 'backbones')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'List names, one a line, that configs and commands take.', config=False)
    parser.add_argument('kind', nargs='?', choices=KINDS, default='models', help='what to list (default: models)')
    parser.add_argument('pattern', nargs='?', default='*', help="of shell style, for example '*pascal*'; 'timm/vit*'")


def run(args: argparse.Namespace) -> None:
    """Print the names."""
    from mmmtl import catalogue
    from mmmtl.errors import InputError

    names = getattr(catalogue, f'list_{args.kind}')(args.pattern)
    if not names:
        raise InputError(f"none of the {args.kind} matches '{args.pattern}': try '*{args.pattern.strip('*')}*'")
    print('\n'.join(names))
