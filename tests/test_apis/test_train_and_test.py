"""Training, resuming and evaluating a small model from end to end."""

from __future__ import annotations

import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmmtl import apis
from mmmtl.apis import init_model
from mmmtl.apis.test import continue_evaluation, enable_tta
from mmmtl.apis.train import fetch_checkpoint, use_amp
from mmmtl.config import load_config
from mmmtl.errors import CheckpointError, ConfigError, InputError, StorageError
from mmmtl.evaluation.metrics import MultiTaskMetric, Records
from mmmtl.evaluation.table import metrics_table
from mmmtl.tasks import Depth
from mmmtl.visualization import read_raw
from tests.distributed import run_ranks
from tests.test_hub import servers


def config_of(trained, options=None):
    return load_config(trained.parent / 'tiny.py', options)


def test_training_leaves_checkpoints_logs_pictures_and_its_config(trained):
    assert {p.name for p in trained.glob('*.pth')} == {'iter_2.pth', 'iter_4.pth'}
    assert (trained / 'tiny.py').is_file()
    lines = [json.loads(line) for line in next(trained.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert [line['step'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    assert {'loss_semseg', 'loss_depth', 'loss_boundary'} <= set(lines[0])
    assert [line['step'] for line in lines if 'depth/RMSE' in line] == [4]
    assert len(list(trained.glob('*/vis_data/vis_image/val_diorama_1_000000_4.png'))) == 1


def test_test_writes_figures_predictions_and_panels(trained, tmp_path, capsys):
    work = tmp_path / 'work'
    metrics = apis.test(
        config_of(trained),
        str(trained / 'iter_4.pth'),
        str(work),
        out=str(tmp_path / 'out'),
        show_dir=str(tmp_path / 'show'),
        max_panels=2,
    )
    assert json.loads((work / 'metrics.json').read_text()) == metrics  # every digit
    assert {'semseg/mIoU', 'depth/RMSE', 'boundary/odsF'} <= set(metrics)
    assert all(isinstance(v, float) for v in metrics.values())
    printed = capsys.readouterr().out
    assert f'{metrics["depth/RMSE"]:.4f}' in printed and 'lower is better' in printed
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['boundary', 'depth', 'semseg', 'uint8']
    assert len(list((tmp_path / 'show').glob('*.png'))) == 2
    assert not (work / 'tiny.py').exists() and (work / 'tiny_test.py').exists()  # the training's copy is not replaced


def test_raw_predictions_are_lossless(trained, tmp_path):
    apis.test(config_of(trained), str(trained / 'iter_4.pth'), str(tmp_path / 'work'), out=str(tmp_path / 'out'))
    model = init_model(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'))
    from mmmtl.registry import DATASETS

    dataset = DATASETS.build(dict(model.cfg.test_dataloader.dataset))
    for packed in (dataset[i] for i in range(len(dataset))):
        with torch.no_grad():
            sample = model.test_step(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))[0]
        for name, value in sample.pred.items():
            written = next((tmp_path / 'out' / name).glob(f'{sample.sample_id}.*'))
            np.testing.assert_array_equal(read_raw(str(written)), value.numpy())


def test_figures_do_not_depend_on_the_batch_size(trained, tmp_path):
    written = set()
    for size in (1, 2, 3):
        options = {'test_dataloader.batch_size': size}
        apis.test(config_of(trained, options), str(trained / 'iter_4.pth'), str(tmp_path / str(size)))
        written.add((tmp_path / str(size) / 'metrics.json').read_bytes())
    assert len(written) == 1


def test_threads_are_given_back(trained, tmp_path):
    torch.set_num_threads(2)
    apis.test(config_of(trained), str(trained / 'iter_4.pth'), str(tmp_path))
    assert torch.get_num_threads() == 2


def test_untrained_weights_can_be_evaluated(tiny_config, tmp_path):
    metrics = apis.test(load_config(tiny_config), None, str(tmp_path / 'work'))
    assert metrics['depth/RMSE'] > 0


def test_a_checkpoint_of_another_network_is_refused_by_test(trained, tmp_path):
    cfg = config_of(trained, {'model.decoder.channels': 16})
    with pytest.raises(CheckpointError, match='model.decoder.channels was 12, here 16'):
        apis.test(cfg, str(trained / 'iter_4.pth'), str(tmp_path))


@pytest.fixture()
def address(trained, tmp_path, monkeypatch):
    """Of a server that gives the checkpoints of a run, and one that would print a word where it is unpickled."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))

    class Handler(servers._Handler):
        def do_GET(self):
            torch.save(type('Evil', (), {'__reduce__': lambda self: (print, ('run!',))})(), evil := io.BytesIO())
            name = self.path.rpartition('/')[2]
            self.answer(200, evil.getvalue() if 'evil' in self.path else (trained / name).read_bytes())

    with servers.serving(Handler) as found:
        yield found


def test_checkpoints_at_addresses_are_data_and_not_mixed_up(address, capsys):
    with pytest.raises(CheckpointError, match='it names print'):
        fetch_checkpoint(f'{address}/evil/iter_4.pth')
    assert 'run!' not in capsys.readouterr().out
    assert fetch_checkpoint(f'{address}/whole/iter_4.pth')['meta']['iter'] == 4


@pytest.mark.parametrize('place', ['folder', 'address'])
def test_resuming_goes_on_where_it_stopped(trained, address, tmp_path, place):
    cfg = config_of(trained, {'train_cfg.val_interval': 100})
    path = f'{address}/iter_2.pth' if place == 'address' else str(trained / 'iter_2.pth')
    runner = apis.train(cfg, str(tmp_path / 'work'), resume=path)
    ours = torch.load(tmp_path / 'work' / 'iter_4.pth', weights_only=True)['state_dict']
    theirs = torch.load(trained / 'iter_4.pth', weights_only=True)['state_dict']
    assert runner.iter == 4
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_resume_without_a_checkpoint_starts_anew_and_with_one_goes_on(tiny_config, tmp_path):
    work = str(tmp_path / 'work')
    first = apis.train(load_config(tiny_config, {'max_iters': 2}), work, resume=True)
    assert first.iter == 2
    again = apis.train(load_config(tiny_config, {'max_iters': 4, 'param_scheduler': None}), work, resume=True)
    lines = [
        json.loads(line)
        for path in (tmp_path / 'work').glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    assert again.iter == 4 and sorted(line['step'] for line in lines if 'loss' in line) == [1, 2, 3, 4]


def test_resume_without_a_checkpoint_starts_from_the_weights_that_the_config_names(trained, tmp_path):
    still = {
        'load_from': str(trained / 'iter_4.pth'),
        'max_iters': 2,
        'param_scheduler': None,
        'optim_wrapper.optimizer.lr': 0.0,
    }
    apis.train(config_of(trained, still), str(tmp_path / 'work'), resume=True)
    ours = torch.load(tmp_path / 'work' / 'iter_2.pth', weights_only=True)['state_dict']
    theirs = torch.load(trained / 'iter_4.pth', weights_only=True)['state_dict']
    weights = [k for k in theirs if k.endswith('weight') and theirs[k].ndim > 1]
    assert weights and all(torch.equal(ours[k], theirs[k]) for k in weights)


def test_resuming_another_network_is_refused(trained, tmp_path):
    with pytest.raises(CheckpointError, match='is not of this network'):
        apis.train(
            config_of(trained, {'model.decoder.channels': 16}), str(tmp_path), resume=str(trained / 'iter_2.pth')
        )


def test_starting_from_other_weights_needs_some_that_fit(trained, tmp_path):
    cfg = config_of(
        trained,
        {
            'max_iters': 1,
            'default_hooks.checkpoint.interval': 1,
            'load_from': str(trained / 'iter_4.pth'),
            'model.decoder.channels': 16,
            'model.backbone.checkpoint': str(trained / 'iter_4.pth'),  # none of a backbone alone: it is not read
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
        },
    )
    apis.train(cfg, str(tmp_path / 'work'))
    state = torch.load(trained / 'iter_4.pth', weights_only=True)['state_dict']
    del state['backbone.body.pos_embed']  # as where it is of another grid, and left out by mmengine
    torch.save({'state_dict': state}, tmp_path / 'part.pth')
    cfg.load_from = str(tmp_path / 'part.pth')
    with pytest.raises(ConfigError, match=f'{trained}/iter_4.pth do not fit vit_tiny'):  # but here it is
        apis.train(cfg, str(tmp_path / 'third'))
    torch.save({'state_dict': {'a': torch.zeros(1)}}, tmp_path / 'foreign.pth')
    cfg.load_from = str(tmp_path / 'foreign.pth')
    with pytest.raises(CheckpointError, match='0 parameters and buffers fit'):
        apis.train(cfg, str(tmp_path / 'other'))


def test_amp_and_seed(tiny_config, tmp_path):
    options = {'max_iters': 2, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None, 'param_scheduler': None}
    losses = []
    for seed in (1, 1, 2):
        runner = apis.train(load_config(tiny_config, options), str(tmp_path / str(len(losses))), amp=True, seed=seed)
        assert type(runner.optim_wrapper).__name__ == 'AutocastOptimWrapper'
        losses.append(runner.message_hub.get_scalar('train/loss').current())
    assert losses[0] == losses[1] != losses[2]


def test_amp_overrules_a_wrapper_that_computes_in_float32(tiny_config):
    options = {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'float32'}
    use_amp(cfg := load_config(tiny_config, options))
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_amp_leaves_a_foreign_wrapper_alone(tiny_config):
    cfg = load_config(tiny_config)
    cfg.optim_wrapper.type = 'OptimWrapperDict'
    with pytest.raises(ConfigError, match="optim_wrapper.type='OptimWrapperDict'"):
        use_amp(cfg)


def test_a_config_without_a_needed_section(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='needs test_dataloader'):
        apis.test(cfg, None, str(tmp_path))
    cfg.optim_wrapper = None
    with pytest.raises(ConfigError, match="no 'optim_wrapper'"):
        apis.train(cfg, str(tmp_path))


def test_a_single_task_trains_and_is_evaluated(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'only_tasks': ['depth'], 'max_iters': 2})
    apis.train(cfg, str(tmp_path))
    metrics = apis.test(cfg, str(tmp_path / 'iter_2.pth'), str(tmp_path))
    assert {k.split('/')[0] for k in metrics} == {'depth'}


def test_partial_labels_train(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'label_sampler.type': 'OneLabel', 'max_iters': 3})
    assert cfg.train_dataloader.dataset.label_sampler.type == 'OneLabel'
    apis.train(cfg, str(tmp_path))


def test_the_table_goes_by_task_and_marks_the_figure_papers_compare():
    text = metrics_table(
        {'z/a': 1.0, 'depth/RMSE': 0.5, 'depth/relErr': 0.25, 'delta_m': -3.0},
        {'depth': Depth()},
        [SimpleNamespace(greater_is_better={'depth/RMSE': False, 'z/a': True})],
    )
    rows = [line.split() for line in text.splitlines()[2:]]
    assert rows == [
        ['depth', 'RMSE*', '0.5000', 'lower', 'is', 'better'],
        ['relErr', '0.2500'],
        ['delta_m', '-3.0000'],
        ['z', 'a', '1.0000', 'higher', 'is', 'better'],
    ]


def test_views_are_asked_for_by_a_flag(trained, tmp_path):
    cfg = load_config(str(trained.parent / 'tiny.py'))
    plain = apis.test(cfg, str(trained / 'iter_4.pth'), str(tmp_path / 'plain'))
    views = apis.test(cfg, str(trained / 'iter_4.pth'), str(tmp_path / 'views'), tta=True)
    assert plain.keys() == views.keys() and plain['depth/RMSE'] != views['depth/RMSE']
    alone = load_config(str(trained.parent / 'tiny.py'), {'model.tta': dict(flips=['none'])})
    assert apis.test(alone, str(trained / 'iter_4.pth'), str(tmp_path / 'alone'), tta=True) == plain
    with pytest.raises(ConfigError, match="model.type='TwoViews': this model has no test-time"):
        enable_tta(dict(type='TwoViews'))


def test_hooks_learn_from_the_metrics_what_is_better(tiny_config):
    from mmmtl.apis.runs import fill_in_rules

    cfg = load_config(tiny_config, {'default_hooks.checkpoint.save_best': 'depth/RMSE'})
    cfg.custom_hooks.append(dict(type='EarlyStoppingHook', monitor='semseg/mIoU'))
    fill_in_rules(cfg)
    assert cfg.default_hooks.checkpoint.rule == 'less' and cfg.custom_hooks[-1]['rule'] == 'greater'
    cfg.default_hooks.checkpoint.update(save_best='depth/RMS', rule=None)
    with pytest.raises(ConfigError, match="no metric gives 'depth/RMS'.*'RMSE'"):
        fill_in_rules(cfg)


def test_a_run_that_may_stop_early_saves_its_best_and_can_be_tested(tiny_config, tmp_path, capfd):
    options = {
        'default_hooks.checkpoint.save_best': 'depth/RMSE',
        'max_iters': 2,
        'train_dataloader.persistent_workers': True,
    }
    cfg = load_config(tiny_config, options)
    cfg.custom_hooks.append(dict(type='EarlyStoppingHook', monitor='depth/RMSE'))
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=8)
    apis.train(cfg, str(tmp_path))
    printed = ''.join(capfd.readouterr())
    assert 'Total batch: 8 (1 process(es) x 2 images x 4 step(s) of accumulation): an iteration is 4 batches' in printed
    assert list(tmp_path.glob('best_depth_RMSE_*.pth'))
    assert apis.test(cfg, str(tmp_path / 'iter_2.pth'), str(tmp_path / 'test'))['depth/RMSE'] > 0


@pytest.mark.parametrize('iterations', [1, 5, 19, 20, 45, 800])
def test_warm_ups_of_any_length_reach_the_full_rate(root_dir, iterations):
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = load_config(root_dir / 'configs/baselines/r18_diorama.py', {'max_iters': iterations})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) == pytest.approx(1.0)


def test_an_interrupted_evaluation_goes_on(trained, tmp_path, monkeypatch):
    """The images already measured do not go through the network again, and the figures are those of one go."""
    checkpoint, work = str(trained / 'iter_4.pth'), str(tmp_path / 'work')
    whole = apis.test(config_of(trained), checkpoint, str(tmp_path / 'whole'))
    seen, stop = [], [2]
    keep = MultiTaskMetric._keep

    def interrupted(self, complete):
        keep(self, complete)
        seen.append(len(self._states.ids()))
        if len(seen) == stop[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(MultiTaskMetric, '_keep', interrupted)
    with pytest.raises(KeyboardInterrupt):
        apis.test(config_of(trained), checkpoint, work)
    with pytest.raises(InputError, match='another config or checkpoint'):
        apis.test(config_of(trained), str(trained / 'iter_2.pth'), work, resume=True)
    seen.clear()
    stop[0] = 99
    assert apis.test(config_of(trained), checkpoint, work, resume=True) == whole
    assert set(seen) == {3}, 'two of three images were measured before'
    assert not (tmp_path / 'work' / 'measured').exists()


@pytest.mark.parametrize('others', [0, 1])
def test_images_are_left_out_where_every_metric_has_kept_them(tmp_path, others):
    """A metric that keeps nothing has to see all images again."""
    left: list = []
    places: list = []
    keeps = SimpleNamespace(keep_progress=lambda folder: places.append(folder) or {'set/a'})
    sampler, data = SimpleNamespace(leave_out=left.append), [dict(sample_id='a'), dict(sample_id='b')]
    dataset = type('Data', (list,), dict(get_data_info=lambda self, k: self[k], before_ids='set/'))(data)
    runner = SimpleNamespace(
        test_evaluator=SimpleNamespace(metrics=[keeps, keeps] + [object()] * others),
        test_dataloader=SimpleNamespace(sampler=sampler, dataset=dataset),
        hooks=[],
        logger=SimpleNamespace(info=print),
    )
    continue_evaluation(runner, Config(dict(work_dir=str(tmp_path))), None, resume=True)
    assert len(set(places)) == 2, 'files of their own'
    assert left == [{0}] * (not others)


@pytest.mark.parametrize('kept', ['nothing', 'all but one'])
def test_a_resumed_evaluation_writes_every_prediction_and_panel(trained, tmp_path, kept, monkeypatch):
    """Also those of images that were measured before: the run may have ended before they were written, or gone elsewhere."""
    checkpoint, work = str(trained / 'iter_4.pth'), str(tmp_path / 'work')
    out, show = tmp_path / 'out', tmp_path / 'show'
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'rmtree', lambda *a, **k: None)  # as if it had been interrupted at the very end
        whole = apis.test(config_of(trained), checkpoint, work, str(out), str(show))
    names = {path.relative_to(tmp_path) for folder in (out, show) for path in folder.rglob('*.*')}
    first = sorted(show.iterdir())[0].stem
    for path in [path for folder in (out, show) for path in folder.rglob('*.*')]:
        if kept == 'nothing' or path.stem == first:
            path.unlink()
    assert apis.test(config_of(trained), checkpoint, work, str(out), str(show), resume=True) == whole
    assert {path.relative_to(tmp_path) for folder in (out, show) for path in folder.rglob('*.*')} == names


def evaluate_on_ranks(config, checkpoint: str, work: str) -> None:
    """Every rank measures one image and is interrupted."""
    keep = MultiTaskMetric._keep

    def interrupted(self, complete):
        keep(self, complete)
        raise RuntimeError('interrupted')

    MultiTaskMetric._keep = interrupted
    apis.test(config, checkpoint, work, launcher='pytorch')


def test_an_evaluation_goes_on_with_another_number_of_processes(trained, tmp_path, monkeypatch):
    checkpoint, work = str(trained / 'iter_4.pth'), str(tmp_path / 'work')
    whole = apis.test(config_of(trained), checkpoint, str(tmp_path / 'whole'))
    results = run_ranks(evaluate_on_ranks, 2, config_of(trained), checkpoint, work)
    assert [(ok, 'interrupted' in text) for ok, text in results] == [(False, True)] * 2
    seen, keep = [], MultiTaskMetric._keep
    monkeypatch.setattr(
        MultiTaskMetric, '_keep', lambda self, complete: (keep(self, complete), seen.append(len(self._states.ids())))
    )
    assert apis.test(config_of(trained), checkpoint, work, resume=True) == whole
    assert set(seen) == {3}, 'two of three images were measured before, by two processes'


def test_figures_outlive_records_that_cannot_be_written(trained, tmp_path, monkeypatch, capsys):
    def full(self, path, **options):
        raise StorageError(28, f'cannot write {path}: No space left on device')

    monkeypatch.setattr(Records, 'save', full)
    with pytest.raises(StorageError, match=r'records\.npz'):
        apis.test(config_of(trained), str(trained / 'iter_4.pth'), str(tmp_path))
    assert 'depth/RMSE' in json.loads((tmp_path / 'metrics.json').read_text())
    assert 'RMSE' in capsys.readouterr().out


def test_the_work_dirs_config_builds_the_network_that_was_trained(trained):
    """Tasks keep their order there; in the order of their names the checkpoint would belong to another network."""
    written = load_config(str(trained / 'tiny.py'))
    assert list(written.tasks) == list(load_config(str(trained.parent / 'tiny.py')).tasks) != sorted(written.tasks)
    model = init_model(str(trained / 'tiny.py'), str(trained / 'iter_4.pth'))
    assert list(model.tasks) == list(written.tasks)
