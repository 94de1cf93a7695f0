"""NonFiniteLossHook: stops before the weights are touched, or drops the batch without a trace."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict

from mmmtl.compat import init_cpu_dist
from mmmtl.engine import NonFiniteLossError, NonFiniteLossHook, RandomStateHook
from mmmtl.engine.hooks import nonfinite_loss_hook as module
from tests.distributed import run_ranks
from tests.drills.runs import SHARDED
from tests.test_engine.test_hooks.test_checkpoint_hook import log
from tests.test_engine.toy import config, state, train, train_rank


def hooks(**kwargs) -> list[dict]:
    return [dict(type='RandomStateHook'), dict(type='NonFiniteLossHook', **kwargs)]


class TestRaise:
    def test_names_the_losses_the_samples_and_the_remedy(self, tmp_path):
        cfg = config(tmp_path, model__poison=(4,))
        with pytest.raises(NonFiniteLossError) as caught:
            train(cfg)
        text = str(caught.value)
        assert 'Iteration 5: loss_first is nan, loss_second is nan (samples: s' in text
        assert 'lower the learning rate' in text and "mode='skip'" in text
        saved = torch.load(tmp_path / 'iter_4.pth')['state_dict']
        assert all(torch.isfinite(value).all() for value in saved.values())
        assert not (tmp_path / 'iter_5.pth').exists()

    def test_only_the_bad_loss_is_named(self, tmp_path):
        with pytest.raises(NonFiniteLossError, match=r'Iteration 2: loss_second is inf \(samples'):
            train(config(tmp_path, model__poison_one=(1,)))

    def test_an_infinite_derivative_of_a_finite_loss(self, tmp_path):
        with pytest.raises(
            NonFiniteLossError,
            match=r'Iteration 4: the gradients of \d of \d+ weights are not finite '
            r'\(first: body\.\d\.\w+\) \(samples: s\d',
        ):
            train(config(tmp_path, model__poison_gradient=(3,)))

    def test_gradients_can_be_left_unchecked(self, tmp_path):
        with pytest.raises(NonFiniteLossError, match='Iteration 5: loss_first is nan'):  # one step too late
            train(config(tmp_path, model__poison_gradient=(3,), custom_hooks=hooks(check_gradients=False)))

    def test_samples_of_all_accumulated_batches(self, tmp_path):
        with pytest.raises(NonFiniteLossError, match=r'\(samples: (s\d, ){5}s\d\)'):
            train(config(tmp_path, model__poison_gradient=(2,), optim_wrapper__accumulative_counts=2))

    def test_no_cost_to_the_numbers(self, tmp_path):
        with_hook, without = train(config(tmp_path / 'a')), train(config(tmp_path / 'b', custom_hooks=hooks()[:1]))
        first, second = state(with_hook), state(without)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not with_hook.model._forward_hooks and not with_hook.optim_wrapper.optimizer._optimizer_step_pre_hooks


class TestSkip:
    @pytest.mark.parametrize('poison', ['poison', 'poison_gradient'])
    @pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
    def test_the_batch_leaves_no_trace(self, tmp_path, poison, clip, monkeypatch):
        """Weights, statistics and optimiser are bit for bit those of a step that never was."""
        seen = []
        look = lambda self, runner, **_: seen.append(state(runner))  # noqa: E731
        monkeypatch.setattr(RandomStateHook, 'before_train_iter', look)
        runner = train(
            config(
                tmp_path, custom_hooks=hooks(mode='skip'), optim_wrapper__clip_grad=clip, **{f'model__{poison}': (3, 5)}
            )
        )
        changed = [
            any(not torch.equal(a[name], b[name]) for name in a if name.startswith(('model.', 'optimizer.')))
            for a, b in zip(seen, seen[1:])
        ]
        assert changed == [True, True, True, False, True, False, True]
        assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())
        assert runner.message_hub.get_info('nonfinite_skipped') == 2
        assert 'Iteration 4: ' in log(tmp_path) and 'The batch is dropped (2 so far)' in log(tmp_path)
        assert torch.load(tmp_path / 'iter_8.pth')['message_hub']['runtime_info']['nonfinite_skipped'] == 2

    def test_the_log_repeats_the_last_finite_losses(self, tmp_path):
        runner = train(config(tmp_path, custom_hooks=hooks(mode='skip'), model__poison=(3,)))
        history = runner.message_hub.get_scalar('train/loss_first').data[0]
        assert history[3] == pytest.approx(history[2]) and history[4] != history[3]

    def test_other_batches_of_the_same_update_count(self, tmp_path, monkeypatch):
        """The last batch before an update is dropped: the update uses the gradients gathered before it, untouched."""
        gathered, used, step = {}, {}, NonFiniteLossHook._may_step

        def gradients(model):
            return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

        def before_train_iter(self, runner, **_):
            gathered[runner.iter] = gradients(runner.model)

        def before_step(self, *args):
            used[self._runner.iter] = gradients(self._runner.model)
            return step(self, *args)

        monkeypatch.setattr(NonFiniteLossHook, 'before_train_iter', before_train_iter)
        monkeypatch.setattr(NonFiniteLossHook, '_may_step', before_step)
        train(
            config(
                tmp_path, 4, custom_hooks=hooks(mode='skip'), model__poison=(3,), optim_wrapper__accumulative_counts=2
            )
        )
        assert set(used) == {1, 3} and len(gathered[3]) == len(used[3]) == 6
        assert all(torch.equal(one, other) for one, other in zip(gathered[3], used[3]))
        assert not all(torch.equal(one, other) for one, other in zip(gathered[1], used[1]))

    def test_gives_up_when_training_has_diverged(self, tmp_path):
        with pytest.raises(NonFiniteLossError, match=r'Iteration 6: .* 4 batches in a row were dropped'):
            train(config(tmp_path, custom_hooks=hooks(mode='skip', max_consecutive=3), model__poison=(2, 3, 4, 5, 6)))

    @pytest.mark.parametrize('poison', ['poison', 'poison_gradient'])
    def test_a_training_that_learns_nothing_does_not_end_well(self, tmp_path, poison):
        with pytest.raises(NonFiniteLossError, match='after 3 batches without having learned from one'):
            train(config(tmp_path, 3, custom_hooks=hooks(mode='skip'), **{f'model__{poison}': (0, 1, 2)}))

    def test_not_with_loss_scaling(self, tmp_path):
        class Runner:
            model = torch.nn.Linear(1, 1)
            optim_wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)

        with pytest.raises(ValueError, match='cannot drop a batch from AmpOptimWrapper'):
            NonFiniteLossHook(mode='skip').before_train(Runner())


def test_every_optimiser_steps_and_no_batch_is_kept():
    """Two optimisers that learn from one batch, and float16's wrapper, whose steps are not looked at."""
    model = torch.nn.ModuleDict(dict(one=torch.nn.Linear(1, 1), two=torch.nn.Linear(1, 1)))
    model.forward = lambda mode='loss': {f'loss_{n}': part.weight.sum() for n, part in model.items()}
    wrappers = {n: OptimWrapper(torch.optim.SGD(part.parameters(), lr=1.0)) for n, part in model.items()}
    before = {n: part.weight.item() for n, part in model.items()}
    hook = NonFiniteLossHook()
    runner = SimpleNamespace(model=model, hooks=[], optim_wrapper=OptimWrapperDict(**wrappers), iter=0)
    hook.before_train(runner)
    for _ in range(2):
        hook.before_train_iter(runner, 0)
        for name, loss in model(mode='loss').items():
            wrappers[name[5:]].update_params(loss)
        assert len(hook._batches) == 1
    assert all(part.weight.item() == pytest.approx(before[n] - 2) for n, part in model.items())
    hook.after_train(runner)
    runner.optim_wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)
    hook.before_train(runner)
    for _ in range(3):
        hook.before_train_iter(runner, 0)
        model(mode='loss')
        assert len(hook._batches) == 1


def test_the_log_repeats_accuracies_too():
    model = torch.nn.Linear(1, 1)
    model.forward = lambda loss, mode='loss': dict(loss_depth=model.weight.sum() * loss, acc=torch.tensor(0.7))
    hub = SimpleNamespace(runtime_info={}, update_info=lambda *args: None)
    wrapper, logger = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0)), SimpleNamespace(warning=print)
    hook = NonFiniteLossHook(mode='skip')
    hook.before_train(
        SimpleNamespace(model=model, hooks=[], optim_wrapper=wrapper, iter=0, message_hub=hub, logger=logger)
    )
    kept = [model(loss, mode='loss') for loss in (2.0, float('nan'))]
    assert kept[0]['loss_depth'].item() == kept[1]['loss_depth'].item()
    assert kept[1]['acc'].item() == pytest.approx(0.7)


def test_bad_mode():
    with pytest.raises(ValueError, match="mode must be 'raise' or 'skip', got 'warn'"):
        NonFiniteLossHook(mode='warn')


def test_lists_of_losses_and_unnamed_samples():
    assert module._total([torch.tensor([1.0, 3.0]), torch.tensor(4.0)]) == 6
    assert module._sample_ids((None,), {}) == [] and module._sample_ids((None, [object()]), {}) == []


def poisoned_rank(folder: str, mode: str, unused: bool) -> dict:
    """Rank 1 alone meets a NaN."""
    poison = (3,) if os.environ['RANK'] == '1' else ()
    return train_rank(
        config(folder, 6, custom_hooks=hooks(mode=mode), model__poison=poison, find_unused_parameters=unused)
    )


@pytest.mark.parametrize('mode, unused', [('raise', False), ('skip', False), ('skip', True)])
def test_two_ranks_agree(tmp_path, mode, unused):
    """Both stop and name rank 1's samples, or both drop the batch and stay equal."""
    results = run_ranks(poisoned_rank, 2, str(tmp_path), mode, unused)
    if mode == 'raise':
        for ok, text in results:
            assert not ok
            assert text.startswith('NonFiniteLossError: Iteration 4: rank 1: loss_first is nan, loss_second is nan (')
        return
    assert all(ok for ok, _ in results), results
    first, second = (ended for _, ended in results)
    weights = [name for name in first if name.startswith(('model.body.0', 'model.body.3', 'optimizer'))]
    assert weights and all(torch.equal(first[name], second[name]) for name in weights)
    assert all(torch.isfinite(first[name].float()).all() for name in weights)


ONE_RANK = {
    'replicated': {},
    'accumulated': dict(optim_wrapper__accumulative_counts=2),
    'balanced': dict(optim_wrapper__type='BalancingOptimWrapper', optim_wrapper__balancer=dict(type='GradNorm')),
    'sharded': dict(SHARDED, val_cfg=None, val_dataloader=None, val_evaluator=None),
}


def bad_gradient_rank(folder: str, options: dict) -> dict:
    """Rank 1 alone meets a gradient that is not finite; what this rank has dropped, and its weights before the end."""
    cfg = config(folder, 6, custom_hooks=hooks(mode='skip'), **options)
    cfg.model.poison_gradient = (3,) if os.environ['RANK'] == '1' else ()
    init_cpu_dist(cfg, 'pytorch')
    cfg.launcher = 'pytorch'
    runner = train(cfg)
    hub = runner.message_hub.runtime_info
    gathered = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    return dict(count=hub.get('nonfinite_skipped'), weights=gathered)


@pytest.mark.parametrize('name', ONE_RANK)
def test_a_gradient_of_one_rank_alone_stops_all(tmp_path, name):
    """All ranks drop the same batch, count it the same, and end with the same finite weights."""
    results = run_ranks(bad_gradient_rank, 2, str(tmp_path), ONE_RANK[name])
    assert all(ok for ok, _ in results), results
    first, second = (ended for _, ended in results)
    assert first['count'] == second['count'] == 1
    assert first['weights'].isfinite().all() and second['weights'].isfinite().all()
    if name != 'sharded':  # where each holds a part of its own
        assert torch.equal(first['weights'], second['weights'])
    assert log(tmp_path).count('The batch is dropped (1 so far)') == 1


class TestNothingLearns:
    """A dropped batch, whatever is wrong with it, moves nothing that learns."""

    def test_losses_and_gradients_count_together(self, tmp_path):
        """Bad gradients alone once went on for ever: 8 of 8 batches dropped, exit status 0."""
        with pytest.raises(NonFiniteLossError, match=r'5 batches in a row were dropped'):
            train(
                config(
                    tmp_path,
                    custom_hooks=hooks(mode='skip', max_consecutive=4),
                    model__poison=(1, 3),
                    model__poison_gradient=(2, 4, 5, 6, 7),
                )
            )

    def test_task_and_parameter_from_before_clipping(self, tmp_path):
        """Clipping by the norm makes every gradient NaN, so that the first parameter would be named, whichever it was."""
        with pytest.raises(NonFiniteLossError, match=r'they come from loss_second \(its first: body\.0\.weight\)'):
            train(config(tmp_path, optim_wrapper__clip_grad=dict(max_norm=1.0), model__poison_gradient=(2,)))

    @pytest.mark.parametrize('poison', ['poison', 'poison_gradient'])
    def test_averaged_weights_stay(self, tmp_path, poison, monkeypatch):
        seen = []

        def look(self, runner, **_):
            ema = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
            seen.append([value.clone() for value in ema.ema_model.state_dict().values()])

        monkeypatch.setattr(RandomStateHook, 'before_train_iter', look)
        custom = [*hooks(mode='skip'), dict(type='EMAHook', momentum=0.5)]
        train(config(tmp_path, custom_hooks=custom, **{f'model__{poison}': (3, 5)}))
        moved = [any(not torch.equal(a, b) for a, b in zip(one, other)) for one, other in zip(seen, seen[1:])]
        assert moved == [True, True, True, False, True, False, True]

    def test_all_gradients_of_an_update_are_dropped_with_their_statistics(self, tmp_path, monkeypatch):
        seen = []
        look = lambda self, runner, **_: seen.append(state(runner))  # noqa: E731
        monkeypatch.setattr(RandomStateHook, 'before_train_iter', look)
        counts = dict(optim_wrapper__accumulative_counts=2)
        train(config(tmp_path, 6, custom_hooks=hooks(mode='skip'), model__poison_gradient=(3,), **counts))
        names = [name for name in seen[0] if name.startswith('model.')]
        assert all(torch.equal(seen[2][name], seen[4][name]) for name in names)
        assert not all(torch.equal(seen[4][name], seen[5][name]) for name in names)
