"""The command ``mmmtl`` and what the package gives by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmmtl
from mmmtl.commands import COMMANDS, main, parser_of
from mmmtl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


def test_every_module_is_a_command_and_every_tool_starts_one():
    modules = {p.stem.replace('_', '-') for p in (ROOT / 'mmmtl/commands').glob('[!_]*.py')} - {'main'}
    assert modules == set(COMMANDS)
    started = {}
    for path in (ROOT / 'tools').rglob('*.py'):
        if found := re.search(r"run_tool\('([\w-]+)'\)", path.read_text()):
            started[found.group(1)] = path
            assert len(path.read_text().splitlines()) <= 6
    assert set(started) <= set(COMMANDS) and len(started) >= 27


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_every_command_explains_itself_alike_by_both_ways(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, '--help'])
    printed = capsys.readouterr().out
    own = parser_of(command)
    assert end.value.code == 0 and f'usage: mmmtl {command}' in printed
    assert all(
        option in printed
        for action in own._actions
        for option in action.option_strings
        if action.help != '==SUPPRESS=='
    )
    assert not any(a.help is None and not a.option_strings and a.metavar is None for a in own._actions if a.required)


def test_version_and_help(capsys):
    main(['--version'])
    printed = capsys.readouterr().out
    assert f'mmmtl {mmmtl.__version__}' in printed and 'torch 2' in printed and 'CUDA' in printed
    main([])
    assert all(f' {name} ' in capsys_text for capsys_text in [capsys.readouterr().out] for name in ('train', 'delta-m'))


def test_python_m_mmmtl_lists_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mmmtl', 'list', 'models', '*camvid*'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0 and 'taskdiffusion/vitt_camvid' in done.stdout.split()
    assert all('camvid' in name for name in done.stdout.split())


def test_an_output_that_nobody_reads_ends_quietly(tmp_path):
    script = f'{sys.executable} -m mmmtl list datasets | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ['bash', '-c', script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.stderr == ''


def test_a_mistake_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit):
        main(['list', 'tasks', 'nothing'])
    assert "none of the tasks matches 'nothing'" in capsys.readouterr().err


def completions(line: str, folder: Path) -> set[str]:
    """What is offered at the end of a line."""
    pytest.importorskip('argcomplete')
    environment = dict(os.environ, _ARGCOMPLETE='1', COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_IFS='\n')
    environment.update(PYTHONPATH=str(ROOT), _ARGCOMPLETE_STDOUT_FILENAME=str(folder / 'offered'))
    subprocess.run([sys.executable, '-m', 'mmmtl'], env=environment, check=False)
    return {word.strip() for word in (folder / 'offered').read_text().split('\n')}


def test_the_shell_completes_commands_and_their_options(tmp_path):
    assert {'train', 'test', 'infer'} <= completions('mmmtl ', tmp_path)
    assert {'--work-dir', '--resume'} <= completions('mmmtl train --', tmp_path)


# ---- by name ----
def test_names():
    models = mmmtl.list_models('*pascal*')
    assert 'taskdiffusion/vitl_pascal' in models and all('pascal' in name for name in models)
    paths = {p.relative_to(ROOT / 'configs').with_suffix('').as_posix() for p in (ROOT / 'configs').glob('[!_]*/*.py')}
    assert set(mmmtl.list_models()) == {p for p in paths if not p.startswith('studies/')}
    assert {'Depth', 'SemanticSegmentation'} <= set(mmmtl.list_tasks())
    assert {'Diorama', 'CamVid'} <= set(mmmtl.list_datasets()) and mmmtl.list_datasets('Cam*') == ['CamVid']
    assert mmmtl.list_backbones() == ['SegNet', 'TimmBackbone']
    assert 'timm/resnet18' in mmmtl.list_backbones('timm/resnet1*')
    assert set(mmmtl.__all__) <= set(dir(mmmtl))
    with pytest.raises(AttributeError, match="no attribute 'list_model'"):
        mmmtl.list_model  # noqa: B018


def test_a_model_in_one_line_reads_nothing(monkeypatch):
    import timm

    create = timm.create_model
    asked = []
    monkeypatch.setattr(timm, 'create_model', lambda *a, **o: asked.append(o.get('pretrained')) or create(*a, **o))
    model = mmmtl.get_model('baselines/r18_camvid')
    assert not any(asked) and asked and not model.training and 'semseg' in model.tasks
    assert 'semseg' in mmmtl.get_model('stablemtl/tiny_diorama_single').tasks
    with pytest.raises(ConfigError, match='r18_camvid'):
        mmmtl.get_model('baselines/r18_camvit')


@pytest.mark.parametrize(
    'words',
    [
        'browse c.py --number -1',
        'browse c.py --draws 0',
        'compare a b --resamples 0',
        'eval-boundary a b --thresholds -5',
        'eval-boundary a b --processes 0',
        'infer c.py a.pth a.png --overlap 1',
        'infer c.py a.pth a.png --batch-size 0',
        'logs a --smooth 1.5',
        'verify c.py --workers -2',
        'test c.py a.pth --max-panels -1',
    ],
)
def test_numbers_that_cannot_be_meant(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2 and 'must be at least' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words, said',
    [
        ('show {config} --section trian_cfg', "--section 'trian_cfg': .* has no such place. Did you mean 'train_cfg'"),
        ('show {config} --out whole.txt', "--out 'whole.txt': a config's file ends in .py"),
        ('predict {config} x.pth photos --out out --weight -1', '--weight must be above 0, and goes with --as-labels'),
        ('train vitt_diorama', "config 'vitt_diorama' does not exist"),
        ('train taskdiffusion/vitt_diorama', 'The shipped config of that name is mmmtl::taskdiffusion/vitt_diorama'),
    ],
)
def test_what_a_command_cannot_do_is_said(tiny_config, monkeypatch, capsys, words, said):
    monkeypatch.chdir(Path(tiny_config).parent)
    with pytest.raises(SystemExit) as end:
        main(words.format(config=tiny_config).split())
    assert end.value.code == 1 and re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    'words', ['app --port 70000', 'compare a b --seed -1', 'index c.py --out i.parquet --workers -1']
)
def test_numbers_out_of_range(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2 and 'must be' in capsys.readouterr().err


def test_a_config_is_written_into_a_new_folder(tiny_config, tmp_path):
    main(['show', tiny_config, '--out', str(tmp_path / 'new' / 'whole.py')])
    assert 'train_cfg' in (tmp_path / 'new' / 'whole.py').read_text()
