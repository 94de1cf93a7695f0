"""Predict every task on your own images."""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from tqdm import tqdm

from mmmtl.datasets.io.inputs import ImageInput, gather_inputs
from mmmtl.errors import ConfigError
from mmmtl.inference import (
    PredictOptions,
    Preparation,
    Result,
    finish_result,
    predict_batch,
    predict_image_in_tiles,
    predict_video_frames,
)
from mmmtl.models.enlarged_maps import is_large
from mmmtl.models.ensemble import sampling
from mmmtl.ops.allocator import give_back_freed_memory
from mmmtl.ops.inference import optimize_for_inference, restore
from mmmtl.ops.precision import check_dtype, store_in_dtype
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import Task
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import draw_explanation
from mmmtl.visualization.savers import build_savers

from .model import init_model, to_device


class Inferencer:
    """Images in, predictions and panels out.

    Images of any size go through the config's pipeline for photographs (:class:`~mmmtl.inference.Preparation`) and are made
    to fit what the network takes (:func:`~mmmtl.models.sizes.sizes_of`); predictions come back at the image's own size. A
    prediction depends on the image, its name, the seed and the weights alone: the noise of diffusion decoders is seeded by
    the name.

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
        dtype: ``fp32``, ``bf16`` or ``fp16``: precision in which the network computes; default: as its config says
            (``model.predict_dtype``).

    Example:
        >>> inferencer = Inferencer('configs/taskdiffusion/vitt_diorama.py', 'iter_800.pth')
        >>> results = inferencer('photographs/', tasks=['depth'], steps=5, seed=1, ensemble=8, out_dir='predictions')
        >>> results[0].pred['depth'].shape, results[0].uncertainty['depth'].shape
        ((1, 180, 240), (1, 180, 240))
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
        dtype: str | None = None,
    ) -> None:
        if white_point is not None and not white_point > 0:
            raise ConfigError(f'white_point: expected a number above 0, got {white_point}')
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
            if checkpoint is None:
                print_log('No checkpoint: predictions are those of weights as drawn', 'current', logging.WARNING)
            store_in_dtype(self.model, check_dtype(dtype or self.model.predict_dtype))
        if dtype is not None:
            self.model.predict_dtype = check_dtype(dtype)
        self.model = optimize_for_inference(self.model) if optimize else restore(self.model.eval())
        self.tasks: Mapping[str, Task] = self.model.tasks
        self.frames: int = self.model.frames
        self.overlap, self.white_point = overlap, white_point
        self.preparation = Preparation(self.model, fit, max_side)
        self.sizes, self.fit = self.preparation.sizes, fit

    def __call__(self, inputs: Any, **options: Any) -> list[Result]:
        """Predict; see :meth:`stream` for the arguments. Returns one result per image, in order."""
        return list(self.stream(inputs, **options))

    def stream(
        self,
        inputs: Any,
        *,
        tasks: Sequence[str] | None = None,
        steps: int | None = None,
        seed: int | None = None,
        ensemble: int = 1,
        max_side: int | None = None,
        batch_size: int = 1,
        out_dir: str | None = None,
        panels: bool = True,
        raw: bool = True,
        save: Sequence[str] = (),
        intrinsics: Sequence[float] | None = None,
        fov: float | None = None,
        progress: bool = True,
        explain: bool = False,
        failures: list[str] | None = None,
    ) -> Iterator[Result]:
        """Predict image by image; what was yielded is not kept, so that memory does not grow with their number.

        Args:
            inputs: Path of an image, a folder, a pattern with ``*``, a picture in memory (an array, a tensor, an image of
                Pillow), or a list of these. Where a task needs two frames, each image is paired with the next.
            tasks: Predict these only; default: all. What they do not need is left uncomputed, as far as the decoder can.
            steps: Sampling steps of a decoder that samples in any number of them (TaskDiffusion); default: the config's.
            seed: Seed of the noise of diffusion decoders; default: the config's. With a seed or an ensemble, images go
                through the network one by one: the same seed gives the same bits, whatever ``batch_size``.
            ensemble: Predict from so many noise seeds (``seed``, ``seed + 1``, ...); give the mean, and in
                ``result.uncertainty`` how far they differ.
            max_side: As the class's, for this call.
            batch_size: Images per pass; images whose network input differs in size start a new pass.
            out_dir: Panels go to ``out_dir/panels/NAME.png``, predictions to ``out_dir/predictions/TASK/NAME.png|npy``,
                uncertainty to ``out_dir/uncertainty/TASK/NAME.npy``.
            panels: Draw panels.
            raw: Write predictions, if there is an ``out_dir``.
            save: Further files, if there is an ``out_dir``: ``ply``, a coloured point cloud; ``png16``, values as 16-bit
                pictures (:mod:`mmmtl.visualization.savers`).
            intrinsics, fov: Of the camera, for point clouds; see :func:`mmmtl.visualization.point_cloud.intrinsics_of`.
            progress: Show a progress bar with time left when it takes longer than five seconds.
            explain: Also draw how the predictions came about, to ``out_dir/panels/NAME.WHAT.png``, for models that
                can tell (TaskDiffusion, DiffusionMTL, StableMTL with two streams).
            failures: Messages of images that cannot be used are appended here, and the others go on. Without it the first
                one ends everything.

        Raises:
            InputError, FileError: A place without images, a file that is none.
            ConfigError: ``explain`` or ``save`` without ``out_dir``, ``explain`` of a network that has nothing to show; an
                unknown task, steps of a decoder without steps, an ensemble of a network without noise.
        """
        if (explain or save) and not out_dir:
            raise ConfigError(
                f'{"explain=True draws pictures" if explain else "save writes"} into a folder: give out_dir'
            )
        out_dir = osp.expanduser(out_dir) if out_dir else None
        tasks = tasks if tasks is None or isinstance(tasks, str) else list(tasks)
        options = PredictOptions(tasks, steps, seed, ensemble, max_side, batch_size)
        options.check(self.model)
        if self.fit == 'tile' and (ensemble > 1 or explain):
            raise ConfigError(f"ensemble={ensemble}, explain={explain}: not with fit='tile', which blends predictions")
        files = dict(
            out_dir=out_dir, panels=panels, raw=raw, savers=build_savers(save, self.tasks, tasks, intrinsics, fov)
        )
        items = gather_inputs(inputs, self.frames, lone=getattr(self.model, 'second_frame', None) is not None)
        self._warn_of_a_lone_frame(items[0], options)
        batch: list[tuple[ImageInput, list[np.ndarray], dict]] = []
        with tqdm(total=len(items), desc='predicting', unit='image', delay=5, disable=not progress) as bar:
            for item in items:
                try:
                    images = item.load(self.white_point)
                    if is_large(images[0].shape[:2]):
                        give_back_freed_memory()
                    packed = {} if self.fit == 'tile' else self.preparation(item, images, max_side)
                except (ValueError, OSError) as error:
                    if failures is None:
                        raise
                    failures.append(str(error))
                    bar.update()
                    continue
                other = batch and packed and packed['inputs'].shape != batch[0][2]['inputs'].shape
                if batch and (len(batch) == batch_size or other or not packed):
                    yield from self._finish(batch, options, files, explain)
                    bar.update(len(batch))
                    batch = []
                batch.append((item, images, packed))
            if batch:
                yield from self._finish(batch, options, files, explain)
                bar.update(len(batch))

    def _warn_of_a_lone_frame(self, item: ImageInput, options: PredictOptions) -> None:
        """Say which tasks of motion were given one frame."""
        moving = [name for name in options.tasks or self.tasks if self.tasks[name].frames > 1]
        if len(item.frames) < self.frames and moving:
            print_log(
                f'One image: it stands in for the second frame of the tasks {moving}, whose predictions then tell nothing',
                logger='current',
                level=logging.WARNING,
            )

    def _finish(self, batch: list, options: PredictOptions, files: dict[str, Any], explain: bool) -> Iterator[Result]:
        """Predict on a batch, draw, write."""
        if self.fit == 'tile':
            for item, images, _ in batch:
                maps = predict_image_in_tiles(self.model, self.preparation, item, images, self.overlap, options)
                yield finish_result(item, images, self.tasks, maps, **files)
            return
        data = dict(inputs=[p['inputs'] for *_, p in batch], data_samples=[p['data_samples'] for *_, p in batch])
        found = predict_batch(self.model, data, options)
        for index, ((item, images, _), (maps, spread)) in enumerate(zip(batch, found)):
            result = finish_result(item, images, self.tasks, maps, spread, **files)
            if explain:
                one = {key: [values[index]] for key, values in data.items()}
                for explanation in self.explanations(one, options):
                    path = osp.join(files['out_dir'], 'panels', f'{safe_name(item.sample_id)}.{explanation.name}.png')
                    picture = draw_explanation(explanation, images[0], self.tasks, title=item.sample_id)
                    result.files.append(write_png(path, picture))
            yield result

    def explanations(self, data: Mapping[str, list], options: PredictOptions) -> list[Any]:
        """How the prediction of one prepared image came about.

        Raises:
            ConfigError: A network that cannot tell.
        """
        if not hasattr(self.model, 'explain'):
            raise ConfigError(f'model: {type(self.model).__name__} cannot explain its predictions')
        ready = self.model.data_preprocessor(dict(data), False)
        with sampling(self.model, options.steps, options.seed):
            return self.model.explain(ready['inputs'], ready['data_samples'])[0]

    def stream_video(
        self,
        frames: Iterable[tuple[ImageInput, np.ndarray]],
        *,
        tasks: Sequence[str] | None = None,
        steps: int | None = None,
        seed: int | None = None,
        max_side: int | None = None,
        smooth: float = 0.0,
        out_dir: str | None = None,
        panels: bool = True,
        draw: bool = True,
        raw: bool = True,
        save: Sequence[str] = (),
        intrinsics: Sequence[float] | None = None,
        fov: float | None = None,
        ensemble: int = 1,
    ) -> Iterator[Result]:
        """Predict on the frames of a video as they come; where a task needs two frames, each is paired with the next.

        Args:
            frames: In order, each with its name: what ``Inferencer.stream`` takes, and uint8 RGB (H, W, 3).
            tasks, steps, seed, max_side, out_dir, panels, raw, save, intrinsics, fov: See :meth:`stream`.
            smooth: Share of the past in a frame's prediction, in [0, 1): an exponential mean over time, taken as the task
                averages (probabilities, unit vectors, values).
            draw: Give every result its panel, written or not.
            ensemble: For messages: a video has none.

        Raises:
            ConfigError: ``fit='tile'`` or an ensemble, which are for single images; and as :meth:`stream`.
        """
        if self.fit == 'tile':
            raise ConfigError("fit='tile' is for single images, not for videos: take pad or resize")
        options = PredictOptions(tasks, steps, seed, ensemble, max_side)
        options.check(self.model)
        savers = build_savers(save, self.tasks, tasks, intrinsics, fov)
        waiting: list[tuple[ImageInput, np.ndarray]] = []

        def prepared() -> Iterator[tuple[Tensor, MTLDataSample]]:
            for item, image in frames:
                one = self.preparation(item, [image], max_side)
                inputs = one['inputs'] if self.frames == 1 else one['inputs'].expand(2, -1, -1, -1)
                ready = self.model.data_preprocessor(dict(inputs=[inputs], data_samples=[one['data_samples']]), False)
                waiting.append((item, image))
                inputs = ready['inputs']
                yield inputs if inputs.ndim == 4 else inputs[:, 0], ready['data_samples'][0]

        files: dict[str, Any] = dict(
            out_dir=out_dir if panels or raw or save else None, panels=panels, raw=raw, draw=draw, savers=savers
        )
        for maps in predict_video_frames(self.model, prepared(), options, smooth):
            item, image = waiting.pop(0)
            yield finish_result(item, [image], self.tasks, maps, **files)
