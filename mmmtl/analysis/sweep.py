"""A sweep: which options make a network best, searched by Optuna; every trial is a run with a folder of its own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError, NotFoundError, suggest
from mmmtl.evaluation.metrics.references import known_greater_is_better, read_metrics
from mmmtl.utils.files import read_json, write_atomically
from mmmtl.utils.optional import require
from mmmtl.utils.tables import format_table, markdown_table

from .study import Run, claim, execute, run_apart

STORAGE = 'trials.log'
"""Optuna's journal of all trials, in the work dir."""
FOLDER = 'folder'
KINDS: dict[str, tuple[set[str], set[str]]] = {
    'float': ({'low', 'high'}, {'log', 'step'}),
    'int': ({'low', 'high'}, {'log', 'step'}),
    'choice': ({'values'}, set()),
}
"""Kinds of a range: what they need, and what they may have."""


class TrialFailed(Exception):
    """The process of a trial ended with an error."""


@dataclass
class Sweep:
    """What ``sweep = dict(...)`` of a config says.

    Attributes:
        config: Config file, relative to the sweep's file.
        space: ``{option: range}``: ``dict(type='float', low=1e-4, high=1e-1, log=True)``, ``dict(type='int', low=1,
            high=4)`` or ``dict(type='choice', values=[...])``; options as in ``--cfg-options``.
        metric: ``'TASK/METRIC'`` that is to become best, on the test set.
        trials: Runs in all.
        options: Changes of every trial's config.
        sampler: ``tpe`` (learns from trials) or ``random``.
        seed: Of the sampler, and of every training.
        title: Heading of the table.
        folder: Where the file lies.
    """

    config: str
    space: dict[str, dict[str, Any]]
    metric: str
    trials: int = 20
    options: dict[str, Any] = field(default_factory=dict)
    sampler: str = 'tpe'
    seed: int = 0
    title: str = 'Sweep'
    folder: Path = Path()

    @property
    def path(self) -> str:
        """The config's path."""
        return self.config if '::' in self.config else str((self.folder / self.config).resolve())


def holds_sweep(path: str) -> bool:
    """Whether a study's file describes a sweep."""
    return os.path.isfile(path) and Config.fromfile(path).get('sweep') is not None


def read_sweep(path: str) -> Sweep:
    """Read a sweep's file.

    Raises:
        NotFoundError: There is none.
        ConfigError: An entry that is unknown, missing or out of range, an option that the config does not take.
    """
    if not os.path.isfile(path):
        raise NotFoundError(f'there is no sweep {path}')
    content = Config.fromfile(path).get('sweep')
    if not isinstance(content, ConfigDict):
        raise ConfigError(f"{path} holds no 'sweep = dict(...)'")
    known = set(Sweep.__dataclass_fields__) - {'folder'}
    for name in content:
        if name not in known:
            raise ConfigError(f"{path}: sweep has no entry '{name}'.{suggest(name, known)}")
    missing = [name for name in ('config', 'space', 'metric') if not content.get(name)]
    if missing:
        raise ConfigError(f'{path}: sweep lacks {missing}')
    sweep = Sweep(**content.to_dict(), folder=Path(path).resolve().parent)
    if sweep.sampler not in ('tpe', 'random'):
        raise ConfigError(f"{path}: sweep.sampler must be 'tpe' or 'random', got {sweep.sampler!r}")
    if not isinstance(sweep.trials, int) or sweep.trials < 1:
        raise ConfigError(f'{path}: sweep.trials must be a whole number of at least 1, got {sweep.trials!r}')
    for option, given in sweep.space.items():
        check_range(given, f"{path}: sweep.space['{option}']")
    higher_is_better(sweep.metric, path)
    first = {o: r['values'][0] if r['type'] == 'choice' else r['low'] for o, r in sweep.space.items()}
    load_config(sweep.path, {**sweep.options, **first})  # misspelt options show before the first run
    return sweep


def check_range(given: Any, where: str) -> None:
    """Raise :class:`ConfigError` unless this is a range that can be searched."""
    if not isinstance(given, Mapping) or given.get('type') not in KINDS:
        raise ConfigError(f"{where} must be a dict with type 'float', 'int' or 'choice', got {given!r}")
    needed, allowed = KINDS[given['type']]
    wrong = set(given) - needed - allowed - {'type'}
    if wrong or needed - set(given):
        raise ConfigError(
            f"{where}: a range of type '{given['type']}' has {sorted(needed)} and may have {sorted(allowed)}, got "
            f'{sorted(set(given) - {"type"})}'
        )
    if given['type'] == 'choice':
        if not isinstance(given['values'], Sequence) or isinstance(given['values'], str) or not given['values']:
            raise ConfigError(f'{where}: values must be a list of at least one value, got {given["values"]!r}')
        return
    low, high, log = given['low'], given['high'], given.get('log', False)
    number = int if given['type'] == 'int' else (int, float)
    if not isinstance(low, number) or not isinstance(high, number) or not low <= high:
        raise ConfigError(f'{where}: low and high must be numbers of that type, low the smaller, got {low!r}, {high!r}')
    if log and (low <= 0 or 'step' in given):
        raise ConfigError(f'{where}: log=True needs low above 0 and no step, got low={low!r}')


def higher_is_better(metric: str, path: str) -> bool:
    """Which way a metric is to go.

    Raises:
        ConfigError: No metric gives it.
    """
    known = {**known_greater_is_better(), 'delta_m': True}
    name = metric.rpartition('/')[2]
    if name not in known:
        raise ConfigError(f"{path}: sweep.metric: no metric gives '{metric}'.{suggest(name, known)}")
    return known[name]


def run_sweep(path: str, work_dir: str, jobs: int = 1, command: Sequence[str] = ()) -> list[str]:
    """Do the trials that are missing, each in a process of its own.

    All trials stand in ``trials.log``. One that was cut off is begun again with its values, and its training goes on from
    the last checkpoint.

    Args:
        path: The sweep's file.
        work_dir: A folder per trial.
        jobs: Trials at a time.
        command: Command line that executes one run; its name is appended.

    Returns:
        Names of the trials that failed now; ``run.log`` in their folders says why.
    """
    optuna = require_optuna()
    sweep, root = read_sweep(path), Path(work_dir)
    root.mkdir(parents=True, exist_ok=True)
    search = open_search(sweep, root, path)
    states = optuna.trial.TrialState
    for trial in search.get_trials(states=(states.RUNNING,)):  # cut off
        search.tell(trial.number, state=states.FAIL)
        search.enqueue_trial(trial.params, user_attrs={FOLDER: trial.user_attrs.get(FOLDER, _folder(trial.number))})
    failed: list[str] = []

    def objective(trial: Any) -> float:
        values = {option: propose(trial, option, given) for option, given in sweep.space.items()}
        name = trial.user_attrs.get(FOLDER) or _folder(trial.number)
        trial.set_user_attr(FOLDER, name)
        claim(Run(name, 'sweep', sweep.seed, sweep.path, {**sweep.options, **values}), root)
        if not (root / name / 'metrics.json').is_file() and not run_apart(name, root, command, jobs):
            failed.append(name)
            raise TrialFailed(name)
        return value_of(sweep, root / name)

    missing = sweep.trials - len(search.get_trials(states=(states.COMPLETE,)))
    search.optimize(objective, max(missing, 0), n_jobs=jobs, catch=(TrialFailed,))
    return failed


def value_of(sweep: Sweep, folder: Path) -> float:
    """The metric of a finished run.

    Raises:
        ConfigError: Its evaluation has no such metric.
    """
    found = read_metrics(str(folder))
    if sweep.metric not in found:
        raise ConfigError(f"sweep.metric: {folder} has no '{sweep.metric}'.{suggest(sweep.metric, found)}")
    return found[sweep.metric] if math.isfinite(found[sweep.metric]) else math.nan


def open_search(sweep: Sweep, root: Path, path: str) -> Any:
    """Optuna's study in the work dir, new or as it was left.

    Raises:
        ConfigError: The work dir holds a sweep for another metric, of another config or space.
    """
    optuna = require_optuna()
    backend = optuna.storages.journal.JournalFileBackend(str(root / STORAGE))
    storage = optuna.storages.JournalStorage(backend)
    done = next((len(s.get_trials()) for s in _existing(storage)), 0)
    kind = optuna.samplers.TPESampler if sweep.sampler == 'tpe' else optuna.samplers.RandomSampler
    direction = 'maximize' if higher_is_better(sweep.metric, path) else 'minimize'
    search = optuna.create_study(
        storage=storage,
        sampler=kind(seed=sweep.seed + done),  # a sweep that goes on does not draw the same again
        study_name='sweep',
        direction=direction,
        load_if_exists=True,
    )
    settings = {name: getattr(sweep, name) for name in ('metric', 'config', 'options', 'space')}
    for name, own in json.loads(json.dumps(settings)).items():
        before = search.user_attrs.get(name, own)
        if before != own:
            raise ConfigError(f'{root} holds a sweep with {name}={before!r}, not {own!r}: name another --work-dir')
        search.set_user_attr(name, own)
    return search


def _existing(storage: Any) -> list[Any]:
    """The sweep in a storage, if there is one."""
    optuna = require_optuna()
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def propose(trial: Any, option: str, given: Mapping[str, Any]) -> Any:
    """A value for an option."""
    if given['type'] == 'choice':  # by its place: Optuna's own choices are numbers, texts and None alone
        return given['values'][trial.suggest_int(option, 0, len(given['values']) - 1)]
    draw = trial.suggest_float if given['type'] == 'float' else trial.suggest_int
    own = {'step': given['step']} if 'step' in given else {}
    return draw(option, given['low'], given['high'], log=bool(given.get('log', False)), **own)


def _folder(number: int) -> str:
    return f'trial_{number:04d}'


def sweep_table(path: str, work_dir: str, out: str | None = None) -> str:
    """The finished trials, best first, and the options of the best."""
    sweep, root = read_sweep(path), Path(work_dir)
    optuna = require_optuna()
    search = open_search(sweep, root, path)
    trials = search.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if not trials:
        return f'{root}: no trial is finished'
    higher = higher_is_better(sweep.metric, path)
    trials.sort(key=lambda t: t.value, reverse=higher)
    values = [{o: _value(sweep.space[o], v) for o, v in t.params.items()} for t in trials]
    header = ['trial', f'{sweep.metric} {"↑" if higher else "↓"}', *sweep.space]
    rows = [
        [t.user_attrs.get(FOLDER, str(t.number)), f'{t.value:.4f}', *(_text(v.get(o)) for o in sweep.space)]
        for t, v in zip(trials, values)
    ]
    best = ' '.join(f'{o}={str(v).replace(" ", "")}' for o, v in values[0].items())  # to the last digit
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        table = markdown_table(header, rows)
        write_atomically(out, f'# {sweep.title}\n\n{table}\n\nBest: `--cfg-options {best}`\n')
    return f'{format_table(header, rows)}\n\nbest: --cfg-options {best}'


def _value(given: Mapping[str, Any], drawn: Any) -> Any:
    return given['values'][drawn] if given['type'] == 'choice' else drawn


def _text(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value).replace(' ', '')


def main_of_trial(path: str, work_dir: str, name: str) -> None:
    """Execute the trial of that name, whose options stand in its folder."""
    sweep, root = read_sweep(path), Path(work_dir)
    file = root / name / 'run.json'
    if not file.is_file():
        raise NotFoundError(f'{root} has no trial {name}')
    told = read_json(str(file))
    execute(Run(name, 'sweep', told['seed'], sweep.path, told['options']), root)


def require_optuna() -> Any:
    """The module ``optuna``, which says nothing but warnings; a ``ConfigError`` says how it is installed."""
    optuna = require('optuna', 'a sweep needs Optuna', 'sweep')
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
