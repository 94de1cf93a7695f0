"""Predict every task on your own images or videos: ``mmmtl infer CONFIG CHECKPOINT INPUT... --out DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Predict every task on images or a video; write panels and raw predictions.', checkpoint=True)
    parser.add_argument('inputs', nargs='+', help='images, folders, patterns with *, or one video file')
    parser.add_argument(
        '--out',
        '--out-dir',
        dest='out',
        default='predictions',
        metavar='DIR',
        help='DIR/panels/NAME.png and DIR/predictions/TASK/NAME.png|npy (default: predictions)',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N', help='images per pass')
    parser.add_argument(
        '--max-side',
        type=int,
        metavar='N',
        help="reduce images with a longer side, 0 for never (default: twice that of the training's images)",
    )
    parser.add_argument(
        '--fit',
        choices=['pad', 'resize', 'tile'],
        default='pad',
        help='how an image comes to a size that the network takes: a frame around it (default), stretched, or in '
        'overlapping tiles of the size of the training, at full resolution',
    )
    parser.add_argument('--overlap', type=float, default=0.25, metavar='SHARE', help='of tiles (default: 0.25)')
    parser.add_argument(
        '--white-point',
        type=float,
        metavar='X',
        help='the number that is white in photographs of more than 8 bits (default: the largest of their type)',
    )
    parser.add_argument('--no-panels', action='store_true', help='draw no panels')
    parser.add_argument('--no-raw', action='store_true', help='write no raw predictions')
    parser.add_argument(
        '--explain',
        action='store_true',
        help='also draw how predictions came about: DIR/panels/NAME.WHAT.png (TaskDiffusion, DiffusionMTL, '
        'StableMTL with two streams)',
    )
    parser.add_argument(
        '--video',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='write DIR/NAME.mp4, a video of the panels (default: for a video file, and for a folder of frames where the '
        'model looks at two)',
    )
    parser.add_argument('--fps', type=float, metavar='N', help="of that video (default: the file's, 10 for images)")
    parser.add_argument(
        '--no-optimize', action='store_true', help='predict with the network as it trains (slower on a CPU)'
    )


def run(args: argparse.Namespace) -> None:
    """Predict."""
    from mmmtl.apis import Inferencer, infer_files
    from mmmtl.ops.allocator import keep_freed_memory

    keep_freed_memory()
    inferencer = Inferencer(
        args.config,
        args.checkpoint,
        device=args.device,
        cfg_options=args.cfg_options,
        optimize=not args.no_optimize,
        max_side=args.max_side,
        fit=args.fit,
        overlap=args.overlap,
        white_point=args.white_point,
    )
    kept = dict(panels=not args.no_panels, raw=not args.no_raw, explain=args.explain)
    kept.update(video=args.video, fps=args.fps, batch_size=args.batch_size)
    print(infer_files(inferencer, args.inputs, args.out, **kept))
