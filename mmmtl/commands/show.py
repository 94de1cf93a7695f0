"""Print a config as a whole, or every value with its source: ``mmmtl show CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Print a config with the source of each value.')
    parser.add_argument('--plain', action='store_true', help='print it as one config file, without sources')
    parser.add_argument('--section', metavar='PATH', help='only what is below PATH, for example model.decoder')
    parser.add_argument('--out', metavar='FILE', help='write it as one config file')


def run(args: argparse.Namespace) -> None:
    """Print."""
    from mmmtl.config import config_with_sources, load_config
    from mmmtl.errors import ConfigError, suggest
    from mmmtl.utils.files import write_atomically
    from mmmtl.utils.tables import format_table

    if args.section and (args.plain or args.out):
        raise ConfigError(f"--section '{args.section}' goes without --plain and --out, which give whole configs")
    if args.plain or args.out:
        cfg = load_config(args.config, args.cfg_options)
        if args.out:
            if not args.out.endswith('.py'):
                raise ConfigError(f"--out '{args.out}': a config's file ends in .py")
            write_atomically(args.out, cfg.pretty_text)
        else:
            print(cfg.pretty_text)
        return
    rows = config_with_sources(args.config, args.cfg_options)
    prefix = args.section or ''
    known = {'.'.join(path.split('.')[:depth]) for path, *_ in rows for depth in range(1, path.count('.') + 2)}
    if prefix and prefix not in known:
        raise ConfigError(f"--section '{prefix}': {args.config} has no such place.{suggest(prefix, known)}")
    rows = [r for r in rows if not prefix or r[0] == prefix or r[0].startswith(prefix + '.')]
    short = [(path, value if len(value) <= 60 else value[:57] + '...', source) for path, value, source in rows]
    print(format_table(['key', 'value', 'source'], short))
