"""Predict every task on your own images or videos: ``mmmtl infer [CONFIG CHECKPOINT] INPUT... --out DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_cfg_options, describe, natural, numbers, positive, share

from ._model import add_model_and_inputs, default_device, model_to_use, refuse_missing, split_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Predict every task on images or a video; write panels and raw predictions.', config=False)
    add_model_and_inputs(parser, 'images, folders, patterns with *, one video file, or one camera (camera:0)')
    add_cfg_options(parser)
    parser.add_argument(
        '--out',
        '--out-dir',
        dest='out',
        default='predictions',
        metavar='DIR',
        help='DIR/panels/NAME.png, DIR/predictions/TASK/NAME.png|npy, DIR/uncertainty/TASK/NAME.npy (default: predictions)',
    )
    parser.add_argument(
        '--dtype',
        choices=['fp32', 'bf16', 'fp16'],
        help="precision that the network computes in (default: the config's)",
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--tasks', nargs='+', metavar='TASK', help='predict these only (default: all)')
    parser.add_argument(
        '--steps', type=positive, metavar='N', help='sampling steps of a decoder that has them to choose'
    )
    parser.add_argument(
        '--seed', type=int, metavar='N', help='of the noise: the same seed gives the same bits, for any --batch-size'
    )
    parser.add_argument(
        '--ensemble',
        type=positive,
        default=1,
        metavar='N',
        help='predict from N noise seeds: their mean, and the uncertainty of every pixel',
    )
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N', help='images per pass')
    parser.add_argument(
        '--max-side',
        type=natural,
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
    parser.add_argument('--overlap', type=share, default=0.25, metavar='SHARE', help='of tiles (default: 0.25)')
    parser.add_argument(
        '--white-point',
        type=float,
        metavar='X',
        help='the number that is white in photographs of more than 8 bits (default: the largest of their type)',
    )
    parser.add_argument(
        '--save',
        nargs='+',
        default=[],
        metavar='WHAT',
        help='more files: ply (DIR/points/TASK/NAME.ply, a coloured point cloud out of depth, with normals where they are '
        'predicted), png16 (DIR/png16, values in 16 bits), png (DIR/pictures, in colours)',
    )
    parser.add_argument(
        '--intrinsics',
        type=numbers,
        metavar='FX,FY,CX,CY',
        help='of the camera, in pixels of the image, the middle of the upper left one being (0, 0); for --save ply',
    )
    parser.add_argument(
        '--fov', type=float, metavar='DEGREES', help='horizontal field of view instead of --intrinsics (default: 60)'
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
    parser.add_argument('--fps', type=float, metavar='N', help="of that video (default: the file's, else 10)")
    parser.add_argument(
        '--frames', type=positive, metavar='N', help='stop a video or camera after N frames (a camera also by Ctrl-C)'
    )
    parser.add_argument(
        '--smooth',
        type=share,
        default=0.0,
        metavar='SHARE',
        help='of a video: share of the past in every prediction, an exponential mean over time (default: 0)',
    )
    parser.add_argument(
        '--no-optimize', action='store_true', help='predict with the network as it trains (slower on a CPU)'
    )


def run(args: argparse.Namespace) -> None:
    """Predict."""
    from mmmtl.apis import Inferencer, infer_files
    from mmmtl.ops.allocator import keep_freed_memory

    keep_freed_memory()
    config, checkpoint, inputs = split_words(args.inputs, args.model)
    refuse_missing(inputs)
    inferencer = Inferencer(
        model_to_use(config, checkpoint, args.model, args.cfg_options),
        device=args.device or default_device(),
        optimize=not args.no_optimize,
        max_side=args.max_side,
        fit=args.fit,
        overlap=args.overlap,
        white_point=args.white_point,
        dtype=args.dtype,
    )
    kept = dict(panels=not args.no_panels, raw=not args.no_raw, explain=args.explain)
    kept.update(tasks=args.tasks, steps=args.steps, seed=args.seed, ensemble=args.ensemble, smooth=args.smooth)
    kept.update(save=args.save, intrinsics=args.intrinsics, fov=args.fov, frames=args.frames)
    kept.update(video=args.video, fps=args.fps, batch_size=args.batch_size)
    print(infer_files(inferencer, inputs, args.out, **kept))
