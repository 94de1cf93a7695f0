"""A study: several networks, trained and evaluated alike with several seeds, and their table with Δm."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from tqdm import tqdm

from mmmtl.apis.runs import VAL_SECTIONS
from mmmtl.apis.test import test
from mmmtl.apis.train import train
from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError, suggest
from mmmtl.evaluation.functional.delta_m import delta_m, mean_and_std
from mmmtl.evaluation.metrics.references import greater_is_better_of, primary_metric_of, read_metrics
from mmmtl.registry import DATASETS
from mmmtl.tasks import build_tasks
from mmmtl.utils.files import read_json, write_atomically, write_json
from mmmtl.utils.tables import markdown_table
from mmmtl.version import __version__

from .study_costs import costs_rows, delta_interval, plot_gains, row_costs
from .study_runs import kept_runs, restore_runs, settings_of


@dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    Attributes:
        name: Name of its folder.
        row: Name of the row it belongs to.
        seed: Seed.
        config: Config file.
        options: Changes of the config.
    """

    name: str
    row: str
    seed: int
    config: str
    options: dict[str, Any] = field(hash=False)


@dataclass
class Study:
    """What ``study = dict(...)`` of a config says.

    Attributes:
        title: Heading of the table.
        about: What was done, in a paragraph or two.
        rows: ``{name: dict(config=..., options=..., per_task=False)}``; paths relative to the study's file. ``per_task``: one
            network for each task, which sees only the images that have its label; together they make the row.
        reference: The row that Δm compares with.
        seeds: A run of every row for each.
        options: Changes of every config.
        label_sampler: Draws the labels, once for all runs; None: the configs say which there are.
        remarks: What is to be said about the outcome, below the first table.
        costs: Also tell what the rows cost, and draw Δm against it.
        folder: Where the file lies.
    """

    title: str
    rows: dict[str, dict[str, Any]]
    reference: str
    about: str = ''
    seeds: Sequence[int] = (0, 1, 2)
    options: dict[str, Any] = field(default_factory=dict)
    label_sampler: dict[str, Any] | None = None
    remarks: str = ''
    costs: bool = False
    folder: Path = Path()

    def config_of(self, row: str) -> str:
        """Config file of a row."""
        config = self.rows[row]['config']
        return config if '::' in config else str((self.folder / config).resolve())

    def options_of(self, row: str) -> dict[str, Any]:
        """Changes of a row's config."""
        return {**self.options, **self.rows[row].get('options', {})}

    def tasks(self) -> dict[str, Any]:
        """Task objects of the first row."""
        first = next(iter(self.rows))
        return build_tasks(load_config(self.config_of(first), self.options_of(first)).tasks)

    def runs(self, work_dir: Path) -> list[Run]:
        """All runs, seed by seed."""
        planned = []
        shared = {'label_map': str(work_dir.resolve() / 'labels.json')} if self.label_sampler else {}
        for seed in self.seeds:
            for row, content in self.rows.items():
                options = {**shared, **self.options_of(row)}
                if not content.get('per_task'):
                    planned.append(Run(f'{_slug(row)}_seed{seed}', row, seed, self.config_of(row), options))
                    continue
                for task in self.tasks():
                    own = {**options, 'only_tasks': [task], 'train_dataloader.dataset.drop_unlabelled': True}
                    planned.append(Run(f'{_slug(row)}_{task}_seed{seed}', row, seed, self.config_of(row), own))
        return planned


def _slug(name: str) -> str:
    return '-'.join(''.join(c if c.isalnum() else ' ' for c in name.lower()).split())


def read_study(path: str) -> Study:
    """Read a study's file.

    Raises:
        FileNotFoundError: There is none.
        ConfigError: It holds no study, or one with unknown or missing entries.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'there is no study {path}')
    content = Config.fromfile(path).get('study')
    if content is None:
        raise ConfigError(f"{path} holds no 'study = dict(...)'")
    content = content.to_dict()
    known = set(Study.__dataclass_fields__) - {'folder'}
    for name in content:
        if name not in known:
            raise ConfigError(f"{path}: study has no entry '{name}'.{suggest(name, known)}")
    missing = [name for name in ('title', 'rows', 'reference') if name not in content]
    if missing:
        raise ConfigError(f'{path}: study lacks {missing}')
    if content['reference'] not in content['rows']:
        near = suggest(content['reference'], content['rows'])
        raise ConfigError(f"{path}: reference '{content['reference']}' is none of the rows.{near}")
    check_rows(content['rows'], content.get('seeds', Study.seeds), path)
    return Study(**content, folder=Path(path).resolve().parent)


def check_rows(rows: Mapping[str, Any], seeds: Sequence[Any], path: str) -> None:
    """See that every row says what it trains, and that every run has a folder of its own.

    Raises:
        ConfigError: An unknown or missing entry of a row, two rows of nearly one name, seeds that repeat or are none.
    """
    folders: dict[str, str] = {}
    for row, content in rows.items():
        for name in [name for name in content if name not in ('config', 'options', 'per_task')]:
            raise ConfigError(
                f"{path}: rows['{row}'] has no entry '{name}'.{suggest(name, ('config', 'options', 'per_task'))}"
            )
        if not isinstance(content.get('config'), str):
            raise ConfigError(f"{path}: rows['{row}'] lacks config, a config's file")
        other = folders.setdefault(_slug(row), row)
        if other != row or not _slug(row):
            raise ConfigError(f"{path}: rows '{other}' and '{row}' would share the folder '{_slug(row)}': rename one")
    if not seeds or len(set(seeds)) < len(seeds) or not all(isinstance(seed, int) for seed in seeds):
        raise ConfigError(f'{path}: seeds must be different whole numbers, at least one, got {list(seeds)}')


def draw_labels(study: Study, work_dir: Path) -> None:
    """Write which image has which label, once for all runs."""
    path, note = work_dir / 'labels.json', work_dir / 'label_sampler.json'
    if study.label_sampler is None:
        return
    if path.is_file() and (not note.is_file() or read_json(note) == json.loads(json.dumps(study.label_sampler))):
        return
    if path.is_file():
        raise ConfigError(
            f'{path} holds labels drawn by {read_json(note)}, and the study draws them by {study.label_sampler}: name another '
            '--work-dir'
        )
    first = next(iter(study.rows))
    cfg = load_config(study.config_of(first), study.options_of(first))
    dataset = dict(cfg.train_dataloader.dataset, label_sampler=study.label_sampler, label_map_out=str(path))
    write_json(note, study.label_sampler)
    DATASETS.build(dataset)


def execute(run: Run, work_dir: Path) -> None:
    """Train (going on where it was cut off) and evaluate, in this process."""
    folder = work_dir / run.name
    cfg = load_config(run.config, run.options)
    for section in VAL_SECTIONS:
        cfg[section] = None
    train(cfg, str(folder), resume=True, seed=run.seed)
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    test(cfg, checkpoint, str(folder))


def run_study(
    path: str, work_dir: str, jobs: int = 1, command: Sequence[str] = (), out: str | None = None
) -> list[str]:
    """Do all runs that are not done yet, each in a process of its own.

    Args:
        path: The study's file.
        work_dir: A folder per run; what is there already is not done again.
        jobs: Runs at a time; the machine's cores are shared among them.
        command: Command line that executes one run; its name is appended.
        out: The table's file, if there is one: runs that lie beside it are not done again.

    Returns:
        Names of the runs that failed; ``run.log`` in their folders says why.

    Raises:
        ConfigError: When a folder holds a run of another config or with other options.
    """
    study, root = read_study(path), Path(work_dir)
    root.mkdir(parents=True, exist_ok=True)
    draw_labels(study, root)
    if out is not None:
        restore_runs(study, root, out)
    runs = study.runs(root)
    for run in runs:
        claim(run, root)
    open_runs = [run for run in runs if not _is_done(run, root)]
    done = tqdm(total=len(runs), initial=len(runs) - len(open_runs), desc='runs', unit='run')

    def spawn(run: Run) -> str | None:
        succeeded = run_apart(run.name, root, command, jobs)
        done.update()
        return None if succeeded else run.name

    with ThreadPoolExecutor(jobs) as pool, done:
        failed = [name for name in pool.map(spawn, open_runs) if name]
    return failed


def run_apart(name: str, root: Path, command: Sequence[str], jobs: int = 1) -> bool:
    """Execute a run in a process of its own, which writes ``run.log``.

    Args:
        name: Of the run, and of its folder in ``root``.
        root: Work dir.
        command: Command line that executes one run; its name is appended.
        jobs: Among how many runs the machine's cores are shared.

    Returns:
        Whether it succeeded.
    """
    threads = str(max((os.cpu_count() or 1) // jobs, 1))
    environment = {**os.environ, 'OMP_NUM_THREADS': threads, 'MKL_NUM_THREADS': threads}
    start = time.time()
    with open(root / name / 'run.log', 'ab') as log:
        code = subprocess.call([*command, name], stdout=log, stderr=subprocess.STDOUT, env=environment)
    if code == 0:
        times = root / name / 'seconds.json'
        spent = json.loads(times.read_text()) if times.is_file() else 0
        write_json(str(times), spent + time.time() - start)
    return code == 0


def _is_done(run: Run, root: Path) -> bool:
    return (root / run.name / 'metrics.json').is_file()


def claim(run: Run, root: Path) -> None:
    """Make a run's folder, or see that it is this run's."""
    path = root / run.name / 'run.json'
    wanted = settings_of(run)
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        write_json(str(path), wanted)
        return
    found = {'folder': wanted['folder'], **json.loads(path.read_text())}
    if found != wanted:
        changed = sorted(
            k for k in {*found['options'], *wanted['options']} if found['options'].get(k) != wanted['options'].get(k)
        )
        raise ConfigError(
            f'{path.parent} holds a run with other options ({", ".join(changed) or "another config"}): '
            'delete it, or name another --work-dir'
        )


def study_table(path: str, work_dir: str, out: str | None = None) -> str:
    """The table of what is done: mean ± standard deviation over seeds of every metric, and Δm, as Markdown.

    Args:
        path: The study's file.
        work_dir: Where its runs are.
        out: Markdown file to write; the numbers and the runs go beside it as JSON, and with ``costs`` a plot as SVG.
            Runs that lie there already count too.
    """
    study, root = read_study(path), Path(work_dir)
    tasks = study.tasks()
    if out is not None:
        restore_runs(study, root, out)
    primary_metrics = [f'{name}/{primary_metric_of(task)}' for name, task in tasks.items()]
    unknown = dict.fromkeys(primary_metrics, math.nan)  # of a run without a known pixel of a task
    rows = {row: [{**unknown, **run} for run in runs] for row, runs in _metrics(study, root).items() if runs}
    better = {h: t.greater_is_better for h, t in zip(primary_metrics, tasks.values())}
    reference = (
        {h: mean_and_std([run[h] for run in rows[study.reference]])[0] for h in primary_metrics}
        if (study.reference in rows)
        else {}
    )
    gains, intervals = {}, {}
    if reference and all(reference.values()):
        gains = {row: [delta_m(run, reference, better).value for run in runs] for row, runs in rows.items()}
        intervals = {row: delta_interval(runs, rows[study.reference], better) for row, runs in rows.items()}
    lines = [f'# {study.title}', '', study.about.strip(), '']
    marks = [f'{h} {"↑" if better[h] else "↓"}' for h in primary_metrics]
    table = markdown_table(
        ['', *marks, 'Δm % ↑', '95 % of Δm'],
        [
            [
                row,
                *(_cell([run[h] for run in runs]) for h in primary_metrics),
                _cell(gains[row], 2, row != study.reference) if row in gains else '-',
                '{:+.2f} .. {:+.2f}'.format(*intervals[row]) if row in gains and row != study.reference else '-',
            ]
            for row, runs in rows.items()
        ],
        right=range(1, len(marks) + 3),
    )
    lines += [table, *['', study.remarks.strip()] * bool(study.remarks)]
    if study.costs:
        header, cells = costs_rows(study, root, list(rows))
        lines += ['', markdown_table(header, cells, right=range(1, len(header)))]
    others = sorted({f for runs in rows.values() for run in runs for f in run} - set(primary_metrics) - {'delta_m'})
    order = [f for name in tasks for f in others if f.rpartition('/')[0] == name]
    greater_is_better, arrows = greater_is_better_of(order), {'True': '↑', 'False': '↓'}
    table = markdown_table(
        ['', *rows],
        [
            [
                f'{f} {arrows.get(str(greater_is_better.get(f)), "")}',
                *(_cell([run[f] for run in runs if f in run]) for runs in rows.values()),
            ]
            for f in order
        ],
        right=range(1, len(rows) + 1),
    )
    lines += ['', 'Every other metric:', '', table, '', _circumstances(study, root, rows)]
    text = '\n'.join(lines) + '\n'
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
        content: dict[str, Any] = dict(metrics=rows, delta_m=gains, intervals=intervals, runs=kept_runs(study, root))
        if study.costs:
            content['costs'] = {row: row_costs(study, root, row) for row in rows}
            plot_gains(gains, intervals, content['costs'], Path(out).with_suffix('.svg'))
        write_json(str(Path(out).with_suffix('.json')), content)
    return text


def _metrics(study: Study, root: Path) -> dict[str, list[dict[str, float]]]:
    """Per row the metrics of every seed whose runs are all done."""
    found: dict[str, list[dict[str, float]]] = {row: [] for row in study.rows}
    parts: dict[tuple[str, int], list[Run]] = {}
    for run in study.runs(root):
        parts.setdefault((run.row, run.seed), []).append(run)
    for (row, _), runs in parts.items():
        if all(_is_done(run, root) for run in runs):
            merged: dict[str, float] = {}
            for run in runs:
                claim(run, root)
                merged.update(read_metrics(str(root / run.name)))
            found[row].append(merged)
    return found


def _cell(values: Sequence[float], digits: int = 4, sign: bool = False) -> str:
    if not values:
        return '-'
    mean, deviation = mean_and_std(list(values))
    return f'{mean:{"+" if sign else ""}.{digits}f} ± {deviation:.{digits}f}'


def _circumstances(study: Study, root: Path, rows: Mapping[str, Sequence[Any]]) -> str:
    seconds = [json.loads(p.read_text()) for p in root.glob('*/seconds.json')]
    seeds = ', '.join(f'{row} {len(runs)}' for row, runs in rows.items())
    options = ', '.join(f'{k}={v}' for k, v in study.options.items())
    return (
        f'Mean ± standard deviation over seeds (number of seeds: {seeds}). Δm: mean relative gain over the row '
        f'"{study.reference}" by the first table\'s metrics, with its bootstrap interval over seeds. '
        f'Options of all runs: {options or "none"}. '
        f'mmmtl {__version__}, torch {torch.__version__}, {platform.machine()}, {len(seconds)} runs, '
        f'{sum(seconds) / 60:.0f} minutes of run time in all.'
    )


def main_of_run(path: str, work_dir: str, name: str) -> None:
    """Execute the run of that name."""
    root = Path(work_dir)
    runs = {run.name: run for run in read_study(path).runs(root)}
    if name not in runs:
        raise ConfigError(f"{path} has no run '{name}'.{suggest(name, runs)}")
    execute(runs[name], root)
