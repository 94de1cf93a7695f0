"""What TaskDiffusion saw while it denoised (paper, figures 3, 5 and 6), from the trace of a sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from mmmtl.structures import Explanation
from mmmtl.tasks import Task

from .label_encoder import CrossTaskLabelEncoder


def explanations_of_trace(
    trace: Sequence[Mapping], times: Sequence[float], tasks: Mapping[str, Task], encoder: CrossTaskLabelEncoder
) -> list[Explanation]:
    """Cross-task maps and predictions per step, and the task-relation masks of every level.

    Args:
        trace: Per step, see ``TaskDiffusionDecoder.sample``.
        times: Time of every step, 1 = pure noise.
        tasks: ``{name: Task}``.
        encoder: Label encoder, which makes the cross-task map of a step's predictions.
    """
    names = list(tasks)
    columns = [f'step {k + 1} (t = {time:.2f})' for k, time in enumerate(times)]
    short = [f'step {k + 1}' for k in range(len(trace))]
    grid = tuple(trace[0]['noisy'].shape[-2:])
    small = [{n: _on_grid(tasks[n].bound(x.float()), grid) for n, x in step['raw'].items()} for step in trace]
    explanations = [
        Explanation(
            'cross_task_map',
            'Cross-task map',
            'features',
            ['noisy map', 'from predictions'],
            columns,
            [[step['noisy'] for step in trace], [encoder.encode_logits(raw) for raw in small]],
            note='above what a step starts from, below what the label encoder makes of its predictions; '
            'colours: three principal components, common to a row, every map at the same spread',
        ),
        Explanation(
            'step_predictions',
            'Predictions while denoising',
            'prediction',
            names,
            columns,
            [[task.predict(step['raw'][name].float()) for step in trace] for name, task in tasks.items()],
            note="on the decoder's small grid in all steps but the last",
        ),
    ]
    count = range(len(names))
    for level in range(len(trace[0]['relation'])):
        masks = [step['relation'][level] for step in trace]
        cells = [[mask[:, target, source, None] for source in count for mask in masks] for target in count]
        explanations.append(
            Explanation(
                f'task_relation_level_{level + 1}',
                f'Task-relation masks, level {level + 1}',
                'share',
                names,
                short,
                cells,
                groups=[f'from {name}' for name in names],
                note='how much a task (row) takes from another (group of columns) at every place',
            )
        )
    return explanations


def _on_grid(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape[-2:]) == grid else F.interpolate(x, grid, mode='bilinear', align_corners=False)
