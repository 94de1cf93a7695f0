"""Replay recorded runs of the published programs through this package and print how far apart the numbers are.

    python tests/parity/replay.py FILE...

A file holds a state dict (or the seed it is rebuilt from), inputs, every random draw, and what came out. The method, its
variant and all sizes are read from the file; each method has a module beside this one that recognises its files. The exit
status is 0 when every quantity is within its tolerance: 1e-5 for outputs (relative to the output's scale) and losses
(relative), 1e-3 for gradients (relative L2).
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

import torch  # noqa: E402

NOT_METHODS = {'replay', 'common', '__init__'}


def replayers() -> dict:
    """``{name: module}`` of every method beside this file: a module with ``recognises(data)`` and ``replay(data)``."""
    names = sorted(p.stem for p in Path(__file__).parent.glob('*.py') if p.stem not in NOT_METHODS)
    modules = {name: importlib.import_module(f'tests.parity.{name}') for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, 'recognises')}


def replay_file(path: Path) -> tuple[str, list[tuple[str, float, float]]]:
    """Name of the method, and ``(quantity, difference, tolerance)`` of everything the file records.

    Raises:
        ValueError: No method recognises the file.
    """
    data = torch.load(path, map_location='cpu', weights_only=True)
    known = replayers()
    for name, module in known.items():
        if module.recognises(data):
            # some recordings build on others in the same folder
            more = {'path': path} if 'path' in inspect.signature(module.replay).parameters else {}
            return name, module.replay(data, **more)
    raise ValueError(
        f'{path}: no method recognises this recording (keys {sorted(data)[:8]}); known: {", ".join(known)}'
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('files', nargs='+', type=Path, help='recorded runs (.pt)')
    parser.add_argument('--quiet', action='store_true', help='print only what is past its tolerance, and the verdict')
    args = parser.parse_args(argv)
    failures = 0
    for path in args.files:
        if not path.is_file():
            parser.error(f'no such file: {path}')
        start = time.perf_counter()
        try:
            method, results = replay_file(path)
        except ValueError as error:
            print(f'{path}: {error}', file=sys.stderr)
            failures += 1
            continue
        bad = [r for r in results if not r[1] <= r[2]]
        print(f'{path.name}: {method}')
        for quantity, difference, tolerance in bad if args.quiet else results:
            print(f'  {quantity:<64} {difference:9.2e}   {"ok" if difference <= tolerance else f"past {tolerance:g}"}')
        verdict = 'passed' if not bad else f'{len(bad)} FAILED'
        print(f'  {len(results)} quantities, {verdict} ({time.perf_counter() - start:.1f} s)')
        failures += len(bad)
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
