"""Everything that only a GPU can tell, in one run that is never lost.

    python benchmarks/gpu.py --minutes 9 --out DIR        measure; a JSON file a step
    python benchmarks/gpu.py --page DIR                   docs/results/gpu.md out of them
    python benchmarks/gpu.py --device cpu --tiny --out DIR     see that the program runs, in two minutes

Steps, in order of importance: the device and its peaks; recorded runs replayed; the published networks (latency,
throughput, training, memory, published data flow, eager, compiled, CUDA graphs, layouts, precisions); kernels against
their plain expressions (writes ``dispatch.json``, a table for ``MMMTL_OPS``); two processes and resume; the data loader.
Each step runs in a process of its own, which is ended when its share of the time is over; every row is in the step's
file as soon as it is measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_steps.rows import Rows, Setting  # noqa: E402
from mmmtl.utils.files import read_json, write_json  # noqa: E402

STEPS = {'machine': 0.05, 'golden': 0.17, 'models': 0.5, 'kernels': 0.12, 'training': 0.11, 'loader': 0.05}
"""Steps in their order, with their shares of the time; what one leaves over, the next ones have."""


def _run(name: str, setting: Setting, deadline: float) -> None:
    """A step, in its own process and process group."""
    os.setsid()
    if setting.kind == 'cpu':
        torch.set_num_threads(1)
    rows = Rows(Path(setting.folder) / f'{name}.json', name, deadline)
    rows.write(False)
    importlib.import_module(f'benchmarks.gpu_steps.{name}').measure(setting, rows)
    rows.write(True)
    # what libraries do when they are unloaded is not measured, and may hang
    sys.stdout.flush()
    os._exit(0)


def run_steps(setting: Setting, seconds: float, steps: Sequence[str]) -> dict[str, str]:
    """Run the steps one after another; returns ``{step: finished, cut or failed}``."""
    context = multiprocessing.get_context('fork' if setting.kind == 'cpu' else 'spawn')
    whole, shares, start = sum(STEPS[s] for s in steps), 0.0, time.monotonic()
    states = {}
    for name in steps:
        shares += STEPS[name] / whole
        deadline = start + shares * seconds
        process: Any = context.Process(target=_run, args=(name, setting, deadline))
        process.start()
        process.join(max(deadline - time.monotonic(), 1.0))
        states[name] = 'cut' if process.is_alive() else 'finished' if process.exitcode == 0 else 'failed'
        if process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not come so far as to have a group
                process.kill()
            process.join()
        print(f'{name}: {states[name]} ({time.monotonic() - start:.0f} s since the start)', flush=True)
    write_json(Path(setting.folder) / 'run.json', dict(states=states, device=setting.device, tiny=setting.tiny))
    return states


def default_recordings() -> list[str]:
    """Recorded runs beside the repository, or else those of its tests."""
    return sorted(map(str, (ROOT.parent / 'shared' / 'golden').glob('*.pt'))) or small_recordings()


def small_recordings() -> list[str]:
    """The recorded runs that the tests hold."""
    return sorted(map(str, (ROOT / 'tests' / 'data').glob('*_small.pt')))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=9.0, help='of all steps together (default: 9)')
    parser.add_argument('--out', metavar='DIR', help='where the results go')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='small networks, few repeats')
    parser.add_argument('--golden', nargs='*', metavar='FILE', help='recorded runs (default: those that are at hand)')
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=list(STEPS), metavar='STEP', help=', '.join(STEPS))
    parser.add_argument('--page', metavar='DIR', help='write docs/results/gpu.md out of the results in DIR, and stop')
    args = parser.parse_args(argv)
    if args.page:
        from benchmarks.gpu_steps.page import page

        results = {p.stem: read_json(p) for p in sorted(Path(args.page).glob('*.json'))}
        (ROOT / 'docs/results/gpu.md').write_text(page(results))
        print('docs/results/gpu.md: a new page is named in mkdocs.yml too')
        return 0
    if not args.out:
        parser.error('--out DIR is missing')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: PyTorch sees no CUDA device here; --device cpu --tiny tries the program')
    recordings = args.golden or (small_recordings()[:1] if args.tiny else default_recordings())
    Path(args.out).mkdir(parents=True, exist_ok=True)
    setting = Setting(args.device, args.tiny, tuple(recordings), args.out)
    return int('failed' in run_steps(setting, 60 * args.minutes, args.steps).values())


if __name__ == '__main__':
    sys.exit(main())
