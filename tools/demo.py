"""Train, evaluate and draw a small TaskDiffusion on generated scenes: ``python tools/demo.py``."""

from __future__ import annotations

from mmmtl.analysis.demo import run_demo
from mmmtl.apis import run_command
from mmmtl.utils.command_line import make_parser


def main() -> None:
    """Parse the arguments and run."""
    parser = make_parser(__doc__, config=False)
    parser.add_argument('--config', default='configs/taskdiffusion/vitt_diorama.py')
    parser.add_argument('--work-dir', default='work_dirs/demo')
    args = parser.parse_args()
    run_command(lambda: run_demo(args.config, args.work_dir, args.cfg_options))


if __name__ == '__main__':
    main()
