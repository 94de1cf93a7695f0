"""A change in one place is enough, and a mistyped place is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmmtl.config import check_config, load_config
from mmmtl.errors import ConfigError
from mmmtl.utils.trees import without_tasks


def test_a_file_is_read_as_it_is(tiny_config):
    cfg = load_config(tiny_config)
    assert list(cfg.tasks) == ['semseg', 'depth', 'boundary']
    assert cfg.model.tasks == cfg.tasks == cfg.train_dataloader.dataset.tasks
    assert cfg.train_cfg.max_iters == 4 and cfg.filename == tiny_config


def test_changed_tasks_reach_model_and_datasets(tiny_config):
    cfg = load_config(tiny_config, {'tasks.depth.loss_weight': 7.0})
    places = [cfg.model.tasks, *(cfg[f'{s}_dataloader'].dataset.tasks for s in ('train', 'val', 'test'))]
    assert [tasks.depth.loss_weight for tasks in places] == [7.0] * 4
    assert all('loss_weight' not in tasks.semseg for tasks in places)


def test_a_place_that_was_set_itself_keeps_its_value(tiny_config):
    cfg = load_config(tiny_config, {'tasks.depth.loss_weight': 7.0, 'model.tasks.depth.loss_weight': 1.5})
    assert cfg.model.tasks.depth.loss_weight == 1.5
    assert cfg.train_dataloader.dataset.tasks.depth.loss_weight == 7.0


def test_expressions_of_a_changed_name_are_computed_again(tiny_config):
    cfg = load_config(tiny_config, {'max_iters': 10})
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == cfg.param_scheduler[0].end == 10
    assert cfg.default_hooks.checkpoint.interval == 5


def test_a_name_under_another_key_and_from_a_base_is_followed(tiny_config):
    cfg = load_config(tiny_config, {'size': (48, 32), 'batch': 3})
    assert (
        cfg.model.backbone.img_size == cfg.train_dataloader.dataset.size == cfg.val_dataloader.dataset.size == (48, 32)
    )
    assert cfg.train_dataloader.batch_size == cfg.val_dataloader.batch_size == 3


def test_a_changed_pipeline_reaches_its_dataset_alone(tiny_config):
    cfg = load_config(tiny_config, {'train_pipeline.0.prob': 0.25})
    assert cfg.train_dataloader.dataset.pipeline[0].prob == 0.25
    assert 'prob' not in cfg.val_dataloader.dataset.pipeline[0]


def test_both_a_shared_part_and_a_place_in_it_can_change(tiny_config):
    options = {'train_pipeline.0.prob': 0.25, 'train_dataloader.dataset.pipeline.1.meta_keys': ['sample_id']}
    pipeline = load_config(tiny_config, options).train_dataloader.dataset.pipeline
    assert pipeline[0].prob == 0.25 and pipeline[1].meta_keys == ['sample_id']


def test_sections_go_their_own_ways(tiny_config):
    cfg = load_config(tiny_config, {'val_dataloader.batch_size': 5})
    assert (cfg.val_dataloader.batch_size, cfg.test_dataloader.batch_size) == (5, 2)
    cfg = load_config(tiny_config, {'batch': 7, 'val_dataloader.num_workers': 1})  # what both are made of reaches both
    assert (cfg.val_dataloader.batch_size, cfg.test_dataloader.batch_size) == (7, 7)
    assert (cfg.val_dataloader.num_workers, cfg.test_dataloader.num_workers) == (1, 0)


def test_equal_values_without_a_link_in_the_file_do_not_follow_and_that_is_told(tmp_path):
    path = tmp_path / 'plain.py'
    path.write_text(
        "data_root = 'a'\n"
        "train_dataloader = dict(dataset=dict(type='CamVid', data_root='a'))\n"
        "val_dataloader = dict(dataset=dict(type='CamVid', data_root='b'))\n"
    )
    with pytest.raises(ConfigError, match="'data_root' has no effect.*print_config"):
        load_config(path, {'data_root': 'c'})
    cfg = load_config(path, {'train_dataloader.dataset.data_root': 'c'})
    assert cfg.train_dataloader.dataset.data_root == 'c'


def test_only_tasks_makes_a_single_task_config(tmp_path, tiny_config):
    cfg = load_config(tiny_config, {'only_tasks': ['depth']})
    assert list(cfg.tasks) == list(cfg.model.tasks) == list(cfg.test_dataloader.dataset.tasks) == ['depth']


def test_only_tasks_drops_arguments_that_name_another_task(root_dir):
    options = {'only_tasks': ['depth']}
    cfg = load_config(root_dir / 'configs/taskdiffusion/vitl_nyud.py', options)
    assert [s.category_task for s in cfg.train_dataloader.dataset.pipeline if 'category_task' in s] == [None]
    pascal = load_config(root_dir / 'configs/taskdiffusion/vitl_pascal.py', {'only_tasks': ['semseg']})
    assert [s.category_task for s in pascal.train_dataloader.dataset.pipeline if 'category_task' in s] == ['semseg']
    assert 'saliency' not in pascal.model.decoder.label_encoder.get('separate', ())


def test_only_tasks_leaves_arguments_that_are_called_like_a_task(root_dir):
    cfg = load_config(root_dir / 'configs/baselines/vitt_diorama.py', {'only_tasks': ['semseg']})
    assert cfg.model.backbone.depth == 8
    node = dict(net=dict(type='Net', depth=2, options=dict(depth=3, heads=4)), weights=dict(depth=1, semseg=2))
    left = without_tasks(node, {'depth'}, ['depth', 'semseg'])
    assert left == dict(node, weights=dict(semseg=2))
    data = dict(
        type='Depth', data_root='Depth', name='Depth', category_task='Depth'
    )  # a folder may be called like a task
    assert without_tasks(data, {'Depth'}, ['Depth', 'semseg']) == dict(data, category_task=None)


def test_a_new_task_comes_with_its_type(tiny_config):
    cfg = load_config(tiny_config, {'tasks.normals.type': 'SurfaceNormals', 'tasks.normals.loss_weight': 3.0})
    assert cfg.model.tasks.normals == dict(type='SurfaceNormals', loss_weight=3.0)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'modl.decoder.channels': 3}, ["no 'modl' in the config", "'model'"]),
        ({'model.decoder.chanels': 3}, ["no 'chanels' in model.decoder", "'channels'"]),
        ({'train_cfg.max_iter': 3}, ["no 'max_iter' in train_cfg", "'max_iters'"]),
        ({'tasks.dept.loss_weight': 3}, ["no 'dept' in tasks", "'depth'"]),
        ({'randomness.sed': 3}, ["no 'sed' in randomness", "'seed'"]),
        ({'train_dataloader.batchsize': 3}, ["no 'batchsize' in train_dataloader", "'batch_size'"]),
        ({'train_pipeline.9.prob': 0.1}, ['train_pipeline is a list', '0 to 1']),
        ({'max_iters.x': 1}, ['max_iters is 4']),
        ({'only_tasks': ['dept']}, ["only_tasks=['dept']", "'depth'"]),
        ({'only_tasks': []}, ['only_tasks=[]', "['semseg', 'depth', 'boundary']"]),
        ({'only_tasks': ''}, ['only_tasks=', "['semseg', 'depth', 'boundary']"]),
        ({'lr': 0.1}, ["no 'lr' in the config", 'It stands at optim_wrapper.optimizer.lr.']),
        ({'optim_wrapper.lr': 0.1}, ["no 'lr' in optim_wrapper", 'It stands at optim_wrapper.optimizer.lr.']),
        ({'num_heads': 3}, ["no 'num_heads' in the config", 'model.backbone.num_heads']),
        ({'batch_size': 3}, ['train_dataloader.batch_size, val_dataloader.batch_size']),
    ],
)
def test_wrong_options_name_the_place_and_near_names(tiny_config, options, words):
    with pytest.raises(ConfigError) as error:
        load_config(tiny_config, options)
    assert all(word in str(error.value) for word in words), error.value


def test_all_wrong_options_are_reported_at_once(tiny_config):
    with pytest.raises(ConfigError) as error:
        load_config(tiny_config, {'modl.x': 1, 'train_cfg.max_iter': 3})
    assert 'modl' in str(error.value) and 'max_iter' in str(error.value)


def test_arguments_a_component_takes_may_be_added(tiny_config):
    cfg = load_config(
        tiny_config,
        {
            'model.decoder.head_kernel': 3,
            'optim_wrapper.accumulative_counts': 2,
            'train_dataloader.drop_last': True,
            'model.backbone.drop_path_rate': 0.1,
        },
    )
    assert cfg.model.decoder.head_kernel == 3 and cfg.train_dataloader.drop_last is True


def test_a_change_without_effect_is_an_error(tmp_path):
    path = tmp_path / 'idle.py'
    path.write_text('depth_of_thought = 3\nmodel = dict(type="MultiTaskModel")\n')
    with pytest.raises(ConfigError, match="changing 'depth_of_thought' has no effect"):
        load_config(path, {'depth_of_thought': 4})


def test_a_missing_file_comes_with_near_names(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match=r"tinny\.py' does not exist\. Did you mean 'tiny\.py'"):
        load_config(tmp_path / 'tinny.py')
    with pytest.raises(ConfigError, match='There is no folder'):
        load_config(tmp_path / 'nowhere' / 'tiny.py')
    (tmp_path / 'a.yaml').write_text('a: 1')
    with pytest.raises(ConfigError, match='must be a .py file'):
        load_config(tmp_path / 'a.yaml')


def test_custom_imports_that_fail_name_the_module(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text("custom_imports = dict(imports=['no_such_package_here'])\n")
    with pytest.raises(ConfigError, match='no_such_package_here'):
        load_config(path)


def test_a_config_object_can_be_changed_again(tiny_config):
    first = load_config(tiny_config)
    second = load_config(first, {'max_iters': 6})
    assert (first.train_cfg.max_iters, second.train_cfg.max_iters) == (4, 6)


def test_a_file_that_cannot_be_run_is_named(tmp_path):
    (tmp_path / 'a.py').write_text('x = 1\n')
    (tmp_path / 'b.py').write_text('x = 2\n')
    (tmp_path / 'both.py').write_text("_base_ = ['a.py', 'b.py']\n")
    (tmp_path / 'wrong.py').write_text('y = no_such_name\n')
    for name, words in (('both', 'Duplicate key'), ('wrong', 'no_such_name')):
        with pytest.raises(ConfigError, match=rf"{name}\.py' can't be read.*{words}"):
            load_config(tmp_path / f'{name}.py')


@pytest.mark.parametrize(
    'only, kinds', [(['depth'], ['Hypersim', 'VKITTI2']), (['optical_flow'], ['VKITTI2', 'FlyingThings3D'])]
)
def test_data_sets_of_dropped_tasks_go_with_them(root_dir, only, kinds):
    cfg = load_config(root_dir / 'configs/stablemtl/benchmarks.py', dict(only_tasks=only))
    sets = cfg.train_dataloader.dataset.datasets
    assert [s.type for s in sets] == kinds and all(list(s.tasks) == only for s in sets)
    left = [(name, list(b.tasks)) for name, b in cfg.test_evaluator.benchmarks.items()]
    assert left and all(tasks == only for _, tasks in left)
    assert all(name.split('/')[1] in only for name in cfg.test_evaluator.reference)
    check_config(cfg, files=False)


@pytest.mark.parametrize(
    'text, words',
    [
        (
            'from mmengine.config import read_base\nwith read_base():\n    from .tiny import *\n',
            'configs of the form `with',
        ),
        ("_base_ = './tiny.py'\nraise SystemExit\n", 'line 2: SystemExit'),
    ],
)
def test_files_that_are_configs_of_another_kind(tiny_config, words, text):
    path = Path(tiny_config).with_name('other.py')
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_a_written_config_keeps_its_order(tiny_config, tmp_path):
    """The order of tasks is part of a network; mmengine's own text sorts names."""
    cfg = load_config(tiny_config)
    values = dict(b=1, a=dict(z=(1,), y=[{2: float('inf')}, {'not a name': "it's"}], lambda_={'class': None}))
    cfg.merge_from_dict(dict(env_cfg=values))
    cfg.dump(str(tmp_path / 'written.py'))
    again = Config.fromfile(str(tmp_path / 'written.py'))
    assert again.to_dict() == cfg.to_dict()
    assert (
        list(again) == list(cfg)
        and list(again.tasks) == list(cfg.tasks)
        and list(again.env_cfg.a) == ['z', 'y', 'lambda_']
    )
    assert list(load_config(tmp_path / 'written.py').tasks) == list(cfg.tasks) != sorted(cfg.tasks)
