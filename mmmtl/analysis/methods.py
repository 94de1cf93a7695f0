"""The catalogue of methods, a page out of the model index, the configs and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import load

from mmmtl.utils.shipped import configs_folder
from mmmtl.utils.tables import markdown_table

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


ZOO = """## Configs

Every shipped config: parameters and multiply-accumulates of one image of the size it is made for; metrics as the sources in
`configs/_base_/references` print them (PASCAL-Context: semseg mIoU, parts mIoU, saliency maxF, normals mErr, boundary odsF;
NYUDv2: semseg mIoU, depth RMSE, or absErr with 13 classes, normals mErr, boundary odsF; Cityscapes: semseg mIoU, depth
absErr; with the printed Δm); the checkpoint that the authors publish, which is not part of this package, the size of its
network in float32, the licence that the authors' program states, and the command that reads the file.
"""


@cache
def published_rows(table: str) -> tuple[list[str], list[int], dict[str, list[float]]]:
    """Columns, decimals and rows of a file of ``configs/_base_/references``: metrics, and where it is printed Δm."""
    content = Config.fromfile(configs_folder() / '_base_' / 'references' / f'{table}.py')
    found = content.get('single_task_reference') or content.published_rows
    return list(found.columns), list(found.decimals), {name: list(row) for name, row in found.rows.items()}


def published_metrics() -> tuple[list[str], dict[str, list[float]]]:
    """Columns and rows of the papers' common table."""
    columns, _, rows = published_rows('pascal_vitl')
    return columns, rows


def _published_metrics(model: Mapping[str, Any]) -> str:
    """What is published of a config, as text."""
    if 'Metrics' not in model:
        return '-'
    table, _, row = model['Metrics'].partition('/')
    columns, decimals, rows = published_rows(table)
    values = rows[row]
    shown = ' / '.join(f'{x:.{n}f}' for x, n in zip(values, decimals))
    shown += f' ({values[len(columns)]:+.2f})' if len(values) > len(columns) else ''
    return shown + (', released weights' if row.endswith('released weights') else '')


def _checkpoint(folder: str, about: Mapping[str, Any], model: Mapping[str, Any], size: str) -> list[str]:
    """Published checkpoint, size, licence, and how it is converted."""
    name = model.get('Checkpoint')
    if not name:
        return ['-', '-', '-', '-']
    file = name.split()[0] if '.' in name else 'FILE'
    target = f'{model["Name"].rpartition("/")[2]}.safetensors'
    return [
        name if file == 'FILE' else f'`{name}`',
        size,
        about.get('Licence', '-'),
        f'`mmmtl convert {folder} {file} {target}`',
    ]


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
            counts, size = ['-'] * 3, '-'
            if cost:
                whole = cost['layers'] + cost['products']
                counts = [f'{cost["parameters"] / 1e6:.2f}', f'{cost["layers"] / 1e9:.1f}', f'{whole / 1e9:.1f}']
                size = f'{cost["parameters"] * 4 / 1e6:.0f} MB'
            configs.append(
                [f'`{model["Name"]}`', *counts, _published_metrics(model), *_checkpoint(folder, about, model, size)]
            )
    metrics_title = ' / '.join(columns) + ' (Δm %)'
    lines = [INTRODUCTION, markdown_table(['folder', 'method', 'paper', 'idea', 'state', metrics_title], methods), '']
    header = ['config', 'parameters M', 'GMAC, conv + linear', 'with attention', 'published metrics']
    header += ['published checkpoint', 'float32', 'licence', 'read by']
    lines += [ZOO, markdown_table(header, configs)]
    return '\n'.join(lines) + '\n'
