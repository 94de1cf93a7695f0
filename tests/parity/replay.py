"""Replay recorded runs of the published programs through this package and print how far apart the numbers are.

    python tests/parity/replay.py [--skip-unknown] FILE...

A file holds a state dict (or the seed it is rebuilt from), inputs, every random draw, and what came out. The method, its
variant and all sizes are read from the file; each method has a module beside this one that recognises its files.
Tolerances and how they are measured: :mod:`tests.parity.common`.

Exit status: 0 when every quantity of every file is within its tolerance; 1 when one is not, or a file does not fit the
model here; 3 when everything that was replayed fits, but a file could not be replayed (no recording, a method that is
not here, a sibling it builds on is missing). ``--skip-unknown`` lists recordings of methods that are not here and
counts them as nothing.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.parity.common import CannotReplay, UnknownMethod, read_recording  # noqa: E402

NOT_METHODS = {'replay', 'common', '__init__'}
NOT_REPLAYED = 3


def replayers() -> dict:
    """``{name: module}`` of every method beside this file: a module with ``recognises(data)`` and ``replay(data)``."""
    names = sorted(p.stem for p in Path(__file__).parent.glob('*.py') if p.stem not in NOT_METHODS)
    modules = {name: importlib.import_module(f'tests.parity.{name}') for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, 'recognises')}


def replay_file(path: Path) -> tuple[str, list[tuple[str, float, float]]]:
    """Name of the method, and ``(quantity, difference, tolerance)`` of everything the file records.

    Raises:
        CannotReplay: The file can't be read, no method recognises it, or a file it builds on is missing.
    """
    data, known = read_recording(path), replayers()
    for name, module in known.items():
        if module.recognises(data):
            # some recordings build on others in the same folder
            more = {'path': path} if 'path' in inspect.signature(module.replay).parameters else {}
            return name, module.replay(data, **more)
    raise UnknownMethod(f'no method recognises this recording (keys {sorted(data)[:8]}); known: {", ".join(known)}')


def report(path: Path, quiet: bool) -> int:
    """Replay a file and print its quantities; returns how many are past their tolerance."""
    start = time.perf_counter()
    method, results = replay_file(path)
    bad = [r for r in results if not r[1] <= r[2]]
    print(f'{path.name}: {method}')
    for quantity, difference, tolerance in bad if quiet else results:
        print(f'  {quantity:<64} {difference:9.2e}   {"ok" if difference <= tolerance else f"past {tolerance:g}"}')
    verdict = 'passed' if not bad else f'{len(bad)} FAILED'
    print(f'  {len(results)} quantities, {verdict} ({time.perf_counter() - start:.1f} s)')
    return len(bad)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('files', nargs='+', type=Path, help='recorded runs (.pt)')
    parser.add_argument('--quiet', action='store_true', help='print only what is past its tolerance, and the verdict')
    parser.add_argument(
        '--skip-unknown', action='store_true', help='list recordings of methods that are not here instead of failing'
    )
    args = parser.parse_args(argv)
    failures, left, skipped = 0, 0, []
    for path in args.files:
        try:
            failures += report(path, args.quiet)
        except UnknownMethod as error:
            skipped += [path.name] * args.skip_unknown
            left += not args.skip_unknown
            if not args.skip_unknown:
                print(f'{path}: {error}', file=sys.stderr)
        except CannotReplay as error:
            print(f'{path}: {error}', file=sys.stderr)
            left += 1
        except (ValueError, KeyError, RuntimeError) as error:
            print(f'{path}: does not fit the model here: {" ".join(str(error).split())}', file=sys.stderr)
            failures += 1
    if skipped:
        print(f'skipped, of methods that are not here: {", ".join(skipped)}')
    return 1 if failures else NOT_REPLAYED if left else 0


if __name__ == '__main__':
    sys.exit(main())
