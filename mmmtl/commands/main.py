"""Finding a command, reading its arguments, running it."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType

from mmmtl.utils.command import run_command
from mmmtl.utils.command_line import accept_any_console, at_home
from mmmtl.version import __version__

COMMANDS = {
    'train': 'train a model',
    'test': 'evaluate a checkpoint',
    'infer': 'predict every task on your own images',
    'app': 'serve a web page of a network',
    'predict': 'predict on whole collections, or make labels of predictions',
    'export': 'write a model for onnxruntime, OpenVINO or torch.export',
    'list': 'list the models, tasks, data sets and backbones there are',
    'show': 'print a config with the source of each value',
    'verify': 'check every file of a data set',
    'browse': 'draw what the network is shown',
    'download': 'fetch a data set with public links',
    'pack': 'write a network as a folder for a hub',
    'convert': "convert a checkpoint of a method's authors",
    'publish': 'strip a checkpoint to its weights',
    'new': 'start a package with a task, a data set or a decoder of your own',
    'demo': 'train, evaluate and draw on generated scenes',
    'benchmark': 'measure time and memory',
    'methods': 'write the page of all methods',
    'pages': 'write the catalogue pages out of the registries',
    'pictures': 'draw the pictures of the documentation',
    'flops': 'count parameters and multiply-accumulates',
    'plan': 'plan a training on many GPUs',
    'compare': 'put two runs side by side',
    'delta-m': 'compute the gain over single-task networks',
    'study': 'train, evaluate and tabulate several networks alike',
    'side-by-side': 'draw what several runs predicted',
    'logs': 'plot the curves of runs',
    'report': 'write an HTML report of an evaluation',
    'noise-seeds': 'evaluate under several noise seeds',
    'precision': 'evaluate in half precision',
    'eval-predictions': 'evaluate predictions in files',
    'eval-boundary': 'boundary metrics of files',
    'index': 'write the index of a data set',
    'shard': 'put a data set into tar files',
    'prepare-labels': "fill a data set's cache of derived labels",
    'prepare-hypersim': 'prepare Hypersim',
    'prepare-flyingthings3d': 'prepare FlyingThings3D',
    'prepare-mid': 'prepare MID Intrinsics',
    'prepare-vkitti2': 'compute the surface normals of Virtual KITTI 2',
    'split-lists': 'write the file lists of a data set',
    'label-map': 'convert published maps of partial labels',
}
"""What each command does; its module has its name, with underscores."""

VERSIONS = ('torch', 'torchvision', 'mmengine', 'numpy', 'timm', 'opencv-python', 'mmcv-lite', 'mmsegmentation')
"""Distributions that ``mmmtl --version`` tells beside Python and CUDA."""


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f'mmmtl.commands.{command.replace("-", "_")}')


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command alone, as the files of ``tools/`` use it."""
    parser = argparse.ArgumentParser()
    module_of(command).add_arguments(parser)
    return parser


def parser_of_all(wanted: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``mmmtl``; of the commands, ``wanted`` alone has its arguments filled in."""
    parser = argparse.ArgumentParser(
        prog='mmmtl',
        description='Multi-task dense prediction: train, evaluate, predict, compare.',
        epilog='`mmmtl COMMAND --help` has the arguments of a command.',
    )
    parser.add_argument('--version', action='store_true', help='print the versions of everything that matters')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    for name, what in COMMANDS.items():
        own = commands.add_parser(name, help=what)
        if name == wanted:
            module_of(name).add_arguments(own)
    return parser


def run_arguments(command: str, args: argparse.Namespace) -> None:
    """Run a command; a person's mistake is told in a line."""
    run_command(lambda: module_of(command).run(args))


def run_tool(command: str) -> None:
    """Run a command with the arguments that this process was given."""
    accept_any_console()
    run_arguments(command, parser_of(command).parse_args(at_home(sys.argv[1:])))


def main(argv: Sequence[str] | None = None) -> None:
    """``mmmtl COMMAND ...``.

    Args:
        argv: The words after ``mmmtl``; default: those of this process.
    """
    accept_any_console()
    words = at_home(sys.argv[1:] if argv is None else argv)
    completing = os.environ.get('COMP_LINE') if '_ARGCOMPLETE' in os.environ else None
    seen = _words(completing)[1:] if completing else words
    parser = parser_of_all(next((word for word in seen if not word.startswith('-')), None))
    if completing:
        import argcomplete

        argcomplete.autocomplete(parser)
    args = parser.parse_args(words)
    command = args.command
    if args.version:
        print(versions())
    elif command is None:
        parser.print_help()
    else:
        del args.command, args.version
        run_arguments(command, args)


def _words(line: str) -> list[str]:
    """Words of a command line that may end within a quote."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def versions() -> str:
    """Versions of this package and of what its numbers depend on."""
    import torch

    lines = [f'mmmtl {__version__}', f'Python {platform.python_version()} on {platform.platform()}']
    for name in VERSIONS:
        try:
            lines.append(f'{name} {importlib.metadata.version(name)}')
        except importlib.metadata.PackageNotFoundError:
            lines.append(f'{name}: not installed')
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f'CUDA {torch.version.cuda or "none"}; {", ".join(devices) or "no GPU"}')
    return '\n'.join(lines)
