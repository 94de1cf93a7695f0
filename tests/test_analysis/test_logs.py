"""Logs are read as the runs wrote them, over interruptions, and drawn by task."""

from __future__ import annotations

import json

import cv2
import pytest

from mmmtl.analysis import plot_logs, read_log, summarize_log
from mmmtl.analysis.logs import _smoothed
from mmmtl.errors import ConfigError


def write(folder, stamp, entries):
    path = folder / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(e) for e in entries) + '\n')
    return path


def entry(step, loss):
    return {
        'loss': loss,
        'loss_depth': loss / 2,
        'aux.loss_depth': loss / 4,
        'lr': 0.1,
        'time': 0.5,
        'iter': step,
        'step': step,
    }


def test_a_real_run(trained, tmp_path):
    log = read_log(str(trained))
    assert log.tasks()[:3] == ['semseg', 'depth', 'boundary']
    assert sorted(log.train['loss']) == [1, 2, 3, 4] and sorted(log.val['depth/RMSE']) == [4]
    out = plot_logs([log], str(tmp_path / 'curves.png'))
    picture = cv2.imread(out)
    assert picture.shape[0] > 300 and picture.shape[1] > 900 and picture.std() > 5
    text = summarize_log(log)
    assert '4 iterations' in text and 'loss_depth' in text and 'depth/RMSE' in text


def test_a_resumed_run_is_one_run(tmp_path):
    write(tmp_path, '20250101_000000', [entry(s, 10 - s) for s in range(1, 5)] + [dict(entry(5, 5), loss_old=1.0)])
    write(tmp_path, '20250102_000000', [entry(s, 1.0) for s in range(4, 8)])
    log = read_log(str(tmp_path))
    assert log.train['loss'] == {1: 9, 2: 8, 3: 7, 4: 1, 5: 1, 6: 1, 7: 1}
    write(tmp_path, '20250103_000000', [entry(1, 5.0), {'depth/RMSE': 3.0, 'step': 1}])
    write(tmp_path / 'another', '20250104_000000', [entry(1, 8.0)])
    assert 'loss_old' not in summarize_log(log)
    assert read_log(str(tmp_path)).train['loss'] == {1: 5.0}, 'begun anew, and no run of a folder below'


def test_figures_of_a_logger_that_counts_epochs_are_put_at_their_iteration(tmp_path):
    write(tmp_path, 'a', [entry(1, 2.0), entry(2, 1.0), {'depth/RMSE': 3.0, 'time': 1.0, 'step': 0}, entry(3, 1.0)])
    assert read_log(str(tmp_path)).val == {'depth/RMSE': {2: 3.0}}


def test_several_runs_are_drawn_over_each_other(tmp_path):
    for name in ('one', 'two'):
        write(
            tmp_path / name,
            'a',
            [entry(s, 1.0 / s) for s in range(1, 5)] + [{'depth/RMSE': 3.0, 'depth/d1': 0.1, 'step': 4}],
        )
    logs = [read_log(str(tmp_path / n)) for n in ('one', 'two')]
    single = cv2.imread(plot_logs(logs[:1], str(tmp_path / '1.png')))
    both = cv2.imread(plot_logs(logs, str(tmp_path / '2.png'), smooth=0.5, metrics=2))
    assert both.shape[0] > single.shape[0]
    assert plot_logs(logs, str(tmp_path / 'c.svg')).endswith('.svg') and (tmp_path / 'c.svg').read_text().startswith(
        '<?xml'
    )


def test_colours_mean_runs_and_styles_mean_losses(tmp_path, monkeypatch):
    """One run's two losses of a task have one colour, two runs' same loss one style; every axis is named."""
    from matplotlib.figure import Figure

    kept = []
    original = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda self, *a, **k: (kept.append(self), original(self, *a, **k))[1])
    lines = [{'loss': 3.0, 'loss_depth': 1.0, 'aux.loss_depth': 2.0, 'lr': 0.1, 'step': s} for s in (1, 2, 3)]
    lines.append({'depth/RMSE': 1.0, 'step': 3})
    logs = [read_log(str(write(tmp_path, name, lines))) for name in ('a', 'b')]
    plot_logs(logs, str(tmp_path / 'two.svg'))
    axes = [axis for axis in kept[0].axes if axis.get_visible()]
    assert all(axis.get_xlabel() == 'iteration' for axis in axes)
    depth = next(axis for axis in axes if axis.get_title(loc='left') == 'Depth: loss')
    curves = [line for line in depth.lines if len(line.get_xdata())]
    looks = [(line.get_color(), line.get_linestyle()) for line in curves]
    assert len(looks) == len(set(looks)) == 4 and len({c for c, _ in looks}) == len({s for _, s in looks}) == 2
    assert [t.get_text() for t in kept[0].legends[0].get_texts()] == [log.name for log in logs]


def test_a_line_that_is_being_written_and_numbers_that_are_none(tmp_path):
    lines = ['{"loss": NaN, "step": 1}', '{"loss": 2.0, "step": 2}', '{"loss": 1.0, "st']
    (tmp_path / 'scalars.json').write_text('\n'.join(lines))
    log = read_log(str(tmp_path / 'scalars.json'))
    assert '2.0000 @ 2  2.0000 @ 2' in summarize_log(log)
    with pytest.raises(ConfigError, match="c.xyz': a plot ends in one of .*png"):
        plot_logs([log], str(tmp_path / 'c.xyz'))
    (tmp_path / 'scalars.json').write_text('\n'.join([*lines, lines[0]]))
    with pytest.raises(ConfigError, match='line 3: no entry'):
        read_log(str(tmp_path / 'scalars.json'))


def test_smoothing_is_unbiased():
    assert _smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3.0] * 3)
    assert _smoothed([1.0, 2.0], 0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 2) / 0.75])
    assert _smoothed([1.0, 2.0], 0.0) == [1.0, 2.0]


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(ConfigError, match='has no log'):
        read_log(str(tmp_path))
    path = write(tmp_path, 'a', [])
    path.write_text('{"loss": 1, "step": 1}\n{"loss": \n')
    with pytest.raises(ConfigError, match='line 2: no entry of a log'):
        read_log(str(path))
    path.write_text('{"epoch": 1}\n')
    with pytest.raises(ConfigError, match='neither losses nor metrics'):
        plot_logs([read_log(str(path))], str(tmp_path / 'x.png'))
