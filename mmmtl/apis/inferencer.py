"""Predict every task on your own images."""

from __future__ import annotations

import logging
import os.path as osp
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from tqdm import tqdm

from mmmtl.datasets.io.inputs import ImageInput, gather_inputs
from mmmtl.datasets.transforms import CentredPad
from mmmtl.datasets.transforms.base import new_results
from mmmtl.errors import ConfigError, suggest
from mmmtl.models.enlarged_maps import EnlargedMaps, is_large, thinned
from mmmtl.models.sizes import FITS, fitting_steps, sizes_of, tile_size
from mmmtl.models.tiles import Box, predict_in_tiles
from mmmtl.ops.allocator import give_back_freed_memory
from mmmtl.ops.inference import optimize_for_inference, restore
from mmmtl.registry import TRANSFORMS
from mmmtl.structures import MTLDataSample, plain_map
from mmmtl.tasks import Task
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import draw_explanation, draw_panel, write_raw

from .model import init_model, to_device


@dataclass
class Result:
    """What was predicted on one image.

    Attributes:
        sample_id: The image's name.
        path: Its file, '' for a picture in memory.
        pred: Task → prediction at the image's own size: class maps int64 (H, W); everything else float32
            (C, H, W) in the task's unit (``mmmtl.tasks``).
        panel: uint8 RGB picture of everything, if asked for.
        files: What was written.
    """

    sample_id: str
    path: str
    pred: Mapping[str, np.ndarray]
    panel: np.ndarray | None = None
    files: list[str] = field(default_factory=list)


class Inferencer:
    """Images in, predictions and panels out.

    Images of any size go through the config's pipeline for photographs (:func:`build_pipeline`) and are made to fit what
    the network takes (:func:`~mmmtl.models.sizes.sizes_of`); predictions come back at the image's own size. A prediction
    depends on the image, its name and the weights alone: the noise of diffusion decoders is seeded by the name.

    Args:
        model: A network from :func:`init_model`, a config, or a config file's path.
        checkpoint: Weights, where ``model`` is a config.
        device: ``cpu``, ``cuda``, ...; default: a GPU if there is one.
        cfg_options: As ``--cfg-options``.
        optimize: Predict with faster forms of the network's modules
            (:func:`~mmmtl.ops.inference.optimize_for_inference`; on a CPU); ``model.train()`` takes them back.
        max_side: Images with a longer side are reduced before; 0 for never. Default: twice the longer side of the
            training's images, and never with ``fit='tile'``.
        fit: How an image comes to a size that the network takes: ``pad`` adds a frame, ``resize`` stretches it a little,
            ``tile`` cuts it into overlapping tiles of the training's size, whose predictions are blended.
        overlap: Share of a tile that its neighbours cover, too.
        white_point: The number that is white in photographs of more than 8 bits; default: the largest of their type.

    Example:
        >>> inferencer = Inferencer('configs/baselines/vitt_camvid.py', 'iter_2000.pth')
        >>> results = inferencer('photographs/', out_dir='predictions')
        >>> results[0].pred['semseg'].shape
        (180, 240)
    """

    def __init__(
        self,
        model: nn.Module | Config | str | Path,
        checkpoint: str | None = None,
        device: str | torch.device | None = None,
        cfg_options: Mapping[str, Any] | None = None,
        optimize: bool = True,
        max_side: int | None = None,
        fit: str = 'pad',
        overlap: float = 0.25,
        white_point: float | None = None,
    ) -> None:
        if white_point is not None and not white_point > 0:
            raise ConfigError(f'white_point: expected a number above 0, got {white_point}')
        self.white_point = white_point
        if fit not in FITS:
            raise ConfigError(f"fit must be one of {FITS}, got '{fit}'.{suggest(fit, FITS)}")
        if not 0 <= overlap < 1 or (max_side is not None and max_side < 0):
            raise ConfigError(f'overlap must be in [0, 1) and max_side at least 0, got {overlap} and {max_side}')
        if isinstance(model, nn.Module):
            if checkpoint is not None or cfg_options:
                raise ConfigError('Inferencer: checkpoint and cfg_options go with a config, not with a built model')
            if not hasattr(model, 'cfg'):
                raise ConfigError('Inferencer: the model has no cfg; build it with mmmtl.apis.init_model')
            self.model = model if device is None else to_device(model, device)
        else:
            device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
            self.model = init_model(model, checkpoint, device, cfg_options)
        self.model = optimize_for_inference(self.model) if optimize else restore(self.model.eval())
        self.tasks: Mapping[str, Task] = self.model.tasks
        self.frames: int = self.model.frames
        self.steps = build_pipeline(self.model.cfg)
        self.sizes, self.fit, self.overlap = sizes_of(self.model), fit, overlap
        self.max_side = (None if fit == 'tile' else self.sizes.max_side) if max_side is None else max_side
        self.fitting = [TRANSFORMS.build(step) for step in fitting_steps(self.sizes, fit)]
        if fit == 'tile' and not hasattr(self.model, 'decoder'):
            raise ConfigError(f"fit='tile': {type(self.model).__name__} has no raw maps that could be blended")

    def __call__(self, inputs: Any, **options: Any) -> list[Result]:
        """Predict; see :meth:`stream` for the arguments. Returns one result per image, in order."""
        return list(self.stream(inputs, **options))

    def stream(
        self,
        inputs: Any,
        *,
        batch_size: int = 1,
        out_dir: str | None = None,
        panels: bool = True,
        raw: bool = True,
        progress: bool = True,
        explain: bool = False,
        failures: list[str] | None = None,
    ) -> Iterator[Result]:
        """Predict image by image; what was yielded is not kept, so that memory does not grow with their number.

        Args:
            inputs: Path of an image, a folder, a pattern with ``*``, a picture in memory (an array, a tensor, an image of
                Pillow), or a list of these. Where a task needs two frames, each image is paired with the next.
            batch_size: Images per pass; images whose network input differs in size start a new pass.
            out_dir: Panels go to ``out_dir/panels/NAME.png``, predictions to
                ``out_dir/predictions/TASK/NAME.png|npy``.
            panels: Draw panels.
            raw: Write predictions, if there is an ``out_dir``.
            progress: Show a progress bar with time left when it takes longer than five seconds.
            explain: Also draw how the predictions came about, to ``out_dir/panels/NAME.WHAT.png``, for models that
                can tell (TaskDiffusion, DiffusionMTL, StableMTL with two streams).
            failures: Messages of images that cannot be used are appended here, and the others go on. Without it the first
                one ends everything.

        Raises:
            InputError, FileError: A place without images, a file that is none.
            ConfigError: ``explain`` without ``out_dir``, or of a network that has nothing to show.
        """
        if explain and not out_dir:
            raise ConfigError('explain=True draws pictures into a folder: give out_dir')
        if batch_size < 1:
            raise ConfigError(f'batch_size must be at least 1, got {batch_size}')
        items = gather_inputs(inputs, self.frames, lone=getattr(self.model, 'second_frame', None) is not None)
        if len(items[0].frames) < self.frames:
            moving = [name for name, task in self.tasks.items() if task.frames > 1]
            print_log(
                f'One image: it stands in for the second frame of the tasks {moving}, whose predictions then tell nothing',
                logger='current',
                level=logging.WARNING,
            )
        batch: list[tuple[ImageInput, list[np.ndarray], dict]] = []
        with tqdm(total=len(items), desc='predicting', unit='image', delay=5, disable=not progress) as bar:
            for item in items:
                try:
                    images = item.load(self.white_point)
                    if is_large(images[0].shape[:2]):
                        give_back_freed_memory()
                    packed = {} if self.fit == 'tile' else self.preprocess(item, images)
                except (ValueError, OSError) as error:
                    if failures is None:
                        raise
                    failures.append(str(error))
                    bar.update()
                    continue
                other = batch and packed and packed['inputs'].shape != batch[0][2]['inputs'].shape
                if batch and (len(batch) == batch_size or other or not packed):
                    yield from self._finish(batch, out_dir, panels, raw, explain)
                    bar.update(len(batch))
                    batch = []
                batch.append((item, images, packed))
            if batch:
                yield from self._finish(batch, out_dir, panels, raw, explain)
                bar.update(len(batch))

    def preprocess(self, item: ImageInput, images: Sequence[np.ndarray]) -> dict[str, Any]:
        """Images → what the model's ``test_step`` takes for one sample, by the config's pipeline."""
        results = self._start(item.sample_id, item.path, images)
        if self.max_side and max(images[0].shape[:2]) > self.max_side:
            results = _shrink(results, (self.max_side, self.max_side))
            if is_large(images[0].shape[:2]):
                results['ori_shape'] = results['img'].shape[:2]
        for step in self.steps[:-1]:
            limit = fixed_size(step)
            if limit is not None and any(a > b for a, b in zip(results['img'].shape[:2], limit)):
                results = _shrink(results, limit)
            results = step(results)
        for step in (*self.fitting, self.steps[-1]):
            results = step(results)
        return results

    def _start(self, sample_id: str, path: str, images: Sequence[np.ndarray]) -> dict[str, Any]:
        """What a pipeline begins with."""
        info = dict(sample_id=sample_id, img_path=path, rng=random.Random(0))
        return new_results(images, self.tasks, info, test_mode=True)

    @torch.no_grad()
    def _finish(self, batch: list, out_dir: str | None, panels: bool, raw: bool, explain: bool) -> Iterator[Result]:
        """Predict on a batch, draw, write."""
        if self.fit == 'tile':
            for item, images, _ in batch:
                yield self._result(item, images, self._predict_in_tiles(item, images), out_dir, panels, raw)
            return
        data = dict(inputs=[p['inputs'] for *_, p in batch], data_samples=[p['data_samples'] for *_, p in batch])
        samples: list[MTLDataSample] = self.model.test_step(data)
        for index, ((item, images, _), sample) in enumerate(zip(batch, samples)):
            result = self._result(item, images, _arrays(sample), out_dir, panels, raw)
            if explain and out_dir:
                self._explain(data, index, images[0], result, out_dir)
            yield result

    @torch.no_grad()
    def stream_video(
        self,
        frames: Iterable[tuple[ImageInput, np.ndarray]],
        *,
        out_dir: str | None = None,
        panels: bool = True,
        draw: bool = True,
        raw: bool = True,
    ) -> Iterator[Result]:
        """Predict on the frames of a video as they come; where a task needs two frames, each is paired with the next.

        Args:
            frames: In order, each with its name: what ``Inferencer.stream`` takes, and uint8 RGB (H, W, 3).
            out_dir, panels, raw: See :meth:`stream`.
            draw: Give every result its panel, written or not.

        Raises:
            ConfigError: ``fit='tile'``, which is for single images.
        """
        if self.fit == 'tile':
            raise ConfigError("fit='tile' is for single images, not for videos: take pad or resize")
        waiting: list[tuple[ImageInput, np.ndarray]] = []

        def prepared() -> Iterator[tuple[Tensor, MTLDataSample]]:
            for item, image in frames:
                one = self.preprocess(item, [image])
                inputs = one['inputs'] if self.frames == 1 else one['inputs'].expand(2, -1, -1, -1)
                ready = self.model.data_preprocessor(dict(inputs=[inputs], data_samples=[one['data_samples']]), False)
                waiting.append((item, image))
                inputs = ready['inputs']
                yield inputs if inputs.ndim == 4 else inputs[:, 0], ready['data_samples'][0]

        for sample in self.model.predict_stream(prepared()):
            item, image = waiting.pop(0)
            yield self._result(item, [image], _arrays(sample), out_dir if panels or raw else None, panels, raw, draw)

    def _predict_in_tiles(self, item: ImageInput, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """``{task: (C, H, W)}`` of an image that is cut into tiles; reduced before where ``max_side`` says so."""
        size = images[0].shape[:2]
        results = self._start(item.sample_id, item.path, images)
        if self.max_side and max(size) > self.max_side:
            results = _shrink(results, (self.max_side, self.max_side))
        frames = [results[key] for key in ('img', 'img_next') if key in results]
        keeping = [s for s in self.steps if not hasattr(s, 'size') and not hasattr(s, 'multiple')]
        padding = [TRANSFORMS.build(step) for step in fitting_steps(self.sizes, 'pad')]

        def raw_maps(box: Box) -> dict[str, Tensor]:
            top, left, height, width = box
            cut = [frame[top : top + height, left : left + width] for frame in frames]
            part = self._start(f'{item.sample_id}@{top},{left}', item.path, cut)
            for step in (*keeping[:-1], *padding, keeping[-1]):
                part = step(part)
            data = dict(inputs=[part['inputs']], data_samples=[part['data_samples']])
            ready = self.model.data_preprocessor(data, False)
            maps = self.model(ready['inputs'], ready['data_samples'], mode='tensor')
            start_x, _, start_y, _ = ready['data_samples'][0].metainfo.get('padding', (0, 0, 0, 0))
            return {n: m[..., start_y : start_y + height, start_x : start_x + width] for n, m in maps.items()}

        pred = predict_in_tiles(raw_maps, self.tasks, frames[0].shape[:2], tile_size(self.sizes), self.overlap)
        return pred if is_large(size) else dict(EnlargedMaps(pred, self.tasks, size))

    def _explain(self, data: dict, index: int, photograph: np.ndarray, result: Result, out_dir: str) -> None:
        """Draw how the prediction of one image of a batch came about."""
        if not hasattr(self.model, 'explain'):
            raise ConfigError(f'model: {type(self.model).__name__} cannot explain its predictions')
        one = {key: [values[index]] for key, values in data.items()}
        ready = self.model.data_preprocessor(one, False)
        for explanation in self.model.explain(ready['inputs'], ready['data_samples'])[0]:
            path = osp.join(out_dir, 'panels', f'{safe_name(result.sample_id)}.{explanation.name}.png')
            picture = draw_explanation(explanation, photograph, self.tasks, title=result.sample_id)
            result.files.append(write_png(path, picture))

    def _result(
        self,
        item: ImageInput,
        images: list[np.ndarray],
        maps: Mapping[str, np.ndarray],
        out_dir: str | None,
        panels: bool,
        raw: bool,
        draw: bool = False,
    ) -> Result:
        """One image's predictions, drawn (with ``draw`` also where no panel is written) and written."""
        size = images[0].shape[:2]
        small: Mapping[str, np.ndarray] = {name: plain_map(value) for name, value in maps.items()}
        large = is_large(size) or any(value.shape[-2:] != size for value in maps.values())
        if large:  # a panel shows a few hundred pixels of it
            small = {name: thinned(value) for name, value in small.items()}
        pred = EnlargedMaps(maps, self.tasks, size) if large else small
        result = Result(item.sample_id, item.path, pred)
        if out_dir and raw:
            written = EnlargedMaps(maps, self.tasks, size, compact=True) if large else small
            result.files += write_raw(osp.join(out_dir, 'predictions'), item.sample_id, written)
        if panels or draw:
            result.panel = draw_panel(
                images[0],
                self.tasks,
                None,
                small,
                title=item.sample_id,
                subtitle=f'{size[0]} × {size[1]}',
                image_next=images[1] if len(images) > 1 else None,
            )
            if out_dir and panels:
                path = osp.join(out_dir, 'panels', safe_name(item.sample_id) + '.png')
                result.files.append(write_png(path, result.panel))
        return result


def _arrays(sample: MTLDataSample) -> dict[str, np.ndarray]:
    """A sample's predictions ``{task: (C, H, W)}``."""
    return {name: value.detach().cpu().numpy() for name, value in sample.pred.items()}


def _shrink(results: dict[str, Any], limit: tuple[int, int]) -> dict[str, Any]:
    """Reduce an image that is larger than ``limit`` = (H, W), in its shape."""
    step = dict(type='Resize', size=limit, keep_ratio=True, shrink_only=True, interpolation='area')
    return TRANSFORMS.build(step)(results)


def build_pipeline(cfg: Config) -> list[Any]:
    """The transforms for photographs: a config's ``infer_pipeline``, else its test pipeline."""
    if cfg.get('infer_pipeline'):
        return [TRANSFORMS.build(dict(step)) for step in cfg.infer_pipeline]
    dataset = next((cfg[s]['dataset'] for s in ('test_dataloader', 'val_dataloader') if cfg.get(s)), None)
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    if dataset is None:
        raise ConfigError(f'{cfg.filename or "the config"} has no test pipeline (test_dataloader.dataset.pipeline)')
    return [TRANSFORMS.build(dict(step)) for step in dataset['pipeline']]


def fixed_size(step: Any) -> tuple[int, int] | None:
    """(H, W) that a step of the pipeline pads to and that no image may exceed, or None."""
    size = getattr(step, 'size', None)
    pads = isinstance(step, CentredPad) and step.multiple is None
    return tuple(size) if pads and size is not None else None  # type: ignore[return-value]
