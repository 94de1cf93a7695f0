"""What commands read from their command line: the arguments that several take, and values of ``--cfg-options``."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_WORDS = {'true': True, 'false': False, 'none': None, 'null': None}
_PAIRS = {'[': ']', '(': ')', '{': '}'}


class OptionAction(argparse.Action):
    """Collects ``KEY=VALUE`` words in a dictionary; the option may be given several times.

    A word that is no ``KEY=VALUE``, or a value whose brackets or quotes don't close, ends the command in one line.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Add the words to what is there already."""
        options = dict(getattr(namespace, self.dest) or {})
        for word in [values] if isinstance(values, str) else values:
            key, sign, text = word.partition('=')
            try:
                if not sign or not key.strip():
                    raise ValueError(f"expected KEY=VALUE, got '{word}'")
                options[key.strip()] = parse_value(text)
            except ValueError as error:
                parser.exit(2, f'{parser.prog}: error: {option_string or self.dest}: {error}\n')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """The value that a text stands for.

    Numbers, ``true``, ``false`` and ``none`` in any case, quoted text, ``[a, b]``, ``(a, b)``, ``{a: 1}``, ``dict(a=1)``,
    all of them nested, and ``a,b`` as a list. Anything else is text as it is, spaces included; words within brackets
    need no quotes.

    Raises:
        ValueError: Brackets or quotes that do not close, an entry that is no ``key: value``.
    """
    bare = text.strip()
    try:
        value = ast.literal_eval(bare)
        return list(value) if isinstance(value, tuple) and not bare.startswith('(') else value
    except (ValueError, SyntaxError, MemoryError, TypeError):
        pass
    if bare.lower() in _WORDS:
        return _WORDS[bare.lower()]
    is_call = bare.startswith('dict(')
    inside = bare[4:] if is_call else bare
    if inside[:1] in _PAIRS:
        parts = _split(inside[1:-1], ',') if inside.endswith(_PAIRS[inside[0]]) else None
        if parts is None:
            raise ValueError(f"the brackets of '{text}' do not close")
        parts = parts[:-1] if parts and not parts[-1].strip() else parts
        if is_call or inside[0] == '{':
            return dict(_entry(part, '=' if is_call else ':') for part in parts)
        values = [parse_value(part) for part in parts]
        return tuple(values) if inside[0] == '(' else values
    if bare[:1] in ('"', "'"):
        raise ValueError(f"the quotes of '{text}' do not close")
    parts = _split(bare, ',')
    return [parse_value(part) for part in parts] if parts is not None and len(parts) > 1 else bare


def _entry(text: str, sign: str) -> tuple[Any, Any]:
    """A key and its value out of ``key: value`` or ``key=value``."""
    parts = _split(text, sign)
    if parts is None or len(parts) < 2:
        raise ValueError(f"'{text.strip()}' should be KEY{sign}VALUE")
    key = parts[0].strip() if sign == '=' else parse_value(parts[0])
    return key, parse_value(sign.join(parts[1:]))


def _split(text: str, sign: str) -> list[str] | None:
    """Split at the signs outside of all brackets and quotes; None where these do not close."""
    cuts = [-1, *_outside(text, sign), len(text)]
    if cuts[-2] == len(text):  # something is left open
        return None
    return [text[a + 1 : b] for a, b in zip(cuts, cuts[1:])]


def _outside(text: str, sign: str) -> Iterator[int]:
    """Places of a sign outside of brackets and quotes; at last ``len(text)`` if one of them does not close."""
    closing: list[str] = []
    quote = ''
    for place, letter in enumerate(text):
        before = text[place - 1 : place].strip()
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '"\'' and (not before or before in '[({,:='):  # not the apostrophe within a word
            quote = letter
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter in _PAIRS:
            closing.append(_PAIRS[letter])
        elif letter == sign and not closing:
            yield place
    if quote or closing:
        yield len(text)


def describe(
    parser: argparse.ArgumentParser,
    description: str,
    *,
    config: bool | str = True,
    checkpoint: bool = False,
    epilog: str | None = None,
) -> None:
    """Say what a command does, and add its arguments ``CONFIG``, ``CHECKPOINT`` and ``--cfg-options``.

    Args:
        parser: The command's parser.
        description: What the command does.
        config: Whether it takes a config, and with it ``--cfg-options``; ``optional``: one that may be left out.
        checkpoint: Whether it takes a checkpoint.
        epilog: Told below the arguments.
    """
    parser.description, parser.epilog = description, epilog
    if config:
        some = '?' if config == 'optional' else None
        parser.add_argument('config', nargs=some, help='config file, or mmmtl::FOLDER/NAME of one that is shipped')
    if checkpoint:
        parser.add_argument('checkpoint', help='.pth or .safetensors')
    if config:
        add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='change the config: data_root=DIR only_tasks="[depth]" model.decoder.steps=1',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add what the launchers of distributed runs need."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


class ShapeAction(argparse.Action):
    """Stores ``HEIGHT [WIDTH]`` or ``HxW`` as (H, W); one number makes a square."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Read the words."""
        try:
            numbers = [positive(part) for word in values for part in word.lower().split('x')]
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f'{option_string}: {error}')
        if len(numbers) > 2:
            parser.error(f'{option_string} takes HEIGHT [WIDTH]')
        setattr(namespace, self.dest, (numbers[0], numbers[-1]))


def add_shape(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add ``--shape HEIGHT [WIDTH]``, under other names where ``names`` are given."""
    parser.add_argument(
        *(names or ('--shape',)),
        nargs='+',
        action=ShapeAction,
        metavar='N',
        help="HEIGHT [WIDTH] of the input (default: the config's)",
    )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {number}')
    return number


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(part) for part in text.split(',')]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between, got '{text}'") from error


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f'must be at least 0, got {number}')
    return number


def share(text: str) -> float:
    """A number of at least 0 and below 1."""
    if not 0 <= (number := float(text)) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 0 and below 1, got {text}')
    return number


def set_local_rank(args: argparse.Namespace) -> argparse.Namespace:
    """Let mmengine know the process's place on its machine, which older launchers give as an argument."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def at_home(words: Sequence[str]) -> list[str]:
    """Words of a command line with ``~/x`` as a path also behind ``KEY=`` and ``--option=``, where shells leave it."""
    home = os.path.expanduser('~')
    return [re.sub(r'^([\w.-]*=)?~(?=/|$)', lambda found: (found[1] or '') + home, word) for word in words]


def accept_any_console() -> None:
    """Let characters that a console cannot print come out as question marks, where Python would stop."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='replace')
