"""Balancing methods: known optima of a toy problem, ranks, accumulation and bfloat16 agree, what is whose, mistakes."""

from __future__ import annotations

import copy
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from torch import nn

from mmmtl.engine.balancing import BalancingOptimWrapper, FixedWeights
from mmmtl.engine.balancing.losses import group_losses, shared_parameters
from mmmtl.engine.run_state import _optimizer
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.registry import BALANCERS
from tests.distributed import run_ranks

PLACES = dict(near=torch.tensor([2.0, 0.0]), far=torch.tensor([-1.0, 3.0]))
STIFFNESS = dict(near=1.0, far=3.0)
OFFSET = dict(near=0.5, far=1.5)
OWN = dict(near=0.7, far=-0.3)


class Toy(BaseModel):
    """Two bowls with different bottoms share a point; each task also has a number of its own.

    L_t = k_t / 2 · mean |point - place_t - x|² + offset_t + (own_t - target_t)² / 2.
    """

    def __init__(self, start=(3.0, 4.0)):
        super().__init__()
        self.tasks = dict.fromkeys(PLACES)
        self.point = nn.Parameter(torch.tensor(start)[:, None])
        self.own = nn.ParameterDict({name: nn.Parameter(torch.zeros(1)) for name in PLACES})

    def forward(self, inputs, data_samples=None, mode='loss', only=None):
        losses = {}
        for name, place in PLACES.items():
            if only and name not in only:
                losses[f'loss_{name}'] = (self.own[name] * 0).sum() + (self.point * 0).sum()
                continue
            gap = self.point[:, 0] - place - inputs
            losses[f'loss_{name}'] = STIFFNESS[name] / 2 * (gap**2).sum(1).mean() + OFFSET[name]
            losses[f'own.loss_{name}'] = ((self.own[name] - OWN[name]) ** 2).mean() / 2
        return losses


class Perceptron(BaseModel):
    """A shared layer and a head per task, which learn opposite functions."""

    def __init__(self):
        super().__init__()
        self.tasks = dict.fromkeys(PLACES)
        self.trunk = nn.Linear(2, 16)
        self.heads = nn.ModuleDict({name: nn.Linear(16, 1) for name in PLACES})

    def forward(self, inputs, data_samples=None, mode='loss'):
        hidden, wanted = self.trunk(inputs).tanh(), inputs.sum(1, keepdim=True)
        return {
            f'loss_{name}': ((self.heads[name](hidden).float() - sign * wanted) ** 2).mean()
            for name, sign in zip(PLACES, (1, -3))
        }


def batch(index: int, rows: int = 4) -> torch.Tensor:
    """Rows of mean zero."""
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(index)) * 0.5
    return x - x.mean(0)


def wrapper_of(model, balancer, lr=0.05, **options):
    inner = getattr(model, 'module', model)
    return BalancingOptimWrapper(balancer, optimizer=torch.optim.SGD(inner.parameters(), lr), **options)


def train(balancer, steps=400, lr=0.05, accumulate=1, rows=4, rank=0, world=1, decay=1.0, model=None, **options):
    """Train on ``steps`` updates; ranks and accumulated batches each take their share of the rows of an update."""
    torch.manual_seed(0)
    model = model or Toy()
    if world > 1:
        model = MMDistributedDataParallel(model, broadcast_buffers=False)
    wrapper = wrapper_of(model, balancer, lr, accumulative_counts=accumulate, **options)
    wrapper.initialize_count_status(model, 0, steps * accumulate)
    parts = world * accumulate
    for step in range(steps):
        shares = batch(step, rows).chunk(parts)
        for part in range(accumulate):
            model.train_step(dict(inputs=shares[part * world + rank]), wrapper)
        for group in wrapper.optimizer.param_groups:
            group['lr'] *= decay
    return getattr(model, 'module', model), wrapper


def optimum(weights: dict[str, float]) -> torch.Tensor:
    """Bottom of the weighted sum of the bowls."""
    force = {n: weights[n] * STIFFNESS[n] for n in PLACES}
    return sum(force[n] * PLACES[n] for n in PLACES) / sum(force.values())


def geometric_optimum() -> torch.Tensor:
    """Lowest geometric mean of the expected losses, by looking everywhere between the bottoms."""
    shares = torch.linspace(0, 1, 20001)[:, None]
    points = shares * PLACES['near'] + (1 - shares) * PLACES['far']
    spread = sum((batch(i) ** 2).sum(1).mean() for i in range(300)) / 300
    logs = sum(
        (STIFFNESS[n] / 2 * ((points - PLACES[n]) ** 2).sum(1) + STIFFNESS[n] / 2 * spread + OFFSET[n]).log()
        for n in PLACES
    )
    return points[logs.argmin()]


def distance_to_front(point: torch.Tensor) -> float:
    """How far from the segment of points where one task can only gain what the other loses."""
    along = PLACES['far'] - PLACES['near']
    share = (((point - PLACES['near']) @ along) / (along @ along)).clamp(0, 1)
    return (point - PLACES['near'] - share * along).norm().item()


# ---- known optima ----------------------------------------------------------------------------------------------------
KNOWN = {
    'fixed': (dict(type='FixedWeights', weights=dict(near=3.0)), lambda: optimum(dict(near=3.0, far=1.0)), 1e-3),
    'dwa': (dict(type='DWA', window=10), lambda: optimum(dict(near=1.0, far=1.0)), 0.02),
    'rlw': (dict(type='RLW'), lambda: optimum(dict(near=1.0, far=1.0)), 0.1),
    'geometric': (dict(type='GLS'), geometric_optimum, 0.03),
    'uncertainty': (dict(type='Uncertainty', lr=0.05), geometric_optimum, 0.05),
}


@pytest.mark.parametrize('name', KNOWN)
def test_known_optimum(name):
    balancer, expected, tolerance = KNOWN[name]
    scarce = name in ('geometric', 'uncertainty')  # weights far below 1
    model, _ = train(balancer, steps=600, lr=0.2 if scarce else 0.05, decay=0.993 if name == 'rlw' else 1.0)
    assert (model.point[:, 0] - expected()).norm().item() < tolerance
    for task, target in OWN.items():
        assert model.own[task].item() == pytest.approx(target, abs=0.02), "what is one task's own is not balanced away"


AGGREGATORS = ['PCGrad', 'CAGrad', 'MGDA', 'NashMTL', 'UPGrad', 'IMTLG', 'AlignedMTL']
SOLVERS = {'nashmtl': ('ecos',), 'upgrad': ('qpsolvers', 'quadprog')}
"""Solvers of copyleft licences, which nothing installs by itself."""


def lacks(method: str) -> tuple[str, ...]:
    """Solvers that a method needs and that are not installed."""
    return tuple(name for name in SOLVERS.get(method.lower(), ()) if importlib.util.find_spec(name) is None)


def with_solvers(methods) -> list:
    """Methods as parameters; those whose solver is not installed are skipped, and say so."""
    why = "{} needs {} (GPL or LGPL): pip install 'mmmtl[balancing-gpl]'"
    return [
        pytest.param(m, marks=pytest.mark.skipif(bool(lacks(m)), reason=why.format(m, ', '.join(lacks(m)))))
        for m in methods
    ]


@pytest.mark.parametrize('name', with_solvers(AGGREGATORS))
def test_aggregated_gradients_reach_the_front(name):
    pytest.importorskip('torchjd')
    # IMTL-G and Nash-MTL take steps of full length however near the front is: the step size has to shrink
    lasting = dict(steps=300, decay=0.98) if name in ('IMTLG', 'NashMTL') else dict(steps=150)
    model, _ = train(dict(type='TorchJD', aggregator=name), lr=0.1, **lasting)
    assert distance_to_front(model.point[:, 0].detach()) < 0.02
    for task, target in OWN.items():
        assert model.own[task].item() == pytest.approx(target, abs=0.02)


def test_gradnorm_reaches_the_front_with_equal_pulls():
    model, wrapper = train(dict(type='GradNorm', alpha=0.5, lr=0.01), steps=600)
    point = model.point[:, 0].detach()
    assert distance_to_front(point) < 0.05
    weights = dict(zip(PLACES, wrapper.balancer.weights.tolist()))
    assert sum(weights.values()) == pytest.approx(2, rel=1e-5) and weights['near'] > 1.2 > weights['far']
    pulls = [weights[n] * STIFFNESS[n] * (point - PLACES[n]).norm().item() for n in PLACES]
    assert pulls[0] == pytest.approx(pulls[1], rel=0.1)


@pytest.mark.parametrize('kind', ['GradNorm', 'Uncertainty'])
def test_the_weight_of_an_absent_task_rests(kind):
    balancer = BALANCERS.build(dict(type=kind, lr=0.1))
    balancer.setup(['first', 'second', 'third'], torch.device('cpu'))
    both = torch.tensor([True, True, True])
    for _ in range(5):
        balancer.learn(torch.tensor([0.5, 2.0, 3.0]), both, torch.tensor([1.0, 9.0, 4.0]))
    before, moments = balancer.weigh(None, None).clone(), balancer.moments[:, 1:].clone()
    balancer.learn(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, False, False]), torch.tensor([1.0, 0.0, 0.0]))
    after = balancer.weigh(None, None)
    torch.testing.assert_close(after[1] / after[2], before[1] / before[2])
    assert torch.equal(balancer.moments[:, 1:], moments) and after[0] != before[0]


def test_the_scale_is_that_of_a_single_gradient_too():
    pytest.importorskip('torchjd')
    balancer = BALANCERS.build(dict(type='TorchJD', aggregator='Sum', scale=3.0))
    assert balancer.aggregate(torch.ones(1, 2)).tolist() == [3, 3] and balancer.aggregate(
        torch.ones(2, 2)
    ).tolist() == [6, 6]


def test_conflicting_gradients_are_projected():
    """PCGrad by hand: each gradient loses its component against the other."""
    pytest.importorskip('torchjd')
    model, _ = train(dict(type='TorchJD', aggregator='PCGrad'), steps=1, lr=1.0)
    start = torch.tensor([0.0, 1.6])
    model = Toy(start.tolist())
    g = {n: STIFFNESS[n] * (start - PLACES[n]) for n in PLACES}
    assert g['near'] @ g['far'] < 0, 'a conflict'
    step = sum(a - (a @ b) / (b @ b) * b for a, b in ((g['near'], g['far']), (g['far'], g['near'])))
    train(dict(type='TorchJD', aggregator='PCGrad'), steps=1, lr=1.0, model=model)
    torch.testing.assert_close(model.point[:, 0].detach(), start - step, rtol=1e-4, atol=1e-5)


# ---- one process, two, accumulated, bfloat16 -------------------------------------------------------------------------
METHODS = {
    'fixed': dict(type='FixedWeights', weights=dict(far=0.3)),
    'uncertainty': dict(type='Uncertainty', lr=0.05),
    'dwa': dict(type='DWA', window=3),
    'gls': dict(type='GLS'),
    'rlw': dict(type='RLW'),
    'gradnorm': dict(type='GradNorm'),
    **{n.lower(): dict(type='TorchJD', aggregator=n) for n in AGGREGATORS},
}


def state_after(method: str, **options):
    model, wrapper = train(METHODS[method], steps=12, **options)
    state = {**model.state_dict(), **{f'balancer.{k}': v.float() for k, v in wrapper.balancer.state_dict().items()}}
    return {k: v.tolist() for k, v in state.items()}


def _all_methods_on_this_rank(accumulate: int):
    rank = int(os.environ['RANK'])
    torch.distributed.init_process_group('gloo')
    return {m: state_after(m, rank=rank, world=2, accumulate=accumulate) for m in METHODS if not lacks(m)}


def same(found: dict, expected: dict, tolerance: float) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[key]), torch.tensor(value), rtol=tolerance, atol=tolerance, msg=key
        )


@pytest.mark.parametrize('accumulate', [1, 2])
def test_two_ranks_agree_with_one_process(accumulate):
    pytest.importorskip('torchjd')
    ranks = run_ranks(_all_methods_on_this_rank, 2, accumulate)
    for ok, result in ranks:
        assert ok, result
    for method in ranks[0][1]:
        same(ranks[1][1][method], ranks[0][1][method], 0)
        same(ranks[0][1][method], state_after(method), 2e-4)


@pytest.mark.parametrize('method', with_solvers(METHODS))
def test_accumulated_batches_agree_with_one(method):
    pytest.importorskip('torchjd')
    same(state_after(method, accumulate=4), state_after(method), 2e-4)


@pytest.mark.parametrize('method', with_solvers(METHODS))
def test_bfloat16_is_near_float32(method):
    """A network whose forward pass is in bfloat16; weights and gradients stay single precision."""
    pytest.importorskip('torchjd')
    changes, seen = [], []
    for dtype in ('float32', 'bfloat16'):
        torch.manual_seed(0)
        model = Perceptron()
        model.trunk.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
        start = {n: p.detach().clone() for n, p in model.named_parameters()}
        wrapper = wrapper_of(model, METHODS[method], lr=0.05, dtype=dtype)
        for i in range(5):
            model.train_step(dict(inputs=batch(i, 32)), wrapper)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        changes.append(torch.cat([(p.detach() - start[n]).flatten() for n, p in model.named_parameters()]))
    assert seen == [torch.float32] * 5 + [torch.bfloat16] * 5
    assert (changes[0] - changes[1]).norm() < 0.03 * changes[0].norm()


# ---- absent tasks, checkpoints ---------------------------------------------------------------------------------------
@pytest.mark.parametrize('method', with_solvers(METHODS))
def test_a_task_nobody_has_labelled_sways_nothing(method):
    pytest.importorskip('torchjd')
    model = Toy()
    wrapper = wrapper_of(model, METHODS[method])
    for i in range(4):
        model.train_step(dict(inputs=batch(i), only=['near']), wrapper)
    assert torch.isfinite(model.point).all()
    straight = model.point[:, 0].detach() - PLACES['near']
    way = torch.tensor([3.0, 4.0]) - PLACES['near']
    assert abs(straight[0] * way[1] - straight[1] * way[0]) < 1e-4, 'straight towards the one labelled task'
    if method == 'uncertainty':
        assert wrapper.balancer.log_variances[0] != 0 and wrapper.balancer.log_variances[1] == 0
    if method == 'gradnorm':
        assert wrapper.balancer.first_losses[1] == 0


@pytest.mark.parametrize('method', with_solvers(['uncertainty', 'dwa', 'gls', 'gradnorm', 'upgrad', 'cagrad']))
@pytest.mark.parametrize('accumulate', [1, 2])
def test_a_resumed_run_is_the_unbroken_one(method, accumulate):
    pytest.importorskip('torchjd')

    def go_on(model, wrapper, first, last):
        for i in range(first, last):
            model.train_step(dict(inputs=batch(i)), wrapper)

    unbroken = Toy()
    wrapper = wrapper_of(unbroken, METHODS[method], accumulative_counts=accumulate)
    go_on(unbroken, wrapper, 0, 4 + accumulate)
    saved = [
        {k: v.clone() for k, v in unbroken.state_dict().items()},
        {n: None if p.grad is None else p.grad.clone() for n, p in unbroken.named_parameters()},
    ]
    state = copy.deepcopy(wrapper.state_dict())
    resumed = Toy()
    resumed.load_state_dict(saved[0])
    for n, p in resumed.named_parameters():  # in a run the hook for accumulated gradients does this
        p.grad = saved[1][n]
    again = wrapper_of(resumed, METHODS[method], accumulative_counts=accumulate)
    again.load_state_dict(state)
    again._inner_count = wrapper._inner_count
    for model, w in ((unbroken, wrapper), (resumed, again)):
        go_on(model, w, 5, 12)
    for key, value in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)


def test_weights_of_losses_do_not_go_to_other_tasks():
    """The same tasks in another order: a state by place would be another task's."""
    wrapper = wrapper_of(model := Toy(), METHODS['uncertainty'])
    model.train_step(dict(inputs=batch(0)), wrapper)
    turned = Toy()
    turned.tasks = dict.fromkeys(reversed(PLACES))
    again = wrapper_of(turned, METHODS['uncertainty'])
    state = wrapper.state_dict()
    assert list(_optimizer('optimizer', state)) == [], 'what a checkpoint may hold'
    again.load_state_dict(state)
    assert again.state_dict()['balancer'] is state['balancer'], 'what is loaded is kept until the model is known'
    with pytest.raises(ConfigError, match='name the tasks alike and in the same order'):
        turned.train_step(dict(inputs=batch(0)), again)


# ---- what is whose ---------------------------------------------------------------------------------------------------
def test_losses_are_grouped_by_task():
    one = torch.ones(())
    losses = {
        'loss_depth': one,
        'aux.loss_depth': [one, 2 * one],
        'loss_normals': one,
        'loss_consistency': 5 * one,
        'accuracy': 9 * one,
    }
    grouped, rest = group_losses(losses, ['depth', 'normals', 'semseg'])
    assert {k: v.item() for k, v in grouped.items()} == dict(depth=4, normals=1) and rest.item() == 5


def test_parameters_named_for_a_task_are_its_own():
    toy = Toy()
    assert set(shared_parameters(toy, list(PLACES))) == {'point'}
    model = MultiTaskModel(
        dict(depth=dict(type='Depth'), albedo=dict(type='Albedo')),
        dict(type='TimmBackbone', model_name='resnet18'),
        dict(type='DiffusionMTLDecoder', denoiser=dict(type='CrossDenoiser', hidden=8)),
        neck=dict(type='ConcatFusion', channels=8),
    )
    shared = shared_parameters(model, ['depth', 'albedo'])
    assert 'decoder.denoiser.blocks.0.query.weight' in shared and 'neck.conv.weight' in shared
    assert not any('.depth.' in n or '.albedo.' in n for n in shared)
    assert all(n.startswith('backbone.') for n in shared_parameters(model, ['depth'], ['backbone.']))


@pytest.mark.parametrize('method', with_solvers(['fixed', 'upgrad']))
def test_losses_of_no_task_are_added(method):
    class WithRest(Toy):
        def forward(self, inputs, **kwargs):
            return {**super().forward(inputs, **kwargs), 'loss_regular': (self.point**2).sum()}

    plain, more = Toy(), WithRest()
    for model in (plain, more):
        train(METHODS[method], steps=1, lr=0.1, model=model)
    pull = more.point - plain.point
    torch.testing.assert_close(pull.detach()[:, 0], -0.1 * 2 * torch.tensor([3.0, 4.0]), rtol=1e-4, atol=1e-5)


# ---- mistakes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('balancer', 'message'),
    [
        (dict(type='Uncertainy'), "Did you mean 'Uncertainty'"),
        (dict(type='DWA', windows=3), "unknown argument 'windows'.*Did you mean 'window'"),
        (dict(type='DWA', window=0), 'must be positive, got 0'),
        (dict(type='TorchJD', aggregator='PCgrad'), "Did you mean 'PCGrad'"),
        (dict(type='TorchJD', aggregator='CAGrad', d=1), "takes no argument 'd'"),
        (dict(type='TorchJD', aggregator='FairGrad'), "'alpha'"),
    ],
)
def test_mistakes_in_the_method(balancer, message):
    pytest.importorskip('torchjd')
    with pytest.raises(ConfigError, match=message):
        wrapper_of(Toy(), balancer)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(balancer=dict(type='FixedWeights', weights=dict(nera=1))), "no task 'nera'. Did you mean 'near'"),
        (dict(balancer=dict(type='GradNorm', layer='pont')), "starts with 'pont'.*Did you mean 'point'"),
        (dict(balancer=dict(type='TorchJD', aggregator='MGDA'), shared=['backbone']), r"there are \['own', 'point'\]"),
    ],
)
def test_mistakes_found_with_the_model(options, message):
    pytest.importorskip('torchjd')
    model = Toy()
    wrapper = wrapper_of(model, **options)
    with pytest.raises(ConfigError, match=message):
        model.train_step(dict(inputs=batch(0)), wrapper)


def test_other_mistakes():
    model = Toy()
    with pytest.raises(RuntimeError, match='saw no losses'):
        wrapper_of(model, FixedWeights()).update_params(torch.zeros((), requires_grad=True))
    with pytest.raises(TypeError, match='has no tasks'):
        wrapper = wrapper_of(model, FixedWeights())
        del model.tasks
        model.train_step(dict(inputs=batch(0)), wrapper)
    state = train(dict(type='DWA'), steps=1)[1].state_dict()
    other = Toy()
    wrapper = wrapper_of(other, dict(type='GradNorm'))
    wrapper.load_state_dict(state)
    with pytest.raises(ConfigError, match='another balancing method than GradNorm'):
        other.train_step(dict(inputs=batch(0)), wrapper)


@pytest.mark.parametrize(('name', 'solver'), [('NashMTL', 'ecos'), ('UPGrad', 'qpsolvers')])
def test_a_solver_that_is_missing_is_named_with_its_licence(monkeypatch, name, solver):
    pytest.importorskip('torchjd')
    for module in [m for m in sys.modules if m.partition('.')[0] in ('ecos', 'qpsolvers', 'quadprog')]:
        monkeypatch.delitem(sys.modules, module)
    for module in ('ecos', 'qpsolvers', 'quadprog'):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{name} needs a solver.*balancing-gpl.*GPL'):
        wrapper_of(Toy(), dict(type='TorchJD', aggregator=name))


def test_what_is_installed_by_default_has_no_copyleft_solver():
    root = Path(__file__).resolve().parents[2]
    listed = {p.stem: p.read_text() for p in (root / 'requirements').glob('*.txt')}
    copyleft = [
        name for name, text in listed.items() if any(s in text for s in ('ecos', 'quadprog', 'qpsolvers', 'nash_mtl'))
    ]
    assert copyleft == ['balancing-gpl']
    extras = (root / 'Makefile').read_text().partition('EXTRAS ?= ')[2].partition('\n')[0]
    assert 'gpl' not in extras and "'balancing-gpl'" in (root / 'setup.py').read_text()
