"""Write a model as a file that other programs run: ``mmmtl export [CONFIG CHECKPOINT] --out FILE``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, describe, positive

from ._model import add_model, model_to_use


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write a model for onnxruntime, OpenVINO or torch.export, run the file beside the model, and print the largest '
        'difference of every task and the speed of both.',
        epilog='Images come in as RGB of 0..255 (normalised within), maps go out under the names of the tasks. '
        'docs/export.md tells more.',
        config='optional',
    )
    parser.add_argument('checkpoint', nargs='?', help='.pth or .safetensors (default: the weights as drawn)')
    add_model(parser)
    parser.add_argument('--format', choices=['torch_export', 'onnx', 'openvino'], default='onnx', help='default: onnx')
    parser.add_argument('--out', metavar='FILE', help='.pt2, .onnx or .xml (default: the name of the config)')
    add_shape(parser, '--size')
    parser.add_argument('--batch', default='1', metavar='N|dynamic', help='images at a time, or any (default: 1)')
    parser.add_argument('--half', action='store_true', help='half precision (onnx, openvino)')
    parser.add_argument(
        '--raw', action='store_true', help="the network's raw maps instead of predictions in the tasks' units"
    )
    parser.add_argument(
        '--noise',
        choices=['input', 'seed'],
        default='input',
        help="a diffusion decoder's noise: an input by name (default), or drawn now by model.noise_seed",
    )
    parser.add_argument('--no-check', action='store_true', help='do not run the file')
    parser.add_argument(
        '--int8',
        metavar='CONFIG',
        help='also write FILE.int8.onnx: quantised by onnxruntime on training images of this config, with the accuracy '
        'that each task loses on its test images',
    )
    parser.add_argument(
        '--images', type=positive, default=64, metavar='N', help='images for --int8, of either kind (default: 64)'
    )
    parser.add_argument('--table', metavar='FILE', help='write the table of --int8 here (.md)')


def run(args: argparse.Namespace) -> None:
    """Export."""
    from pathlib import Path

    from mmmtl.config import load_config
    from mmmtl.errors import ConfigError
    from mmmtl.export import export_model
    from mmmtl.export.api import batch_of
    from mmmtl.export.writers import FORMATS

    if args.config is not None and args.model is not None:
        raise ConfigError(f"--model '{args.model}' and the config '{args.config}': give one of the two")
    if args.int8 and args.half:
        raise ConfigError('--int8 is compared with single precision: leave out --half')
    if args.table and not args.int8:
        raise ConfigError(f"--table '{args.table}' is that of --int8 CONFIG: give both")
    model = model_to_use(args.config, args.checkpoint, args.model, args.cfg_options)
    out = args.out or Path(args.config or args.model or 'model').stem + FORMATS[args.format]
    options = dict(size=args.size, batch=batch_of(args.batch), half=args.half, raw=args.raw, noise=args.noise)
    done = export_model(model, out, args.format, **options, check=not args.no_check)
    print(f'written: {", ".join(done.files)}')
    if done.text:
        print(done.text)
    if args.int8:
        from mmmtl.export.int8 import quantize_and_compare

        print(quantize_and_compare(model, done, load_config(args.int8), args.images, args.table))
