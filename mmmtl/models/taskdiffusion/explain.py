"""What TaskDiffusion saw while it denoised (paper, figures 3, 5 and 6), recorded by hooks on its modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mmmtl.models.layers.conv_block import on_grid
from mmmtl.structures import Explanation
from mmmtl.tasks import Task

from .denoiser import TaskRelation


@dataclass
class Step:
    """What one denoising step saw and gave.

    Attributes:
        noisy: Cross-task map z_t (B, z, h, w) that it starts from.
        relation: Per level, A_i (B, S, S, h, w): target, source; empty without relation maps.
        raw: ``{task: k_s (B, C, h, w)}``.
    """

    noisy: Tensor
    relation: list[Tensor] = field(default_factory=list)
    raw: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def recorded_steps(decoder: Any) -> Iterator[list[Step]]:
    """Within it, every pass of a TaskDiffusion decoder appends a :class:`Step` to the list."""
    steps: list[Step] = []

    def watch_branch(name: str, branch: nn.Module) -> Any:
        return branch.register_forward_hook(lambda module, args, raw: steps[-1].raw.update({name: raw}))

    hooks = [decoder.denoiser.register_forward_pre_hook(lambda module, args: steps.append(Step(args[0])))]
    hooks += [
        module.register_forward_hook(lambda module, args, relation: steps[-1].relation.append(relation))
        for module in decoder.denoiser.modules()
        if isinstance(module, TaskRelation)
    ]
    hooks += [watch_branch(name, branch) for name, branch in decoder.branches.items()]
    try:
        yield steps
    finally:
        for hook in hooks:
            hook.remove()


def explain_sampling(
    decoder: Any, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], targets: Mapping | None
) -> list[Explanation]:
    """Predict, and show the steps; of several repeats the first. Arguments as in ``TaskDiffusionDecoder.explain``."""
    with recorded_steps(decoder) as steps:
        decoder.predict(feats, noise, size)
    steps = steps[: len(decoder.step_times)]
    tasks: Mapping[str, Task] = decoder.tasks
    grid = (steps[0].noisy.shape[2], steps[0].noisy.shape[3])
    titles = [f'step {k + 1} (t = {time:.2f})' for k, (time, _) in enumerate(decoder.step_times)]
    small = [{n: on_grid(tasks[n].bound(x.float()), grid) for n, x in step.raw.items()} for step in steps]
    encoded = [decoder.label_encoder.encode_logits(raw) for raw in small]
    explanations = [
        Explanation(
            'cross_task_map',
            'Cross-task map',
            'features',
            ['noisy map', 'from predictions'],
            titles,
            [[step.noisy for step in steps], encoded],
            note='above what a step starts from, below what the label encoder makes of its predictions; '
            'colours: three principal components, common to a row, every map at the same spread',
        ),
        Explanation(
            'step_predictions',
            'Predictions while denoising',
            'prediction',
            list(tasks),
            titles,
            [[task.predict(step.raw[name].float()) for step in steps] for name, task in tasks.items()],
            note="on the decoder's small grid in all steps but the last",
        ),
        *_relation_masks(list(tasks), steps),
    ]
    if targets:
        labels = decoder.label_encoder.encode_labels(targets, len(feats[0]), grid)
        explanations.append(
            Explanation(
                'label_map',
                'Cross-task map of the labels',
                'features',
                ['cross-task map'],
                ['of the labels', 'of the last predictions'],
                [[labels, encoded[-1]]],
                note='what the label encoder makes of ground truth and prediction; tasks without a label are unknown in '
                'the left map; colours: three principal components, common to both',
            )
        )
    return explanations


def _relation_masks(names: list[str], steps: Sequence[Step]) -> Iterator[Explanation]:
    """The task-relation masks of every level."""
    count = range(len(names))
    for level in range(len(steps[0].relation)):
        masks = [step.relation[level] for step in steps]
        yield Explanation(
            f'task_relation_level_{level + 1}',
            f'Task-relation masks, level {level + 1}',
            'share',
            names,
            [f'step {k + 1}' for k in range(len(steps))],
            [[mask[:, target, source, None] for source in count for mask in masks] for target in count],
            groups=[f'from {name}' for name in names],
            note='how much a task (row) takes from another (group of columns) at every place',
        )
