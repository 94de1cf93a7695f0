"""Draw the pictures of the documentation: ``mmmtl pictures``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Draw the pictures of the documentation by a network that ships: generated scenes, photographs of scikit-image, '
        'and the steps of a denoising.',
        config=False,
    )
    parser.add_argument('--out', default='docs/pictures', metavar='DIR', help='default: docs/pictures')
    parser.add_argument('--model', metavar='NAME', help='another network (default: the small one that ships)')


def run(args: argparse.Namespace) -> None:
    """Draw."""
    from mmmtl.analysis.pictures import draw_pictures
    from mmmtl.hub import DEFAULT_MODEL, from_pretrained

    print('\n'.join(draw_pictures(from_pretrained(args.model or DEFAULT_MODEL), Path(args.out), photographs())))


def photographs() -> dict:
    """Photographs that come with scikit-image; none where it is not installed.

    Both are free of rights: the astronaut is NASA's, the coffee its photographer's under CC0.
    """
    try:
        from skimage import data
    except ImportError:
        return {}
    return {'astronaut': data.astronaut(), 'coffee': data.coffee()}
