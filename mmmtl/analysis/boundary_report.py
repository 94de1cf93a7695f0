"""The boundary command: folders in, a table out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.boundary.evaluate import even_thresholds, protocol_settings
from mmmtl.evaluation.functional.image_list import read_image_list
from mmmtl.utils.files import write_json

from .boundary_files import BoundaryCounts, evaluate_folder, sources_of


def evaluate_command(
    pred_dir: str | None = None,
    gt_dir: str | None = None,
    protocol: str = 'atrc',
    max_dist: float = 0.0075,
    thresholds: int | None = None,
    nms: bool | None = None,
    labels: str = 'contours',
    image_list: str | None = None,
    counts: str | None = None,
    merge: Sequence[str] | None = None,
    published_counts: str | None = None,
    out: str | None = None,
    processes: int | None = None,
) -> str:
    """Evaluate a folder and return the table; ``tools/analysis_tools/eval_boundary.py --help`` has the arguments.

    Raises:
        ConfigError: A setting is wrong, or there are neither two folders nor published counts, or both.
    """
    if [pred_dir is None, gt_dir is None] != [published_counts is not None] * 2:
        raise ConfigError(
            f'give PRED_DIR and GT_DIR, or --published-counts DIR in their place; got pred_dir={pred_dir}, '
            f'gt_dir={gt_dir}, published_counts={published_counts}'
        )
    try:
        levels = even_thresholds(thresholds) if thresholds is not None else None
        settings = protocol_settings(protocol, max_dist=max_dist, thresholds=levels, nms=nms)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    before = BoundaryCounts(settings)
    if counts is not None and os.path.exists(counts):
        before = before.merge(BoundaryCounts.load(counts))
    chosen = read_image_list(image_list) if image_list is not None else None
    if pred_dir is not None and gt_dir is not None:
        sources = sources_of(pred_dir, gt_dir, labels, chosen) if counts is not None else {}
        before = before.of_sources(sources)
        found = evaluate_folder(pred_dir, gt_dir, settings, labels, chosen, before.images, processes)
        found.sources.update(sources)
    else:
        found = BoundaryCounts.read_folder(str(published_counts), settings, chosen)
    if counts is not None:
        before.merge(found).save(counts)
    for path in merge or ():
        found = found.merge(BoundaryCounts.load(path))
    metrics = found.metrics()
    if out is not None:
        content = dict(metrics, protocol=protocol, max_dist=max_dist, nms=settings.nms)
        write_json(out, content)
    suppressed = 'non-maxima suppressed' if settings.nms else 'non-maxima kept'
    head = f'protocol {protocol}, {suppressed}, max_dist {max_dist:g}, {len(found.images)} images'
    return f'{head}\n{format_metrics(metrics)}'


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Metrics of :meth:`BoundaryCounts.metrics` as a table."""

    def line(name: str, row: Mapping[str, Any]) -> str:
        threshold = f'{row["threshold"]:9.6f}' if row['threshold'] is not None else ' ' * 9
        return f'{name:<4} {threshold}  {row["R"]:8.6f}  {row["P"]:9.6f}  {row["F"]:8.6f}'

    lines = ['     threshold  recall    precision  F', *(line('', row) for row in metrics['thresholds'])]
    lines += [line('ODS', metrics['ODS']), line('OIS', metrics['OIS']), f'AP   {metrics["AP"]:9.6f}']
    return '\n'.join(lines)
