"""The runs that lie beside a study's table: with them it grows over several sittings, on several machines."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmtl.utils.files import write_json

if TYPE_CHECKING:
    from .study import Run, Study


def settings_of(run: Run) -> dict[str, Any]:
    """What makes a run what it is: its config and the folder it is in, its seed and its options, as JSON gives them back."""
    config = Path(run.config)
    content: dict[str, Any] = json.loads(
        json.dumps(dict(config=config.name, folder=config.parent.name, seed=run.seed, options=run.options))
    )
    return content


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the path of the label map, which the study draws again from its seed."""
    return {**settings, 'options': {k: v for k, v in settings['options'].items() if k != 'label_map'}}


def settings_of_row(study: Study, row: str) -> dict[str, Any]:
    """What the costs of a row follow from."""
    config = Path(study.config_of(row))
    settings = dict(config=f'{config.parent.name}/{config.name}', options=study.options_of(row), row=study.rows[row])
    content: dict[str, Any] = json.loads(json.dumps(settings))
    return content


def kept_runs(study: Study, root: Path) -> dict[str, dict[str, Any]]:
    """Per run that is done its settings, its metrics and the seconds it took."""
    kept = {}
    for run in study.runs(root):
        metrics, seconds = root / run.name / 'metrics.json', root / run.name / 'seconds.json'
        if metrics.is_file():
            kept[run.name] = dict(
                settings=_portable(settings_of(run)),
                metrics=json.loads(metrics.read_text()),
                seconds=round(json.loads(seconds.read_text()), 1) if seconds.is_file() else None,
            )
    return kept


def restore_runs(study: Study, root: Path, out: str) -> list[str]:
    """Put the runs that lie beside a table into the work folder, where it lacks them.

    Args:
        study: The study.
        root: Work folder, with a folder per run.
        out: Markdown file of the table; the JSON file beside it is read, if it is there.

    Returns:
        Names of the runs that were restored. One that was made with other settings is left out, with a warning.
    """
    path = Path(out).with_suffix('.json')
    content = json.loads(path.read_text()) if path.is_file() else {}
    restored, rows = [], {}
    for run in study.runs(root):
        kept, folder = content.get('runs', {}).get(run.name), root / run.name
        if kept is None or (folder / 'metrics.json').is_file():
            continue
        if kept['settings'] != _portable(settings_of(run)):
            warnings.warn(f'{path}: {run.name} was made with other settings, and is not used', stacklevel=2)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_json(str(folder / 'run.json'), settings_of(run))
        if kept['seconds'] is not None:
            write_json(str(folder / 'seconds.json'), kept['seconds'])
        write_json(str(folder / 'metrics.json'), kept['metrics'])
        restored.append(run.name)
        if run.row in content.get('costs', {}):
            rows[run.row] = dict(of=settings_of_row(study, run.row), costs=content['costs'][run.row])
    if rows and not (root / 'costs.json').is_file():
        write_json(str(root / 'costs.json'), rows)
    return restored
