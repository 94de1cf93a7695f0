"""Decode everything in a data set and report every file that is not what its task declares."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmmtl.datasets.preparation.prepare import data_sets, for_every_sample
from mmmtl.utils.files import write_atomically

from .base import MTLDataset
from .statistics import DatasetValues, LabelValues, empty_values


@dataclass(frozen=True)
class Fault:
    """One bad file.

    Attributes:
        sample_id: The sample.
        task: The task, or ``'image'``.
        message: File, expected and found.
    """

    sample_id: str
    task: str
    message: str


@dataclass
class Report:
    """What was found in a data set.

    Attributes:
        samples: Number of samples looked at.
        decoded: Labels that are in order, per task.
        absent: Samples without a label, per task.
        blank: Labels in order without a single known pixel, per task.
        faults: Bad files.
        values: What the labels in order hold.
    """

    values: DatasetValues

    samples: int = 0
    decoded: Counter = field(default_factory=Counter)
    absent: Counter = field(default_factory=Counter)
    blank: Counter = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{self.samples} samples']
        bad = Counter(fault.task for fault in self.faults)
        for task in ['image', *sorted((set(self.decoded) | set(self.absent) | set(bad)) - {'image'})]:
            parts = [f'{self.decoded[task]} in order', f'{bad[task]} bad']
            parts += [f'{self.absent[task]} without a label'] if self.absent[task] else []
            parts += [f'{self.blank[task]} without a known pixel'] if self.blank[task] else []
            lines.append(f'  {task}: {", ".join(parts)}')
        lines += [f"sample '{f.sample_id}', {f.task}: {f.message}" for f in self.faults]
        return '\n'.join(lines)


def _verify(dataset: MTLDataset, index: int) -> tuple[str, dict[str, str], list[Fault], dict[str, LabelValues]]:
    """State of the image and of every label of one sample (in order, blank, absent or bad), and what they hold."""
    info = dataset.get_data_info(index)
    sample_id, states, faults = info['sample_id'], {}, []
    visible = dataset.visible(index)
    values: dict[str, LabelValues] = {}

    def fail(task: str, error: Exception) -> None:
        states[task] = 'bad'
        faults.append(Fault(sample_id, task, str(error)))

    try:
        with dataset.files_of(info):
            info['img_size'] = dataset.load_image(info).shape[:2]
            if dataset.gives_pairs():
                dataset.load_next_image(info)
        states['image'] = 'in order'
    except (ValueError, OSError) as error:
        fail('image', error)
    for name, task in dataset.tasks.items():
        if name not in visible:
            states[name] = 'absent'
            continue
        try:
            label = dataset.load_label(info, name)
        except (ValueError, OSError) as error:
            fail(name, error)
            continue
        if label is None:
            states[name] = 'absent'
            continue
        values[name] = LabelValues.of(task, label)
        states[name] = 'blank' if values[name].blank else 'in order'
    return sample_id, states, faults, values


def verify_dataset(dataset: MTLDataset, workers: int = 0, progress: bool = True) -> Report:
    """Decode the image and every visible label of every sample.

    Args:
        dataset: The data set; with ``FullLabels`` (the default) every label that exists is looked at.
        workers: Processes; 0 for none.
        progress: Show a progress bar.
    """
    report = Report(empty_values(dataset))
    for _, states, faults, values in for_every_sample(dataset, _verify, workers, progress, 'verifying'):
        report.samples += 1
        report.faults += faults
        report.values.add(values)
        for task, state in states.items():
            if state in ('in order', 'blank'):
                report.decoded[task] += 1
                report.blank[task] += state == 'blank'
            elif state == 'absent':
                report.absent[task] += 1
    return report


def verify_command(
    cfg: Mapping[str, Any],
    splits: Sequence[str],
    workers: int = 0,
    out: str | None = None,
    statistics: str | None = None,
) -> int:
    """Verify the data sets of a config and print a report of each.

    Args:
        cfg: A config with data loaders.
        splits: Of ``train``, ``val``, ``test``.
        workers: Processes; 0 for none.
        out: JSON file to write the faults to.
        statistics: Folder for pictures of what the labels hold.

    Returns:
        The number of faults.
    """
    listed: list[dict[str, str]] = []
    warned = 0
    for number, (split, dataset) in enumerate(data_sets(cfg, splits)):
        report = verify_dataset(dataset, workers)
        print(f'{split}: {type(dataset).__name__}, {report}')
        print(report.values.table())
        if statistics:
            print(report.values.draw(str(Path(statistics, f'{split}_{number}.png'))))
        remarks = dataset.remarks + report.values.warnings()
        warned += len(remarks)
        print(''.join(f'warning: {line}\n' for line in remarks), end='')
        listed += [dict(split=split, sample_id=f.sample_id, task=f.task, message=f.message) for f in report.faults]
    if out:
        write_atomically(out, json.dumps(listed, indent=1) + '\n')
    state = f'{len(listed)} bad files' if listed else 'every file is in order'
    print(state + (f', {warned} warnings (see above)' if warned else ''))
    return len(listed)
