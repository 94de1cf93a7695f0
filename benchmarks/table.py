"""The table of ``docs/results/speed.md``, measured again: ``make benchmark``.

    python benchmarks/table.py [--rows NAME ...] [--threads 2] [--list] [--raw FILE] [--keep]

Every row is a command of its own in a process of its own; what it prints is shown and goes to ``--raw``. The rows that were
measured replace those of their names in the page, the others stay; ``--keep`` leaves the page alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'results' / 'speed.md'
BEGIN, END = '<!-- measured rows -->', '<!-- end of measured rows -->'
BENCHMARK, ENGINES = 'tools/analysis_tools/benchmark.py', 'benchmarks/engines.py'
LOW_MEMORY = [
    'model.decoder.winograd_gradients=True',
    'model.neck.winograd_gradients=True',
    'model.decoder.denoiser.recompute=True',
    'model.recompute_backbone=True',
]


@dataclass(frozen=True)
class Row:
    """A row: what is measured, the command, and (for predictions) whether other engines run the network too."""

    title: str
    command: tuple[str, ...]
    engines: bool = False

    @property
    def config(self) -> str:
        """The network's config."""
        return self.command[1]


def _predict(config: str, *more: str) -> tuple[str, ...]:
    return (BENCHMARK, f'configs/{config}', '--shape', '512', *more)


TASKDIFFUSION, DIFFUSIONMTL = 'taskdiffusion/vitb_pascal.py', 'diffusionmtl/r18_pascal.py'
ROWS: dict[str, Row] = {
    'taskdiffusion': Row('TaskDiffusion ViT-B, predict 512', _predict(TASKDIFFUSION, '--reference'), True),
    'taskdiffusion-bf16': Row('the same, bfloat16', _predict(TASKDIFFUSION, '--reference', '--amp')),
    'taskdiffusion-train-256': Row(
        'TaskDiffusion ViT-B, training step 256',
        (BENCHMARK, f'configs/{TASKDIFFUSION}', '--reference', '--mode', 'train', '--shape', '256', '--repeats', '3'),
    ),
    'taskdiffusion-train-512': Row(
        'TaskDiffusion ViT-B, training step 512',
        (BENCHMARK, f'configs/{TASKDIFFUSION}', '--reference', '--mode', 'train', '--shape', '512', '--repeats', '2'),
    ),
    'diffusionmtl': Row('DiffusionMTL ResNet-18, predict 512', _predict(DIFFUSIONMTL, '--reference'), True),
    'diffusionmtl-bf16': Row('the same, bfloat16', _predict(DIFFUSIONMTL, '--reference', '--amp')),
    'diffusionmtl-train': Row(
        'DiffusionMTL ResNet-18, training step 256, 6 images, one label each',
        (
            *(BENCHMARK, f'configs/{DIFFUSIONMTL}', '--reference', '--mode', 'train', '--shape', '256', '--batch', '6'),
            *('--one-label', '--repeats', '3', '--cfg-options', *LOW_MEMORY),
        ),
    ),
    'stablemtl-tiny': Row('StableMTL, 7 tasks, small UNet', ('benchmarks/stablemtl_speed.py', 'tiny', '--memory')),
    'stablemtl-mid': Row('StableMTL, 7 tasks, middle UNet', ('benchmarks/stablemtl_speed.py', 'mid', '--memory')),
    **{
        name: Row(f'{title}, predict 512, beside its plain expressions', _predict(config, '--plain', '--repeats', '3'))
        for name, title, config in (
            ('invpt', 'InvPT ViT-L', 'invpt/vitl_pascal.py'),
            ('taskprompter', 'TaskPrompter ViT-B', 'taskprompter/vitb_pascal.py'),
            ('mlore', 'MLoRE ViT-B', 'mlore/vitb_pascal.py'),
            ('mtinet', 'MTI-Net HRNet-18', 'mtinet/hrnet18_pascal.py'),
            ('tsp', 'TSP-Transformer ViT-L', 'tsp/vitl_pascal.py'),
            ('atrc', 'ATRC HRNet-18', 'atrc/hrnet18_pascal.py'),
        )
    },
}
HEADER = [
    'row',
    'what',
    'published or plain, s',
    'here, s',
    'ratio',
    'memory',
    'difference',
    'OpenVINO, s',
    'onnxruntime, s',
]


def measured(command: Sequence[str], threads: int, raw: Any) -> dict[str, Any]:
    """Numbers of a command that writes them with ``--out``; what it prints is shown and kept."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'row.json'
        line = [sys.executable, str(ROOT / command[0]), *command[1:], '--threads', str(threads), '--out', str(out)]
        print('$', *line[1:], flush=True)
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        print(done.stdout, flush=True)
        raw.write(f'$ {" ".join(line[1:])}\n{done.stdout}\n')
        if done.returncode:
            print(done.stderr[-2000:], flush=True)
            return dict(error=(done.stderr.strip().splitlines() or ['no output'])[-1])
        return json.loads(out.read_text())


def cells(name: str, row: Row, found: dict[str, Any], engines: dict[str, Any]) -> list[str]:
    """A row of the table."""
    if 'error' in found:
        return [name, row.title, f'failed: {found["error"][:80]}', *[''] * 6]

    def of(engine: str) -> str:
        spent = engines.get(engine, {})
        return f'{spent["ms"] / 1e3:.2f}' if 'ms' in spent else 'not' if 'error' in spent else ''

    memory = f'{found["memory_ratio"]:.2f}' if found.get('memory_ratio') else ''
    return [
        name,
        row.title,
        f'{found["other_s"]:.2f}',
        f'{found["seconds"]:.2f}',
        f'{found["other_s"] / found["seconds"]:.2f}',
        memory,
        f'{found["difference"]:.1e}',
        of('openvino'),
        of('onnxruntime'),
    ]


def table_of(lines: dict[str, list[str]]) -> str:
    """The rows as Markdown, in their usual order."""
    rows = [HEADER, ['---'] * len(HEADER), *(lines[name] for name in ROWS if name in lines)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def read_rows(text: str) -> dict[str, list[str]]:
    """Rows that stand between the marks of a page."""
    if BEGIN not in text:
        return {}
    block = text.split(BEGIN)[1].split(END)[0]
    found = [
        [c.strip() for c in line.strip().strip('|').split('|')] for line in block.splitlines() if line.startswith('|')
    ]
    return {row[0]: row for row in found[2:] if row[0] in ROWS}


def written(text: str, lines: dict[str, list[str]]) -> str:
    """The page with ``lines`` in the place of the rows of their names."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f'{before}{BEGIN}\n\n{table_of({**read_rows(text), **lines})}\n\n{END}{after}'


def keep_rows(lines: dict[str, list[str]], keep: bool) -> None:
    """Put the rows into the page, unless it is to stay as it is."""
    if not keep:
        PAGE.write_text(written(PAGE.read_text(), lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 1 where a row failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS), metavar='NAME', help=', '.join(ROWS))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--raw', metavar='FILE', default='work_dirs/speed.txt', help='what the commands print')
    parser.add_argument('--list', action='store_true', help='print the commands of the rows, and stop')
    parser.add_argument('--keep', action='store_true', help='leave the page as it is')
    args = parser.parse_args(argv)
    if args.list:
        for name in args.rows:
            print(f'{name}: python {" ".join(ROWS[name].command)} --threads {args.threads}')
        return 0
    lines, start = {}, time.monotonic()
    Path(args.raw).parent.mkdir(parents=True, exist_ok=True)
    with open(args.raw, 'a') as raw:
        for name in args.rows:
            row = ROWS[name]
            found = measured(row.command, args.threads, raw)
            lines[name] = cells(name, row, found, {})
            keep_rows(lines, args.keep)  # the engines take minutes to read a network, and may be cut off
            if row.engines and 'error' not in found:
                engines = measured((ENGINES, row.config, '--shape', '512', '--repeats', '3'), args.threads, raw)
                lines[name] = cells(name, row, found, engines)
                keep_rows(lines, args.keep)
            print(f'{name}: {time.monotonic() - start:.0f} s since the start', flush=True)
    print(table_of(lines))
    return int(any('failed' in line[2] for line in lines.values()))


if __name__ == '__main__':
    sys.exit(main())
