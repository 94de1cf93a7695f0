"""Replay of recorded StableMTL runs: streams, task attention, masking, pipeline, codecs, metrics and sampler."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmmtl.diffusion.noise import RecordedNoise
from mmmtl.models import LatentMultiTaskModel
from mmmtl.models.stablemtl import AuxiliaryFeatures, TaskMasking, masked_mse
from mmmtl.models.stablemtl.converter import convert
from mmmtl.models.stablemtl.unet import inflate_input
from mmmtl.registry import TASKS

from .common import GRADIENT, CannotReplay, cast, read_recording, relative

Row = tuple[str, float, float]
NETWORK, FEATURE, DECODER, NORMALS, LATENT = 5e-6, 5e-6, 5e-5, 1e-4, 1e-6
SMALL = 1e-6
"""Of the largest gradient norm: what counts as zero but for rounding."""
HALF = 1e-3
"""The float16 runs vary by 3e-4 with the number of threads; what is held is that the cast is where it was."""


def recognises(data: dict) -> bool:
    """Whether ``data`` is one of the recorded StableMTL files."""
    return kind_of(data) is not None


def kind_of(data: dict) -> str | None:
    """Which of the recorded files ``data`` is."""
    for kind, keys in (
        ('single', {'conv_in_4ch', 'cases'}),
        ('multi', {'main_state_dict', 'train'}),
        ('pipeline', {'vae_state_dict', 'rgb_latent'}),
        ('codec', {'depth_norm', 'sampler'}),
        ('inventory', {'n_unet_12ch', 'shapes'}),
    ):
        if keys <= set(data):
            return kind
    return None


def replay(data: dict, path: str | Path) -> list[Row]:
    """Replay one file; the files that build on others find them beside ``path``.

    Returns:
        (quantity, largest absolute difference, tolerance) per recorded quantity.
    """
    folder = Path(path).parent
    return {'single': _single, 'multi': _multi, 'pipeline': _pipeline, 'codec': _codec, 'inventory': _inventory}[
        str(kind_of(data))
    ](data, folder)


def beside(folder: Path, name: str) -> dict:
    """Another recorded file of the same folder.

    Raises:
        CannotReplay: It is not there.
    """
    path = folder / f'stablemtl_{name}.pt'
    if not path.is_file():
        raise CannotReplay(f'builds on {path.name}, which is not beside it')
    return read_recording(path)


def task_config(published: str, palette: Any = None) -> tuple[str, dict]:
    """Name and config of the task that published code calls ``published``."""
    TASKS.import_from_location()
    for key, kind in TASKS.module_dict.items():
        if published == kind.default_name or published in kind.aliases:
            more: dict = {}
            if kind.categorical:
                colours = [(i, i, i) for i in range(8)] if palette is None else palette
                more = dict(classes=len(colours), palette=colours)
            return kind.default_name, dict(type=key, **more)
    raise ValueError(f"no task is published as '{published}'")


def build(
    config: dict,
    published: list[str],
    text: dict[str, Tensor],
    task_attention: dict | None = None,
    autoencoder: dict | None = None,
    palette: Any = None,
    half: bool = False,
) -> tuple[LatentMultiTaskModel, dict]:
    """A model with the recorded tasks and tokens, and {published task name: our name}."""
    tasks, names = {}, {}
    for name in published:
        names[name], tasks[names[name]] = task_config(name, palette)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(text, f'{folder}/tokens.pt')
        prompts = {own: name.replace('_', ' ') for name, own in names.items()}
        model = LatentMultiTaskModel(
            tasks,
            autoencoder or dict(type='DCTAutoencoder', block=8, kept=1),
            {**config},
            task_attention=task_attention,
            tokens=dict(type='TokenFile', path=f'{folder}/tokens.pt', prompts=prompts),
            half_self_attention=half,
        )
        model.tokens.init_weights()
    return model.eval(), names


def gap(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    if found.shape != expected.shape:
        return float('inf')
    return float((found.detach().double() - expected.double()).abs().max())


def _small(config: dict) -> dict:
    """A recorded UNet config without the numbers of channels, which the model works out."""
    return {k: v for k, v in config.items() if k not in ('in_channels', 'out_channels')}


def _unet(config: dict, state: dict, half: bool = False) -> Any:
    from mmmtl.models.stablemtl.unet import build_unet, set_attention_processors

    unet = build_unet(_small(config), config['in_channels'], config['out_channels'])
    set_attention_processors(unet, half)
    unet.load_state_dict(state)
    return unet.eval()


def _single(data: dict, folder: Path) -> list[Row]:
    inflated = inflate_input(data['conv_in_4ch']['weight'], data['config']['in_channels'])
    rows = [('inflated first convolution', gap(inflated, data['state_dict']['conv_in.weight']), 0.0)]
    for half in (False, True):
        unet = _unet(data['config'], data['state_dict'], half).to(torch.float32 if half else torch.float64)
        for case in data['cases'] if half else cast(data['cases'], torch.float64):
            with torch.no_grad():
                out = unet(case['sample'], case['timestep'], case['encoder_hidden_states'], return_dict=False)[0]
            size = 'x'.join(map(str, case['sample'].shape[-2:]))
            if half:
                rows.append((f'{size} float16 self-attention', gap(out, case['out_fp16attn']), HALF))
            else:
                rows.append((f'{size} output', gap(out, case['out_fp32']), NETWORK))
                rows.append((f'{size} output of diffusers', gap(out, case['diffusers_unet2d_out']), NETWORK))
    return rows


def multi_model(data: dict, folder: Path, **options: Any) -> tuple[LatentMultiTaskModel, dict]:
    """The recorded two-stream model."""
    task_attention = dict(
        heads=data['n_attns'],
        query_width=data['q_hidden'],
        task_mask_prob=data['attn_mask_ratio'],
        **options.pop('task_attention', {}),
    )
    options.setdefault('autoencoder', dict(type='KLAutoencoder', config=beside(folder, 'pipeline')['vae_config']))
    model, names = build(_small(data['config']), data['output_types'], data['text'], task_attention, **options)
    stream = beside(folder, 'single')['state_dict']
    parts = {f'single_stream_unet/{k}': v for k, v in stream.items()}
    state, _, unknown = convert({**stream, **data['main_state_dict'], **parts}, names)
    missing = model.load_state_dict(state, strict=False)
    left = [k for k in missing.missing_keys if not k.startswith(('autoencoder.', 'tokens.'))]
    if unknown or left or missing.unexpected_keys:
        raise ValueError(
            f'the recorded weights do not fit: unknown {unknown[:3]}, missing {left[:3]}, '
            f'unexpected {missing.unexpected_keys[:3]}'
        )
    return model, names


def _multi(data: dict, folder: Path) -> list[Row]:
    exact = cast(data, torch.float64)
    model, names = multi_model(data, folder)
    model.double()
    pair = [exact['z0'], exact['z1']]
    rows: list[Row] = []
    auxiliary, _ = model.auxiliary_stream(pair)
    features = {place: dict(table) for place, table in auxiliary.features.items()}
    with torch.no_grad():
        together = model.main_stream(pair, auxiliary)
    for published, record in data['tasks'].items():
        name = names[published]
        rows.append((f'{published} input', gap(model.unet_input(pair, name), record['sample']), 0.0))
        rows.append((f'{published} output', gap(together[name], record['out_fp32']), NETWORK))
        for place, table in zip(features, record.get('task_feats', [])):
            worst = max(gap(features[place][names[source]], f) for source, f in table.items())
            rows.append((f'{published} features at {place}', worst, FEATURE))
    rows += _extra(model, names, exact, folder)
    half, _ = multi_model(data, folder, half=True)
    pair = [data['z0'], data['z1']]
    with torch.no_grad():
        together = half.main_stream(pair, half.auxiliary_stream(pair)[0])
    worst = max(gap(together[names[p]], r['out_fp16attn']) for p, r in data['tasks'].items())
    rows.append(('all outputs with float16 self-attention', worst, HALF))
    for published in data['train']:
        rows += _train(model, names, published, exact['train'][published], exact)
    return rows


def _extra(model: LatentMultiTaskModel, names: dict, data: dict, folder: Path) -> list[Row]:
    alone = [data['z0']]
    with torch.no_grad():
        auxiliary, _ = model.auxiliary_stream(alone)
        out = model.main_stream(alone, auxiliary, [names['depth'], names['optical_flow']])
        rows = [
            ('depth without second frame', gap(out[names['depth']], data['extra']['depth_no_next']), NETWORK),
            (
                'optical_flow without second frame',
                gap(out[names['optical_flow']], data['extra']['flow_no_next']),
                NETWORK,
            ),
        ]
        model.exclude_main_task = False
        pair = [data['z0'], data['z1']]
        out = model.main_stream(pair, model.auxiliary_stream(pair)[0], [names['depth']])
        model.exclude_main_task = True
    rows.append(('depth looking at itself too', gap(out[names['depth']], data['extra']['depth_not_excluded']), NETWORK))
    return rows


def _train(model: LatentMultiTaskModel, names: dict, published: str, record: dict, data: dict) -> list[Row]:
    """A recorded training step: the draws, what they mask, loss and gradients."""
    name = names[published]
    model.train()
    model.zero_grad()
    features = AuxiliaryFeatures()
    for place, table in zip(model.task_attention, record['task_feats']):
        for source, feature in table.items():
            features.put(place, names[source], feature)
    masking = TaskMasking(
        name, _race(record, list(model.task_attention), data['attn_mask_ratio'], name), data['attn_mask_ratio']
    )
    pair = [data['z0'], data['z1']]
    out = model.main_stream(pair, features, [name], masking=masking)[name]
    loss = masked_mse(out, record['target'], record['mask'][:, :1])
    loss.backward()
    what = f'training {published}'
    hidden = [None if h is None else names[h] for h in record['hidden_task']]
    differ = sum(a != b for a, b in zip(masking.masked.values(), hidden))
    rows = [
        (f'{what}: hidden sources that differ', float(differ), 0),
        (f'{what}: output', gap(out, record['out']), NETWORK),
        (f'{what}: loss', gap(loss, record['loss']), NETWORK),
    ]
    for place, scores in zip(model.task_attention, record['mean_scores']):
        if scores is not None:
            rows.append((f'{what}: scores at {place}', gap(masking.scores[place], scores), FEATURE))
    own = {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith('tokens.')}
    norms, _, _ = convert({k: torch.tensor(v) for k, v in record['grad_norm'].items()}, names)
    none, _, _ = convert({k: torch.tensor(0) for k in record['no_grad_params']}, names)
    floor = SMALL * max(float(v) for v in norms.values())
    apart = [abs(float(own[k].grad.norm()) - float(v)) / max(float(v), floor) for k, v in norms.items()]
    worst = torch.tensor(apart, dtype=torch.float64).max().item()  # NaN where one is
    zeros = sum((float(own[k].grad.norm()) == 0) != (float(v) == 0) for k, v in norms.items())
    differ = {k for k, p in own.items() if p.grad is None} ^ set(none)
    model.zero_grad()
    model.eval()
    rows += [
        (f'{what}: {len(norms)} gradient norms, relative', worst, GRADIENT),
        (f'{what}: zero gradients that differ', zeros, 0),
        (f'{what}: parameters with or without gradient', float(len(differ)), 0),
    ]
    return rows


def _race(record: dict, places: list[str], share: float, name: str) -> RecordedNoise:
    """The recorded draws of the step: the coins, and races that the recorded hidden source wins."""
    draws = {}
    for place, coin, hidden, table in zip(places, record['rand'], record['hidden_task'], record['task_feats']):
        # a coin at the share exactly would fall to the other side in single precision
        draws[f'task_mask/{name}/{place}'] = torch.tensor([coin], dtype=torch.float64)
        if coin < share and hidden is not None:
            draws[f'task_mask/{name}/{place}/source'] = torch.tensor(
                [1e-12 if source == hidden else 0.5 for source in table]
            )
    return RecordedNoise(draws)


def _pipeline(data: dict, folder: Path) -> list[Row]:
    from mmmtl.structures import MTLDataSample

    multi = beside(folder, 'multi')
    palette = beside(folder, 'codec_metrics')['semantic']['palette'].int().tolist()
    autoencoder = dict(type='KLAutoencoder', config=data['vae_config'])
    pair = torch.stack([data['image'], data['next_image']], 1).double() / 255 * 2 - 1
    rows: list[Row] = []
    for kind in ('single', 'multi'):
        if kind == 'multi':
            model, names = multi_model(multi, folder, autoencoder=autoencoder, palette=palette)
        else:
            model, names = build(
                _small(multi['config']), multi['output_types'], data['text'], None, autoencoder, palette
            )
            model.unet.load_state_dict(beside(folder, 'single')['state_dict'])
        model.autoencoder.network.load_state_dict(data['vae_state_dict'])
        model.double()
        if kind == 'multi':
            rgb = torch.cat(model.encode_frames(pair), 1)
            rows.append(('latents of both frames', gap(rgb, data['rgb_latent']), LATENT))
        images = model(pair)
        sample = model.predict(pair, [MTLDataSample(metainfo=dict(sample_id='0', ori_shape=pair.shape[-2:]))])[0]
        for published, name in names.items():
            rows += _outputs(f'{kind}/{published}', model.tasks[name], images[name], sample.pred.get(name), data['out'])
    return rows


def _outputs(key: str, task: Any, image: Tensor, value: Tensor, recorded: dict) -> list[Row]:
    from mmmtl.tasks.picture_code import image_to_channels

    expected = recorded[key]
    clipped = recorded[f'{key}/clipped_decoder']
    rows = [(f'{key} decoded', gap(image_to_channels(image, clipped.shape[1]), clipped), DECODER)]
    if expected.dtype == torch.int64:
        # a pixel within the decoder's tolerance of two colours may fall to either; the reading itself is exact
        near = torch.cdist(clipped.permute(0, 2, 3, 1).reshape(-1, 3), task.image_colours(clipped)).sort(-1).values
        clear = (near[:, 1] - near[:, 0] > 2 * DECODER).reshape(expected.shape)
        differ = value.reshape(expected.shape) != expected
        return [
            *rows,
            (f'{key} from the recorded image', gap(task.from_image(clipped)[0, 0], expected), 0),
            (f'{key} where one colour is nearest', float((differ & clear).sum()), 0),
        ]
    tolerance = NORMALS if task.out_channels == 3 else DECODER
    return [*rows, (key, gap(value.reshape(expected.shape), expected), tolerance)]


def _codec(data: dict, folder: Path) -> list[Row]:
    return [*_encodings(data), *_figures(data), *_schedule(data['lr']), *_sampler(data['sampler'], _seed_of(data))]


def _seed_of(data: dict) -> int:
    """The seed that the file's name of its list of seeds ends in."""
    (key,) = (k for k in data if k.startswith('seeds_'))
    return int(key.rpartition('_')[2])


def _encodings(data: dict) -> list[Row]:
    from mmmtl.datasets.crops import benchmark_crop
    from mmmtl.datasets.io.values import map_values
    from mmmtl.datasets.street_classes import CITYSCAPES_IDS, STREET_CLASSES, STREET_PALETTE, colours_to_classes
    from mmmtl.models.stablemtl import latent_valid
    from mmmtl.tasks import Depth, OpticalFlow, SceneFlow, SemanticSegmentation

    depth, flow, semantic = data['depth_norm'], data['flow_norm'], data['semantic']
    unknown = torch.where(depth['valid'], depth['depth'], torch.nan)
    masked, valid = Depth().to_image(unknown[None])
    rows = [
        ('depth image', gap(masked[0, :1][depth['valid']], depth['out'][depth['valid']]), 0),
        ('depth valid', float((valid[0] != depth['valid']).sum()), 0),
    ]
    image, _ = OpticalFlow().to_image(flow['flow'][None])
    rows.append(('flow image', gap(image[0], torch.cat([flow['out'], flow['out'][:1]])), 0))
    rows.append(('scene flow image', gap(SceneFlow().to_image(flow['scene_flow'][None])[0][0], flow['scene_out']), 0))
    down = latent_valid(data['mask_down']['valid'], 8).expand(-1, 4, -1, -1)
    rows.append(('latent mask', float((down != data['mask_down']['out']).sum()), 0))
    for key, found in (
        ('vkitti_ids', colours_to_classes(semantic['vkitti_rgb'].numpy())),
        ('cityscapes_ids', map_values(semantic['cityscapes_label_ids'].numpy(), CITYSCAPES_IDS)[0]),
    ):
        expected = semantic[key].long().numpy()
        expected = np.where(expected == semantic['ignore_index'], 255, expected)
        rows.append((key, float((found != expected).sum()), 0))
    task = SemanticSegmentation(classes=STREET_CLASSES, palette=STREET_PALETTE)
    ids = torch.from_numpy(colours_to_classes(semantic['vkitti_rgb'].numpy()))
    image, valid = task.to_image(ids[None])
    rows.append(('semantic image', gap(image[0].permute(1, 2, 0), semantic['rgb'] / 255 * 2 - 1), 1e-7))
    rows.append(('classes from colours', float((task.from_image(image)[valid] != ids[None, None][valid]).sum()), 0))
    numbers = benchmark_crop(np.arange(375 * 1242).reshape(1, 375, 1242))
    recorded = data['kitti_crop']
    found = (numbers.shape, int(numbers.flat[0]), int(numbers.flat[-1]))
    return [*rows, ('crop', float(found != (tuple(recorded['shape']), recorded['first'], recorded['last'])), 0)]


def _masked(gt: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A label (C, H, W) with NaN where it is not valid."""
    return np.where(valid.astype(bool), gt, np.nan).astype(np.float32)


def _figures(data: dict) -> list[Row]:
    from mmmtl.evaluation.functional.alignment import fit_scale, fit_scale_shift, fit_scales
    from mmmtl.evaluation.functional.depth import depth_metrics, depth_sums
    from mmmtl.evaluation.functional.images import structural_similarity
    from mmmtl.evaluation.functional.segmentation import class_iou
    from mmmtl.evaluation.metrics import EndPointError, ImageError, MeanIoU, NormalsError

    def figures(metric: Any, pred: np.ndarray, gt: np.ndarray) -> dict:
        return metric.compute(metric.measure(pred, gt))

    def row(what: str, found: float, expected: float, tolerance: float = 1e-5) -> Row:
        return what, abs(found - expected) / max(abs(expected), 1e-6), tolerance

    rows = []
    case = {k: v.numpy() for k, v in data['depth_eval'].items() if isinstance(v, Tensor)}
    expected = data['depth_eval']['metrics']
    scale, shift = fit_scale_shift(case['pred'][case['valid']], case['gt'][case['valid']])
    rows += [
        row('depth scale', scale, float(case['scale'][0])),
        row('depth shift', shift, float(case['shift'][0]), 1e-4),
        (
            'aligned depth',
            relative(torch.from_numpy(scale * case['pred'] + shift), torch.from_numpy(case['aligned'])),
            2e-6,
        ),
    ]
    # the recorded label goes beyond the range that the metric leaves out, so its formulas are asked directly
    aligned, truth = (values[case['valid']] for values in (case['aligned'], case['gt']))
    found = depth_metrics(depth_sums(np.clip(aligned, 1e-5, 80.0), truth, floor=1e-6))
    for ours, theirs in (
        ('relErr', 'abs_relative_difference'),
        ('sqRel', 'squared_relative_difference'),
        ('RMSE', 'rmse_linear'),
        ('logRMSE', 'rmse_log'),
        ('log10', 'log10'),
        ('iRMSE', 'i_rmse'),
        ('delta1', 'delta1_acc'),
        ('delta2', 'delta2_acc'),
        ('delta3', 'delta3_acc'),
        ('siLog', 'silog_rmse'),
    ):
        rows.append(row(f'depth {ours}', found[ours], expected[theirs]))
    for key, names in (
        ('flow_eval', {'EPE': 'EPE2d', 'Fl': 'Fl', 'angle': 'optical_flow_MAE'}),
        (
            'scene_flow_eval',
            {'EPE': 'EPE3d', 'accStrict': 'acc_strict', 'accRelax': 'acc_relax', 'outliers': 'outliers'},
        ),
    ):
        case, expected = data[key], data[key]['metrics']
        valid, pred, gt = case['valid'][0, 0].numpy(), case['pred'].numpy(), case['gt'][0].numpy()
        scales = fit_scales(pred[:, valid], gt[:, valid])
        aligned = torch.from_numpy(scales[:, None, None] * pred)
        rows.append((f'{key} aligned', relative(aligned, case['aligned']), 1e-6))
        rows.append((f'{key} scales', float(np.abs(scales - case['scale'].numpy()).max()), 1e-6))
        found = figures(EndPointError(protocol='upstream'), pred, _masked(gt, valid[None]))
        rows += [row(f'{key} {a}', found[f'{a}_upstream'], expected[b], 1e-5) for a, b in names.items()]
    case = data['normal_eval']
    found = figures(
        NormalsError(protocol='upstream'),
        case['pred'][0].numpy(),
        _masked(case['gt'][0].numpy(), case['valid'][0].numpy()),
    )
    rows.append(row('normals mErr', found['mErr_upstream'], case['mae'], 1e-6))
    case = data['semantic_eval']
    metric, total = MeanIoU(num_classes=8), 0
    for pred, gt, valid in zip(case['pred'].numpy(), case['gt'].numpy(), case['valid'].numpy()):
        total = total + metric.measure(pred, np.where(valid, gt, 255))['confusion']
    found = metric.compute(dict(confusion=total))
    rows += [
        row('semantic mIoU', found['mIoU'], case['metrics']['mIoU'], 1e-12),
        row('semantic accuracy', found['aAcc'], case['metrics']['Acc'], 1e-12),
    ]
    for i, value in enumerate(class_iou(total['confusion'] if isinstance(total, dict) else total)):
        rows.append(row(f'semantic IoU of class {i}', value, case['metrics'][f'cls_{i:02d}'], 1e-12))
    for key in ('albedo_eval', 'shading_eval'):
        case, expected = data[key], data[key]['metrics']
        valid = case['valid'][0, 0].numpy().astype(bool)
        pred, gt = case['pred'][0].numpy(), case['gt'][0].numpy()
        rows.append(row(f'{key} scale', fit_scale(pred[:, valid], gt[:, valid]), case['scale'], 1e-6))
        found = figures(ImageError(protocol='upstream'), pred, _masked(gt, valid[None]))
        rows += [
            row(f'{key} {a}', found[f'{a}_upstream'], expected[a.lower()], t)
            for a, t in (('RMSE', 1e-5), ('LMSE', 1e-4))
        ]
        # similarity has no mask: the recorded label holds numbers where the metric would see none
        similar = structural_similarity(np.clip(pred * case['scale'], 0, 1), gt)
        rows.append(row(f'{key} SSIM', similar, expected['ssim']))
    return rows


def _schedule(recorded: dict) -> list[Row]:
    """The learning rate of the shipped schedule, with two batches to an update."""
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper

    from mmmtl.registry import PARAM_SCHEDULERS

    config = Config.fromfile(Path(__file__).resolve().parents[2] / 'configs/stablemtl/sd2_single.py')
    optimizer = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    schedules = [PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=optimizer)) for s in config.param_scheduler]
    rows, wanted = [], {int(k): v for k, v in recorded.items()}
    for step in range(max(wanted) + 1):
        if step in wanted:
            rows.append((f'learning rate at {step}', abs(optimizer.get_lr()['lr'][0] - wanted[step]), 1e-9))
        for schedule in schedules:
            schedule.step()
    return rows


def _sampler(recorded: dict, seed: int) -> list[Row]:
    from mmmtl.engine.task_cycle import TaskCycleBatchSampler

    tasks = [
        'albedo',
        'shading',
        'depth',
        'depth',
        'normal',
        'normal',
        'semantic',
        'optical_flow',
        'optical_flow',
        'scene_flow',
        'scene_flow',
    ]
    sizes = [64, 64, 64, 40, 64, *[40] * 6]
    starts = np.cumsum([0, *sizes])

    class Part(SimpleNamespace):
        def __len__(self) -> int:
            return self.size

    parts = [Part(size=n, tasks={task: None}) for n, task in zip(sizes, tasks)]
    whole = Part(size=sum(sizes), datasets=parts)
    half = [0.5, 0.5]
    sampler = TaskCycleBatchSampler(
        dataset=whole,
        batch_size=4,
        accumulation=2,
        seed=seed,
        published=True,
        shares=dict(depth=[0.9, 0.1], normal=[0.9, 0.1], optical_flow=half, scene_flow=half),
    )
    stream = iter(sampler)
    batches = [next(stream) for _ in recorded['batches']]
    wrong = sum([int(i) for i in found] != list(expected) for found, expected in zip(batches, recorded['batches']))
    names = sum(found[0].tasks != (expected,) for found, expected in zip(batches, recorded['tasks']))
    sets = [int(np.searchsorted(starts, int(batch[0]), 'right')) - 1 for batch in batches]
    return [
        ('data sets of batches that differ', float(sets != list(recorded['dataset_of_batch'])), 0),
        ('batches that differ', float(wrong), 0),
        ('tasks of batches that differ', float(names), 0),
        ('batches of a pass', abs(len(sampler) - recorded['n_total']), 0),
    ]


def _inventory(data: dict, folder: Path) -> list[Row]:
    """Names and counts at the published size, on the meta device."""
    from mmengine.config import Config

    from benchmarks.reference.match_latent import export

    root = Path(__file__).resolve().parents[2]
    config = Config.fromfile(root / 'configs/stablemtl/sd2_multistream.py').model
    config.pop('type')
    with torch.device('meta'):
        model = LatentMultiTaskModel(**config)
    names = {p: task_config(p)[0] for p in published_tasks()}
    exported = export(model.state_dict(), names)['unet']
    shapes = {k: tuple(v.shape) for k, v in exported.items()}
    expected = {k: tuple(v) for k, v in data['shapes'].items()}
    wrong = sum(shapes.get(k) != expected.get(k) for k in shapes.keys() | expected.keys())
    count = sum(p.numel() for p in model.unet.parameters())
    task = sum(p.numel() for p in model.task_attention.parameters())
    outputs, inputs, *kernel = shapes['conv_in.weight']
    narrow = count - outputs * (inputs - inputs // 3) * math.prod(kernel)
    return [
        ('names and shapes that differ', float(wrong), 0),
        ('parameters of a stream', float(abs(count - data['n_unet_12ch'])), 0),
        ('parameters of the task attention', float(abs(task - data['n_task'])), 0),
        ('parameters of a stream before its first convolution is widened', float(abs(narrow - data['n_unet_4ch'])), 0),
        *((f'parameters of {kind}', float(abs(_count(shapes, kind) - n)), 0) for kind, n in data['per_kind'].items()),
    ]


def _count(shapes: dict[str, tuple[int, ...]], kind: str) -> int:
    """Parameters of one kind of layer of the task attention."""
    return sum(math.prod(shape) for key, shape in shapes.items() if f'.{kind}.' in key)


def published_tasks() -> list[str]:
    """The published names of the seven tasks."""
    return ['albedo', 'shading', 'depth', 'normal', 'semantic', 'optical_flow', 'scene_flow']
