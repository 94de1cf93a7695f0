"""An option on a shared name, or a child config that sets it anew, does what editing the file would do."""

from __future__ import annotations

import ast
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mmmtl.config import config_with_sources, load_config
from mmmtl.errors import ConfigError
from mmmtl.registry import LATE, MEANT
from mmmtl.utils.config_files import ConfigFile

ROOT = Path(__file__).resolve().parents[2] / 'configs'
CONFIGS = sorted(ROOT.glob('[!_]*/*.py'))
CHOICES = {'label_setting': 'random', 'mode': 'prediction', 'backbone': 'resnet50', 'label_map': '/labels.json'}


def another(value: Any, name: str) -> Any:
    """A value of the same kind; None where there is none that any file could take."""
    if name in CHOICES and value != CHOICES[name]:
        return CHOICES[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 20
    if isinstance(value, float):
        return value / 2
    if isinstance(value, str):
        return None if name in CHOICES else f'{value}_2'
    if isinstance(value, tuple) and value and all(isinstance(v, int) for v in value):
        return tuple(v + 32 for v in value)
    return None


def change(value: Any, path: str, name: str) -> tuple[str, Any] | None:
    """An option that changes the first number or word at or below a name; None where there is none."""
    if isinstance(value, (dict, list)):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        tried = (change(v, f'{path}.{k}', k if isinstance(value, dict) else name) for k, v in inside if k != 'type')
        return next((found for found in tried if found), None)
    new = another(value, name)
    return None if new is None else (path, new)


def edited(folder: Path, config: Path, key: str, value: Any) -> Path:
    """A copy of a config and its bases in which the assignments of a name are followed by the new value."""
    copy = folder / 'configs'
    for file in ConfigFile(str(config)).chain():
        target = copy / Path(file.path).relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, target)
    name, *path = key.split('.')
    target = name + ''.join(f'[{int(part) if part.isdigit() else part!r}]' for part in path)
    for file in [f for f in ConfigFile(str(copy / config.relative_to(ROOT))).chain() if name in f.names]:
        lines = Path(file.path).read_text().splitlines()
        ends = [
            s.end_lineno or 0
            for s in ast.parse('\n'.join(lines)).body
            if isinstance(s, ast.Assign)
            and name in {n.id for t in s.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        ]
        for end in reversed(ends):
            lines.insert(
                end, f'{name} = eval(repr({name})); {target} = {value!r}'
            )  # copied without what its parts share
        Path(file.path).write_text('\n'.join(lines))
    return copy / config.relative_to(ROOT)


@cache
def names_by_config() -> dict[Path, set[str]]:
    """Shared names of every config, each once for the files that speak of it: they decide what becomes of a value."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    found: dict[Path, set[str]] = {}
    for config in CONFIGS:
        files = {file.path: file.names for file in ConfigFile(str(config)).chain()}
        words = {path: set(re.findall(r'\w+', Path(path).read_text())) for path in files}
        places = {(n, tuple(p for p in files if n in words[p])) for names in files.values() for n in names}
        found[config] = {name for name, _ in places - seen}
        seen |= places
    return found


def test_the_catalogue_is_not_empty():
    assert len(CONFIGS) > 30
    found = names_by_config()
    assert all(found.values()) and sum(map(len, found.values())) > 300
    assert {'max_iters', 'crop_size', 'tasks', 'label_setting', 'data_root'} <= set().union(*found.values())


@pytest.mark.parametrize('config', CONFIGS, ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_an_option_equals_an_edit_of_the_file(config, tmp_path):
    plain = load_config(config)
    names = names_by_config()[config] & set(plain) - LATE - {'study'}
    tried = 0
    for key, value in filter(None, (change(plain[name], name, name) for name in sorted(names))):
        try:
            expected = load_config(edited(tmp_path, config, key, value))
        except ConfigError as error:  # the file does not take the value: nor may the option
            with pytest.raises(ConfigError):
                load_config(config, {key: value})
            assert 'configs' in str(error)
            continue
        try:
            found = load_config(config, {key: value})
        except ConfigError as error:
            inner = {n for file in ConfigFile(str(config)).chain() for n in file.reads} - MEANT | {key.split('.')[0]}
            unused = {k: v for k, v in expected.items() if k not in inner}
            assert 'has no effect' in str(error), key
            assert unused == {k: v for k, v in plain.items() if k not in inner}, key
            continue
        assert found._cfg_dict == expected._cfg_dict, key
        tried += 1
    assert tried or len(names) < 3 or config.parent.name == 'studies'


def test_tuple_assignments_and_comprehensions_are_followed():
    cfg = load_config(ROOT / 'stablemtl/sd2_single.py', {'published': False})
    for part in ('val', 'test'):
        assert [d.get('upstream') for d in cfg[f'{part}_dataloader'].dataset.datasets].count(True) == 0
    cfg = load_config(ROOT / 'stablemtl/sd2_single.py', {'tasks.depth.max_depth': 50.0})
    trained = [d.tasks.depth.max_depth for d in cfg.train_dataloader.dataset.datasets if 'depth' in d.tasks]
    assert trained == [50.0] * len(trained) and trained and cfg.model.tasks.depth.max_depth == 50.0
    cfg = load_config(ROOT / 'stablemtl/sd2_single.py', {'cityscapes_root': '/data/cs'})
    assert (
        cfg.val_dataloader.dataset.datasets[0].data_root
        == cfg.test_dataloader.dataset.datasets[0].data_root
        == '/data/cs'
    )


def test_a_place_that_is_set_on_purpose_stays(tiny_config):
    cfg = load_config(tiny_config, {'size': (64, 64), 'test_dataloader.dataset.size': (96, 96)})
    sizes = [cfg[f'{part}_dataloader'].dataset.size for part in ('train', 'val', 'test')]
    assert sizes == [(64, 64), (64, 64), (96, 96)]


def test_no_value_of_a_shipped_config_is_without_a_source():
    for config in CONFIGS[:: max(1, len(CONFIGS) // 8)] + [ROOT / 'stablemtl/sd2_single.py']:
        assert not [row for row in config_with_sources(config) if '.py:' not in row[2]]


def child(folder: Path, base: str, text: str) -> Path:
    (folder / 'base.py').write_text(base)
    (folder / 'child.py').write_text("_base_ = 'base.py'\n" + text)
    return folder / 'child.py'


BASE = (
    "max_iters = 800\nsize = (64, 64)\ncrop = size\ntasks = dict(depth=dict(type='Depth', max_depth=3.0))\n"
    "train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)\n"
    "train_dataloader = dict(dataset=dict(type='Diorama', size=crop, tasks=tasks))\nval_dataloader = train_dataloader\n"
)


def test_a_child_config_changes_what_its_base_made_of_a_name(tmp_path):
    path = child(tmp_path, BASE, 'max_iters = 3\ntasks = dict(depth=dict(max_depth=9.0))\n')
    cfg = load_config(path)
    assert (cfg.max_iters, cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (3, 3, 1)
    assert cfg.train_dataloader.dataset.tasks == dict(depth=dict(type='Depth', max_depth=9.0)) == cfg.tasks
    assert cfg.val_dataloader.dataset.tasks.depth.max_depth == 9.0
    cfg = load_config(path, {'max_iters': 10, 'tasks.depth.loss_weight': 2.0})
    assert cfg.train_cfg.val_interval == 5
    assert cfg.train_dataloader.dataset.tasks.depth == dict(type='Depth', max_depth=9.0, loss_weight=2.0)


def test_a_child_may_compute_from_what_the_base_said(tmp_path):
    cfg = load_config(
        child(tmp_path, BASE, 'max_iters = _base_.max_iters * 2\nsize = (32, 32)\nhalf = _base_.crop[0] // 2\n')
    )
    assert cfg.max_iters == cfg.train_cfg.max_iters == 1600
    assert cfg.half == 16 and cfg.train_dataloader.dataset.size == (32, 32)


def test_grandchildren_come_before_children_and_options_before_both(tmp_path):
    child(tmp_path, BASE, 'max_iters = 30\nhooks = max_iters // 3\n')
    (tmp_path / 'grandchild.py').write_text("_base_ = ['child.py']\nmax_iters = 60\n")
    cfg = load_config(tmp_path / 'grandchild.py')
    assert (cfg.train_cfg.max_iters, cfg.hooks) == (60, 20)
    cfg = load_config(tmp_path / 'grandchild.py', {'max_iters': 90})
    assert (cfg.train_cfg.max_iters, cfg.hooks) == (90, 30)


def test_what_a_file_changes_in_place_and_in_branches_is_written_over_too(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text(
        "tasks = dict(depth=dict(type='Depth', max_depth=1.0))\ntasks['depth']['max_depth'] = 2.0\n"
        "tasks.update(normals=dict(type='SurfaceNormals'))\nif len(tasks) > 1:\n    width = 3\nelse:\n    width = 4\n"
        "width += 1\nmodel = dict(type='MultiTaskModel', tasks=tasks, width=width)\n"
    )
    cfg = load_config(path, {'tasks.depth.max_depth': 7.0, 'width': 11})
    assert cfg.model.tasks.depth.max_depth == 7.0 and cfg.model.width == 11 and 'normals' in cfg.model.tasks


def test_two_options_of_which_one_hides_the_other(root_dir):
    options = {'label_setting': 'random', 'label_map': '/labels.json'}
    for name in ('diorama', 'pascal'):  # here a mapping that nothing uses then would have changed
        with pytest.raises(ConfigError, match="'label_setting' has no effect.*beside the other options"):
            load_config(root_dir / f'configs/baselines/r18_{name}.py', options)
    every = root_dir / 'configs/methods/vitt_diorama.py'
    assert load_config(every, {'fusion.channels': 32, 'method': 'diffusionmtl'}).model.neck.channels == 32
    with pytest.raises(ConfigError, match="'fusion' has no effect"):
        load_config(every, {'fusion.channels': 32})


def test_figures_of_a_paper_are_compared_under_its_labels_alone(root_dir):
    for name, setting in (('diffusionmtl/r18_pascal', 'onelabel'), ('jtr/segnet_nyud', 'random')):
        config = root_dir / f'configs/{name}.py'
        given = load_config(config).label_setting
        asked = {} if given == setting else {'label_setting': setting}
        assert load_config(config, asked).test_evaluator.reference['single_task']
        assert load_config(config, {'label_map': '/labels.json'}).test_evaluator.reference is None


def test_batches_are_planned_as_the_optimiser_gathers_them(root_dir):
    for stage in ('single', 'multistream_fsdp'):
        config = root_dir / f'configs/stablemtl/sd2_{stage}.py'
        cfg = load_config(config, {'accumulation': 1})
        assert cfg.train_dataloader.batch_sampler.accumulation == cfg.optim_wrapper.accumulative_counts == 1
        assert cfg.train_cfg.max_iters == cfg.updates
        assert load_config(config, {'cycle_tasks': False}).train_dataloader.batch_sampler is None


@pytest.mark.parametrize(
    'text, words',
    [
        (
            'optim_wraper = dict(type="OptimWrapper")\n',
            "line 2: nothing uses 'optim_wraper'. Did you mean 'optim_wrapper'",
        ),
        ('train_dataloder = dict(batch_size=3)\n', "'train_dataloder'. Did you mean 'train_dataloader'"),
        ('\nmax_iter = 3\n', "line 3: nothing uses 'max_iter'. Did you mean 'max_iters'"),
        ('sizes = (3, 3)\n', "Did you mean 'size'"),
    ],
)
def test_misspelt_names_in_a_child_are_caught_although_the_base_has_the_right_one(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words.replace('(', r'\(')):
        load_config(child(tmp_path, BASE, text))


def test_other_unused_names_are_told(tmp_path, capsys):
    cfg = load_config(child(tmp_path, BASE, "remark = 'a note'\n"))
    assert cfg.remark == 'a note' and "nothing in the config uses 'remark'" in ''.join(capsys.readouterr())


@pytest.mark.parametrize(
    'text, words',
    [
        ('a = (1,\n', r'line 1: .*never closed'),
        ('a = 1\nb = = 2\n', 'line 2: invalid syntax'),
        ('a = 1\nb = dict(full=1)["ful"]\n', r"line 2: there is no 'ful'\. Did you mean 'full'"),
        ('a = 1\n\nb = a / 0\n', 'line 3: ZeroDivisionError'),
        ("_base_ = 'none.py'\n", r"none\.py' does not exist"),
        ("_base_ = 'a.py'\n", 'is a base of itself'),
        ("_base_ = 'mmmtl::taskdiffusion/vitt_dioram'\n", "Did you mean 'taskdiffusion/vitt_diorama'"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_with_its_line(tmp_path, text, words):
    (tmp_path / 'a.py').write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / 'a.py')


def test_a_missing_name_of_a_base_comes_with_near_ones(tmp_path):
    with pytest.raises(ConfigError, match="line 2: .*Did you mean 'max_iters'"):
        load_config(child(tmp_path, BASE, 'a = _base_.max_iter\n'))


def test_a_folder_in_place_of_a_file(root_dir):
    with pytest.raises(ConfigError, match=r'is a folder; name a file of it: .*\.py'):
        load_config(root_dir / 'configs' / 'taskdiffusion')


def test_shipped_configs_by_name_from_anywhere(tmp_path, monkeypatch, root_dir):
    monkeypatch.chdir(tmp_path)
    expected = load_config(root_dir / 'configs/taskdiffusion/vitt_diorama.py')
    for name in ('taskdiffusion/vitt_diorama', 'taskdiffusion/vitt_diorama.py'):
        assert load_config(f'mmmtl::{name}')._cfg_dict == expected._cfg_dict
    (tmp_path / 'own.py').write_text("_base_ = ['mmmtl::taskdiffusion/vitt_diorama']\nmax_iters = 7\n")
    assert load_config('own.py').train_cfg.max_iters == 7
    with pytest.raises(
        ConfigError, match='Name the folder: baselines/vitt_diorama, methods/vitt_diorama, taskdiffusion/vitt_diorama'
    ):
        load_config('mmmtl::vitt_diorama')
    with pytest.raises(ConfigError, match="no package 'nosuch'"):
        load_config('nosuch::a/b')


def test_mmengines_placeholders(tmp_path, monkeypatch):
    monkeypatch.setenv('DATA_PLACE', '/data')
    (tmp_path / 'a.py').write_text(
        "folder = '{{ fileDirname }}'\nname = '{{fileBasenameNoExtension}}'\nroot = '{{$DATA_PLACE:x}}'\n"
        "other = '{{$NO_SUCH_:y}}'\n"
    )
    (tmp_path / 'b.py').write_text("_base_ = 'a.py'\ncopied = {{ _base_.name }}\n")
    cfg = load_config(tmp_path / 'b.py')
    assert (cfg.folder, cfg.name, cfg.root, cfg.other, cfg.copied) == (str(tmp_path), 'a', '/data', 'y', 'a')
    (tmp_path / 'c.py').write_text("root = '{{ $NO_SUCH_ }}'\n")
    with pytest.raises(ConfigError, match='environment variable NO_SUCH_ is not set: set it, or write'):
        load_config(tmp_path / 'c.py')


def test_a_changed_config_refuses_what_could_not_follow(tiny_config):
    cfg = load_config(tiny_config, {'batch': 3})
    assert load_config(cfg, {'max_iters': 6}).train_cfg.max_iters == 6
    assert load_config(cfg, {'max_iters': 6}).train_dataloader.batch_size == 3
    cfg.model.decoder.channels = 7
    assert load_config(cfg, {'model.decoder.num_blocks': 2}).model.decoder == dict(
        type='PlainDecoder', channels=7, num_blocks=2
    )
    for key in ('max_iters', 'tasks.depth.max_depth'):
        with pytest.raises(ConfigError, match='has been read and changed already'):
            load_config(cfg, {key: 6})
