"""One task per optimiser step: the batch sampler that isolates the gradients of tasks (StableMTL, section 3.2).

Every batch holds samples of one dataset with the label of one task; all batches that are accumulated into one optimiser
step share the task. There is no surgery on gradients: what a step does not train gets none.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import BatchSampler, RandomSampler, Sampler

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import DATA_SAMPLERS

from .samplers import SampleIndex, permutation


class TaskIndex(SampleIndex):
    """A sample index that also says which labels are wanted; the others are not opened.

    Args:
        index: The index, >= 0.
        draw: Position in the stream over all ranks, >= 0.
        tasks: Names of the tasks whose labels are wanted.
    """

    tasks: tuple[str, ...]

    def __new__(cls, index: int, draw: int, tasks: Sequence[str] = ()) -> TaskIndex:
        self: TaskIndex = super().__new__(cls, index, draw)  # type: ignore[assignment]
        self.tasks = tuple(tasks)
        return self

    def __getnewargs__(self) -> tuple[int, int, tuple[str, ...]]:  # type: ignore[override]
        return int(self), self.draw, self.tasks

    def __sub__(self, other: int) -> TaskIndex:
        return TaskIndex(int(self) - int(other), self.draw, self.tasks)

    def __mod__(self, other: int) -> TaskIndex:
        return TaskIndex(int(self) % int(other), self.draw, self.tasks)

    def __repr__(self) -> str:
        return f'TaskIndex({int(self)}, draw={self.draw}, tasks={self.tasks})'


class _Entry:
    """The samples of one dataset that have the label of one task.

    Args:
        task: The task.
        dataset: Number of the dataset.
        indices: (n,) indices into the dataset; they may be mapped from a file.
        first: Index of the dataset's first sample in the whole.
        share: Weight in the draw of a dataset for this task.
    """

    def __init__(self, task: str, dataset: int, indices: np.ndarray, first: int, share: float) -> None:
        self.task, self.dataset, self.indices, self.first, self.share = task, dataset, indices, first, share


def _labelled(dataset: Any, task: str) -> np.ndarray:
    """Indices of the samples that have the task's label."""
    return dataset.labelled(task) if hasattr(dataset, 'labelled') else np.arange(len(dataset))


@DATA_SAMPLERS.register_module()
class TaskCycleBatchSampler(Sampler):
    """An endless stream of batches of one task and one dataset each, that can be entered at any position.

    The task changes after ``accumulation`` batches. The dataset is drawn for every batch among those that label the
    task. A batch's samples are the next ones of that (task, dataset)'s shuffled passes, dealt to the ranks in blocks: all
    ranks train the same task at the same time, and see different samples. Where the training loop adds up several
    batches of every rank in an iteration (:meth:`deal`), these are the blocks that more ranks would have had.

    The stream is fixed by the seed; :class:`~mmmtl.engine.loops.ResumableTrainLoop` sets where it starts.

    Args:
        sampler: What mmengine has built from the dataset: a ``ResumableSampler``, of which the dataset and, by
            default, the seed are used.
        batch_size: Samples per batch and rank.
        accumulation: Batches per optimiser step: ``optim_wrapper.accumulative_counts``.
        order: ``cycle``: task after task, in the order of their first appearance in the datasets; ``uniform``: a random
            task for every optimiser step.
        tasks: The tasks of the cycle, in order; default: all.
        shares: ``{task: [weight per dataset that labels it]}``; default: those of the dataset, else equal weights.
        seed: The same on all ranks; None takes the sampler's, or draws one and agrees on it.
        published: Draw as the released program does: one torch generator per rank, seeded with ``seed`` + rank, whole
            batches popped from the end of lists. Resuming there replays the draws.
        dataset: The dataset, in place of ``sampler``.

    Raises:
        ConfigError: A task without a labelled sample, or weights that do not fit.
    """

    def __init__(
        self,
        sampler: Any = None,
        batch_size: int = 1,
        accumulation: int = 1,
        order: str = 'cycle',
        tasks: Sequence[str] | None = None,
        shares: Mapping[str, Sequence[float]] | None = None,
        seed: int | None = None,
        published: bool = False,
        dataset: Any = None,
        drop_last: bool = False,
    ) -> None:
        if order not in ('cycle', 'uniform'):
            raise ConfigError(
                f"TaskCycleBatchSampler: order must be 'cycle' or 'uniform', got {order!r}."
                f'{suggest(order, ("cycle", "uniform"))}'
            )
        if batch_size < 1 or accumulation < 1:
            raise ConfigError(
                f'TaskCycleBatchSampler: batch_size and accumulation must be at least 1, got '
                f'{batch_size} and {accumulation}'
            )
        self.sampler, self.batch_size, self.accumulation, self.order = sampler, batch_size, accumulation, order
        self.published = published
        self.rank, self.world_size = get_dist_info()
        seed = getattr(sampler, 'seed', None) if seed is None else seed
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.start, self.shares_of_rank = 0, 1
        dataset = getattr(sampler, 'dataset', None) if dataset is None else dataset
        if dataset is None:
            raise ConfigError(
                f'TaskCycleBatchSampler: {type(sampler).__name__} does not say what its dataset is: use '
                f"sampler=dict(type='ResumableSampler')"
            )
        self.entries = self._entries(dataset, tasks, dict(shares or {}))
        self.tasks = list(dict.fromkeys(entry.task for entry in self.entries))

    # ---- what there is to draw from --------------------------------------------------------------------------------
    @staticmethod
    def _entries(dataset: Any, tasks: Sequence[str] | None, shares: dict) -> list[_Entry]:
        parts = list(getattr(dataset, 'datasets', [dataset]))
        offsets = [0, *itertools.accumulate(len(part) for part in parts)]
        known = list(dict.fromkeys(task for part in parts for task in part.tasks))
        wanted = known if tasks is None else list(tasks)
        for name in [*wanted, *shares]:
            if name not in known:
                raise ConfigError(
                    f"TaskCycleBatchSampler: '{name}' is not a task of the dataset ({known}).{suggest(name, known)}"
                )
        entries = []
        for task in wanted:
            found = [(n, _labelled(part, task)) for n, part in enumerate(parts) if task in part.tasks]
            found = [(n, own) for n, own in found if len(own)]
            given = getattr(dataset, 'weights', None) or [1.0] * len(parts)
            weights = list(shares.get(task, [given[n] for n, _ in found]))
            if not found:
                raise ConfigError(f"TaskCycleBatchSampler: no sample is labelled for task '{task}'")
            if len(weights) != len(found) or min(weights) < 0 or sum(weights) <= 0:
                raise ConfigError(
                    f"TaskCycleBatchSampler: shares['{task}'] = {weights}, but {len(found)} datasets "
                    f'label it: give one weight >= 0 for each'
                )
            entries += [_Entry(task, n, own, offsets[n], float(w)) for (n, own), w in zip(found, weights)]
        return entries

    def deal(self, batch_size: int, accumulation: int = 1) -> None:
        """Give every rank ``accumulation`` blocks of each batch, one after the other.

        Raises:
            ConfigError: The published stream, which has one block for each rank.
        """
        if self.published and accumulation > 1:
            raise ConfigError(
                'TaskCycleBatchSampler: published=True draws one batch per rank and step; accumulation is 1'
            )
        self.shares_of_rank = accumulation

    @property
    def samples(self) -> int:
        """int: Samples of a batch over all ranks."""
        return self.batch_size * self.world_size * self.shares_of_rank

    def set_start(self, position: int) -> None:
        """Let the next iteration begin at this position (samples of all ranks together), >= 0."""
        if position < 0:
            raise ValueError(f'the start of a TaskCycleBatchSampler must be >= 0, got {position}')
        self.start = int(position)

    def __len__(self) -> int:
        """Batches of one pass over every (task, dataset); the stream itself has no end."""
        return sum(max(1, len(e.indices) // self.samples) for e in self.entries)

    def task_of(self, batch: int) -> str:
        """The task of a batch by its number since the start of training."""
        step = batch // max(1, self.accumulation // self.shares_of_rank)
        if self.order == 'cycle':
            return self.tasks[step % len(self.tasks)]
        return self.tasks[int(np.random.default_rng([self.seed, 1, step]).integers(len(self.tasks)))]

    def _choices(self, task: str) -> tuple[list[int], np.ndarray]:
        """Entries of a task and their probabilities."""
        own = [i for i, entry in enumerate(self.entries) if entry.task == task]
        weights = np.array([self.entries[i].share for i in own])
        return own, weights / weights.sum()

    # ---- the stream ------------------------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[list[TaskIndex]]:
        first = self.start // self.samples
        return itertools.islice(self._published(), first, None) if self.published else self._own(first)

    def _entry_of(self, batch: int, choices: Mapping[str, tuple[list[int], np.ndarray]]) -> int:
        """The entry that a batch is taken from: the same on all ranks."""
        own, weights = choices[self.task_of(batch)]
        if len(own) == 1:
            return own[0]
        point = np.random.default_rng([self.seed, 2, batch]).random()
        return own[min(bisect_right(np.cumsum(weights).tolist(), point), len(own) - 1)]

    def _own(self, first: int) -> Iterator[list[TaskIndex]]:
        """Batches from number ``first`` on; what came before costs its draws only."""
        choices = {task: self._choices(task) for task in self.tasks}
        taken = [0] * len(self.entries)
        orders: dict[int, tuple[int, Any]] = {}
        for batch in itertools.count():
            chosen = self._entry_of(batch, choices)
            begin = taken[chosen] * self.samples
            taken[chosen] += 1
            if batch < first:
                continue
            entry = self.entries[chosen]
            for share in range(self.shares_of_rank):
                block, indices = (share * self.world_size + self.rank) * self.batch_size, []
                for place in range(block, block + self.batch_size):
                    passes, offset = divmod(begin + place, len(entry.indices))
                    if orders.get(chosen, (-1,))[0] != passes:
                        order = permutation(len(entry.indices), self.seed, 3, chosen, passes)
                        orders[chosen] = (passes, order)
                    index = entry.first + int(entry.indices[orders[chosen][1][offset]])
                    indices.append(TaskIndex(index, batch * self.samples + place, (entry.task,)))
                yield indices

    def _published(self) -> Iterator[list[TaskIndex]]:
        """The stream of the released program, from its start."""
        generator = torch.Generator().manual_seed(self.seed + self.rank)

        def batches(entry: _Entry) -> list[list[int]]:
            # exhausting a RandomSampler draws a second permutation, and the program's next draws depend on it
            order = RandomSampler(entry.indices, generator=generator)  # type: ignore[arg-type]
            lists = list(BatchSampler(order, self.batch_size, drop_last=True))
            if not lists:
                raise ConfigError(
                    f"TaskCycleBatchSampler: {len(entry.indices)} samples of task '{entry.task}' do not "
                    f'fill a batch of {self.batch_size}'
                )
            return [[entry.first + int(entry.indices[i]) for i in part] for part in lists]

        stacks = [batches(entry) for entry in self.entries]
        for batch in itertools.count():
            if self.order == 'cycle':
                task = self.task_of(batch)
            else:
                task = self.tasks[int(torch.randint(len(self.tasks), (1,), generator=generator))]
            own, weights = self._choices(task)
            drawn = torch.multinomial(torch.tensor(weights, dtype=torch.float32), 1, True, generator=generator)
            chosen = own[int(drawn)]
            if not stacks[chosen]:
                stacks[chosen] = batches(self.entries[chosen])
            first = batch * self.samples + self.rank * self.batch_size
            yield [TaskIndex(index, first + i, (task,)) for i, index in enumerate(stacks[chosen].pop())]
