"""Label settings of the papers: the published map where it is, a draw elsewhere, and a log that says which."""

from __future__ import annotations

import re

import pytest
import torch

from mmmtl.commands import main
from mmmtl.config import load_config
from mmmtl.datasets import OneLabel, PublishedLabels, RandomLabels
from mmmtl.datasets.label_samplers import read_label_map, save_label_map
from mmmtl.errors import ConfigError, FileError
from tests.test_datasets.test_mtpsl_maps import nyud_table

TASKS = ['semseg', 'depth', 'normals']
AVAILABLE = {str(i): TASKS for i in range(795)}


def assigned(root, capfd, setting='onelabel', tasks=TASKS, available=AVAILABLE, **options):
    sampler = PublishedLabels('nyud', setting, str(root), **options)
    return sampler.assign(available, tasks), ' '.join(''.join(capfd.readouterr()).split())


def convert(root, setting, name=None):
    """The documented way: the command puts the authors' file at the place where the setting looks for it."""
    source, target = root / f'{setting}.pth', root / 'label_maps' / f'{name or setting}.json'
    torch.save({'labels_weights': nyud_table(setting)}, source)
    main(['label-map', str(source), str(target), '--dataset', 'nyud'])
    return target


@pytest.mark.parametrize('setting', ['onelabel', 'random'])
def test_the_published_map_is_used_and_named(tmp_path, capfd, setting):
    target = convert(tmp_path, setting)
    labels, log = assigned(tmp_path, capfd, setting)
    assert labels == read_label_map(target) and f"the published map {target} (setting '{setting}'" in log
    alone, _ = assigned(tmp_path, capfd, setting, tasks=['depth'])
    assert sum(map(len, alone.values())) == {'onelabel': 265, 'random': 408}[setting]


@pytest.mark.parametrize(('setting', 'draw'), [('onelabel', OneLabel), ('random', RandomLabels)])
def test_without_it_the_labels_are_drawn_and_the_log_says_so(tmp_path, capfd, setting, draw):
    labels, log = assigned(tmp_path, capfd, setting, seed=3)
    assert labels == draw(seed=3).assign(AVAILABLE, TASKS)
    assert f'drawn by {draw.__name__}(seed=3)' in log and f'not at {tmp_path}/label_maps/{setting}.json' in log


def test_where_none_is_published_nothing_is_missed(tmp_path, capfd):
    PublishedLabels('cityscapes', 'random', str(tmp_path)).assign({'0': ['semseg', 'depth']}, ['semseg', 'depth'])
    assert 'no map is published for it' in ''.join(capfd.readouterr())


def test_a_map_of_the_other_setting_is_refused(tmp_path, capfd):
    convert(tmp_path, 'random', 'onelabel')
    with pytest.raises(FileError, match="the setting 'onelabel', found that of 'random'"):
        assigned(tmp_path, capfd)


def test_a_map_with_other_counts_is_refused(tmp_path, capfd):
    save_label_map(OneLabel().assign({'0': TASKS}, TASKS), tmp_path / 'label_maps' / 'onelabel.json', TASKS)
    with pytest.raises(FileError, match=r'onelabel.json: the counts of this map .*265.*label_map=PATH takes it'):
        assigned(tmp_path, capfd)


def test_samples_that_the_map_does_not_name_are_an_error(tmp_path, capfd):
    convert(tmp_path, 'onelabel')
    with pytest.raises(FileError, match='1 of 796 samples of the dataset are not in it'):
        assigned(tmp_path, capfd, available={**AVAILABLE, 'other': TASKS})


@pytest.mark.parametrize(('dataset', 'setting'), [('pascal', 'onelabl'), ('pascl', 'onelabel')])
def test_wrong_names(dataset, setting):
    with pytest.raises(ConfigError, match=re.escape("Did you mean '")):
        PublishedLabels(dataset, setting, '')


@pytest.mark.parametrize(
    ('config', 'dataset'), [('r18_pascal', 'pascal'), ('r18_nyud', 'nyud'), ('r18_cityscapes', 'cityscapes')]
)
def test_configs_look_beside_the_data(root_dir, config, dataset):
    cfg = load_config(root_dir / f'configs/diffusionmtl/{config}.py', {'data_root': '/my/data'})
    expected = dict(type='PublishedLabels', dataset=dataset, setting='onelabel', data_root='/my/data')
    assert cfg.train_dataloader.dataset.label_sampler == expected
