"""Print a config as a whole, or every value with its source: ``python tools/misc/print_config.py CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Print a config with the source of each value.')
    parser.add_argument('--plain', action='store_true', help='print it as one config file, without sources')
    parser.add_argument('--section', metavar='PATH', help='only what is below PATH, for example model.decoder')
    parser.add_argument('--out', metavar='FILE', help='write it as one config file')
    return parser.parse_args()


def main() -> None:
    """Print."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.config import config_with_sources, load_config
    from mmmtl.utils.tables import format_table

    def show() -> None:
        if args.plain or args.out:
            cfg = load_config(args.config, args.cfg_options)
            if args.out:
                cfg.dump(args.out)
            else:
                print(cfg.pretty_text)
            return
        rows = config_with_sources(args.config, args.cfg_options)
        prefix = args.section or ''
        rows = [r for r in rows if not prefix or r[0] == prefix or r[0].startswith(prefix + '.')]
        short = [(path, value if len(value) <= 60 else value[:57] + '...', source) for path, value, source in rows]
        print(format_table(['key', 'value', 'source'], short))

    run_command(show)


if __name__ == '__main__':
    main()
