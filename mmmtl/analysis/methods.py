"""The catalogue of methods, a page out of the model index, the configs and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import load

from mmmtl.utils.shipped import configs_folder

INTRODUCTION = """# Methods

One line a method, made by `python tools/misc/list_methods.py` out of the model index (`configs/*/metafile.yml`), the
configs and `docs/results/costs.json`. *Replayed*: recorded runs of the authors' program give the same numbers here
(`tests/parity`). *Reconstruction*: nothing public tells the details, the config is a proposal that meets the published
counts as far as it can. Published metrics: PASCAL-Context with ViT-L, as printed in TaskDiffusion's Table 1.

Any of them trains on any data set and label setting, and with every balancing method; small ones:
`configs/methods/vitt_diorama.py method=NAME`, and `configs/studies/methods_diorama.py` compares them all.
"""


def collections() -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """``(folder, what the index says of the method, its models)``, in order of the folders."""
    for path in sorted(configs_folder().glob('*/metafile.yml')):
        content = load(path)
        yield path.parent.name, content['Collections'][0], content['Models']


def published_metrics() -> tuple[list[str], dict[str, list[float]]]:
    """Columns and rows of the papers' common table."""
    reference = Config.fromfile(configs_folder() / '_base_' / 'references' / 'pascal_vitl.py').single_task_reference
    return list(reference.columns), {name: list(row) for name, row in reference.rows.items()}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ['| ' + ' | '.join(cells) + ' |' for cells in (header, ['---'] * len(header), *rows)]


def methods_page(costs_file: Path) -> str:
    """The page as Markdown.

    Args:
        costs_file: JSON ``{config: costs}`` of ``benchmark.py --catalogue``; configs it lacks have no counts.
    """
    costs = json.loads(costs_file.read_text()) if costs_file.is_file() else {}
    columns, rows = published_metrics()
    methods, configs = [], []
    for folder, about, models in collections():
        metrics = rows.get(about.get('Row', ''), [])
        shown = ' / '.join(f'{x:.2f}' for x in metrics[:-1]) + f' ({metrics[-1]:+.2f})' if metrics else '-'
        methods.append([f'`{folder}`', about['Title'], about['Reference'], about['Idea'], about['State'] or '-', shown])
        for model in models:
            cost = costs.get(model['Name'])
            counts = ['-'] * 3
            if cost:
                whole = cost['layers'] + cost['products']
                counts = [f'{cost["parameters"] / 1e6:.2f}', f'{cost["layers"] / 1e9:.1f}', f'{whole / 1e9:.1f}']
            configs.append([f'`{model["Name"]}`', *counts])
    metrics_title = ' / '.join(columns) + ' (Δm %)'
    lines = [INTRODUCTION, *_table(['folder', 'method', 'paper', 'idea', 'state', metrics_title], methods), '']
    lines += ['## Configs', '', *_table(['config', 'parameters M', 'GMAC, conv + linear', 'with attention'], configs)]
    return '\n'.join(lines) + '\n'
