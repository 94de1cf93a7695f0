"""StableMTL: one latent-diffusion UNet that predicts any set of tasks in a single deterministic step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmmtl.diffusion.noise import GeneratorNoise, NoiseSource, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError, suggest
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.ops.inference import optimize_for_inference
from mmmtl.registry import MODELS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import Task, build_tasks

from .exchange import Exchange, FeatureBank, Hiding, Recorder
from .latent_loss import latent_valid, masked_mse
from .task_attention import TaskAttention
from .task_tokens import batch_tokens
from .unet import build_unet, load_unet, open_attention, read_single_stream, require_diffusers

Latents = dict[str, Tensor]


@MODELS.register_module()
class LatentMultiTaskModel(BaseModel):
    """Frames → autoencoder → UNet, told by tokens which task → autoencoder → the task's own reading of the picture.

    With ``exchange``, two UNets (StableMTL, arXiv 2506.08013): a frozen auxiliary stream predicts every task alone,
    and the main stream, when it predicts one, looks at the auxiliary features of the others. Without, one UNet
    (StableMTL-S).

    Predictions are deterministic unless ``empty='normal'``. Names of noise: ``input/<task>`` and
    ``input/auxiliary/<task>`` (B, C, h, w) then; in training those of :class:`~mmmtl.models.stablemtl.exchange.Hiding`.

    Args:
        tasks: ``{name: config or Task}``.
        autoencoder: Config: ``KLAutoencoder`` or ``DCTAutoencoder``.
        unet: Keyword arguments of diffusers' ``UNet2DConditionModel`` without input and output channels.
        tokens: Config of the task tokens; ``tasks`` and ``width`` are filled in.
        exchange: None for one stream, or a dict of ``heads`` (4), ``query_width`` (640), ``places`` (``'all'`` or
            ``'decoder'`` self-attentions), ``hide`` (share of layers at which a source is hidden in training, 0.4),
            ``exclude_self`` (True: a task does not look at its own auxiliary feature) and ``main_from_pretrained``
            (False: the main stream too starts from ``single_stream``).
        pretrained_unet: Folder or hub name of a UNet to start from (subfolder ``unet`` where there is one); fewer
            input channels are inflated.
        single_stream: Checkpoint of a single-stream model, or a bare UNet state dict, from which both streams start.
        data_preprocessor: Config; default: images to [-1, 1].
        second_frame: What takes the second frame's place for tasks that need one frame, or where there is none:
            ``duplicate`` (of the first) or ``zeros``; ``average``: the two frames' mean in one place.
        empty: The last latent of the input: ``zeros`` or ``normal`` noise.
        timestep: The constant step fed to the UNet.
        batch_tasks: Tasks per pass of a UNet in prediction; None for all at once. Fewer hold less in a pass, but all keys
            and values are kept from pass to pass. Changes no result.
        batch_images: Images per pass of the autoencoder in prediction; None for all.
        checkpointing: Recompute the UNet's blocks in the backward pass instead of keeping them.
        half_self_attention: Self-attention in float16, as in the program released with the paper.
        noise_seed: Seed of the noise.
        predict_labelled: In ``predict`` give every sample predictions of the tasks it has labels for, and no others:
            all that an evaluation needs.
        predict_one_by_one: In ``predict`` run every image by itself, so that no digit depends on how images were
            batched.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        autoencoder: dict,
        unet: Mapping[str, Any],
        tokens: dict,
        exchange: Mapping[str, Any] | None = None,
        pretrained_unet: str | None = None,
        single_stream: str | None = None,
        data_preprocessor: dict | None = None,
        second_frame: str = 'duplicate',
        empty: str = 'zeros',
        timestep: int = 999,
        batch_tasks: int | None = None,
        batch_images: int | None = 1,
        checkpointing: bool = False,
        half_self_attention: bool = False,
        noise_seed: int = 0,
        predict_labelled: bool = False,
        predict_one_by_one: bool = False,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(MODELS.build(data_preprocessor or dict(type='MTLDataPreprocessor', mean=half, std=half)))
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.frames = max(task.frames for task in self.tasks.values())
        for name, value, allowed in (
            ('second_frame', second_frame, ('duplicate', 'zeros', 'average')),
            ('empty', empty, ('zeros', 'normal')),
        ):
            if value not in allowed:
                raise ConfigError(f'model.{name} must be one of {allowed}, got {value!r}.{suggest(value, allowed)}')
        self.second_frame, self.empty, self.timestep = second_frame, empty, timestep
        self.batch_tasks, self.batch_images = batch_tasks, batch_images
        self.predict_labelled, self.predict_one_by_one = predict_labelled, predict_one_by_one
        self.pretrained_unet, self.single_stream = pretrained_unet, single_stream
        self.noise_seed, self.noise_source = noise_seed, GeneratorNoise(noise_seed)
        self.autoencoder = MODELS.build(autoencoder)
        channels = self.autoencoder.latent_channels
        parts = 2 if second_frame == 'average' else 3
        self.unet = build_unet(unet, parts * channels, channels)
        widths = open_attention(self.unet, half_self_attention)
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        width = self.unet.config.cross_attention_dim
        prompts = {name: task.prompt for name, task in self.tasks.items()}
        self.tokens = MODELS.build(dict(tokens, tasks=prompts, width=width))
        self.auxiliary: nn.Module | None = None
        self.task_attention = nn.ModuleDict()
        if exchange is not None:
            self._build_exchange(unet, dict(exchange), widths, half_self_attention)

    def _build_exchange(self, unet: Mapping[str, Any], options: dict, widths: dict[str, int], half: bool) -> None:
        defaults = dict(heads=4, query_width=640, places='all', hide=0.4, exclude_self=True, main_from_pretrained=False)
        for name in options:
            if name not in defaults:
                raise ConfigError(f'model.exchange.{name}: unknown argument.{suggest(name, defaults)}')
        options = {**defaults, **options}
        if options['places'] not in ('all', 'decoder'):
            raise ConfigError(f"model.exchange.places must be 'all' or 'decoder', got {options['places']!r}")
        self.exclude_self, self.hide = options['exclude_self'], options['hide']
        self.main_from_pretrained = options['main_from_pretrained']
        for place, channels in widths.items():
            if options['places'] == 'all' or place.startswith('up_blocks'):
                self.task_attention[place] = TaskAttention(
                    list(self.tasks), channels, options['heads'], options['query_width']
                )
        use_fast_linear(self.task_attention)
        self.auxiliary = build_unet(unet, self.unet.config.in_channels, self.unet.config.out_channels)
        open_attention(self.auxiliary, half)
        self.auxiliary.requires_grad_(False).eval()
        self.tokens.requires_grad_(False)  # the auxiliary stream reads them too, and stays as it is

    # ---- weights ---------------------------------------------------------------------------------------------------
    def init_weights(self) -> None:
        """Read the weights to start from: autoencoder, tokens, ``pretrained_unet``, ``single_stream``."""
        stage_one = read_single_stream(self.single_stream) if self.single_stream else {}
        for name in ('autoencoder', 'tokens'):
            if stage_one.get(name):
                getattr(self, name).load_state_dict(stage_one[name])
            else:
                getattr(self, name).init_weights()
        if self.pretrained_unet:
            folder = Path(self.pretrained_unet)
            subfolder = None if folder.is_dir() and not (folder / 'unet').is_dir() else 'unet'
            loaded = require_diffusers().UNet2DConditionModel.from_pretrained(self.pretrained_unet, subfolder=subfolder)
            load_unet(self.unet, loaded.state_dict(), self.pretrained_unet)
        if stage_one and not (self.auxiliary is not None and self.main_from_pretrained):
            load_unet(self.unet, stage_one['unet'], str(self.single_stream))
        if self.auxiliary is not None:
            load_unet(self.auxiliary, stage_one.get('unet') or self.unet.state_dict(), str(self.single_stream))

    def train(self, mode: bool = True) -> LatentMultiTaskModel:
        """Training mode for what is trained; the autoencoder and the auxiliary stream stay in evaluation mode."""
        super().train(mode)
        self.autoencoder.eval()
        if self.auxiliary is not None:
            optimize_for_inference(self.auxiliary)
        return self

    # ---- streams ---------------------------------------------------------------------------------------------------
    def encode_frames(self, inputs: Tensor, pair: bool = True) -> list[Tensor]:
        """Latents of the first and, where there is one and ``pair``, the second frame; each (B, C, h, w), no gradient.

        Args:
            inputs: (B, 3, H, W) or (B, 2, 3, H, W), in [-1, 1].
            pair: Whether the second frame is wanted.
        """
        frames = [inputs] if inputs.ndim == 4 else list(inputs.unbind(1))[: 2 if pair else 1]
        return [self._encode(frame) for frame in frames]

    def _encode(self, images: Tensor) -> Tensor:
        """Latents of images, ``batch_images`` at a time; nothing is learned from it."""
        with torch.no_grad():
            return torch.cat([self.autoencoder.encode(part) for part in images.split(self.batch_images or len(images))])

    def unet_input(
        self, frames: Sequence[Tensor], task: str, noise: NoiseSource | None = None, stream: str = ''
    ) -> Tensor:
        """The UNet's input for one task, (B, 3 C, h, w): first frame, second frame or its stand-in, empty latent."""
        first = frames[0]
        second = frames[1] if len(frames) == 2 and self.tasks[task].frames == 2 else None
        if self.empty == 'normal' and noise is not None:
            empty = noise.normal(f'input/{stream}{task}', first.shape, like=first)
        else:
            empty = torch.zeros_like(first)
        if self.second_frame == 'average':
            return torch.cat([first if second is None else (first + second) / 2, empty], 1)
        if second is None:
            second = first if self.second_frame == 'duplicate' else torch.zeros_like(first)
        return torch.cat([first, second, empty], 1)

    def run_stream(
        self,
        unet: nn.Module,
        frames: Sequence[Tensor],
        tasks: Sequence[str],
        exchange: Any = None,
        noise: NoiseSource | None = None,
        stream: str = '',
    ) -> Latents:
        """One pass of a UNet over all samples of all ``tasks``: {task: latent (B, C, h, w)}."""
        sample = torch.cat([self.unet_input(frames, task, noise, stream) for task in tasks])
        tokens, mask = batch_tokens([self.tokens(task) for task in tasks], len(frames[0]))
        shared = None if exchange is None else dict(exchange=exchange)
        out = unet(
            sample,
            self.timestep,
            encoder_hidden_states=tokens.to(sample.dtype),
            encoder_attention_mask=mask,
            cross_attention_kwargs=shared,
            return_dict=False,
        )[0]
        return dict(zip(tasks, out.chunk(len(tasks))))

    def _groups(self, tasks: Sequence[str]) -> list[list[str]]:
        step = self.batch_tasks or len(tasks)
        return [list(tasks[i : i + step]) for i in range(0, len(tasks), step)]

    def auxiliary_features(
        self, frames: Sequence[Tensor], tasks: Sequence[str] | None = None, noise: NoiseSource | None = None
    ) -> tuple[FeatureBank, Latents]:
        """Run the auxiliary stream.

        Args:
            frames: Of :meth:`encode_frames`.
            tasks: The sources; default: all tasks.
            noise: Where ``empty='normal'``.

        Returns:
            The features that :meth:`main_latents` looks at, for any main task, and what the stream itself predicts: the
            latents of the single-stream model, which come for free.
        """
        if self.auxiliary is None:
            raise ConfigError('a model with one stream has no auxiliary features: give model.exchange')
        bank, latents = FeatureBank(), {}
        with torch.no_grad():
            for group in self._groups(list(self.tasks) if tasks is None else list(tasks)):
                recorder = Recorder(bank, group, self.task_attention)
                latents.update(self.run_stream(self.auxiliary, frames, group, recorder, noise, 'auxiliary/'))
        return bank, latents

    def main_latents(
        self,
        frames: Sequence[Tensor],
        bank: FeatureBank | None = None,
        tasks: Sequence[str] | None = None,
        noise: NoiseSource | None = None,
        hiding: Hiding | None = None,
        last: bool = False,
    ) -> Latents:
        """Run the main stream, or the only one.

        Args:
            frames: Of :meth:`encode_frames`.
            bank: Of :meth:`auxiliary_features`, for the same frames.
            tasks: What to predict; default: all tasks.
            noise: Where ``empty='normal'``.
            hiding: Task masking, in training.
            last: The bank is not needed afterwards and may be emptied on the way.

        Returns:
            {task: latent (B, C, h, w)}.
        """
        latents: Latents = {}
        groups = self._groups(list(self.tasks) if tasks is None else list(tasks))
        for group in groups:
            exchange = None
            if self.auxiliary is not None and bank is not None:
                exchange = Exchange(
                    bank, group, self.task_attention, self.exclude_self, hiding, last and group is groups[-1]
                )
            latents.update(self.run_stream(self.unet, frames, group, exchange, noise))
        return latents

    def decode(self, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents → images (B, 3, H, W) as the autoencoder gives them, not clipped; no gradient."""
        flat = torch.cat(list(latents.values()))
        step, factor = self.batch_images or len(flat), self.autoencoder.factor
        # room for all results first: small ones between large temporaries would break up the memory
        images = flat.new_empty(len(flat), 3, factor * flat.shape[-2], factor * flat.shape[-1])
        with torch.no_grad():
            for i in range(0, len(flat), step):
                images[i : i + step] = self.autoencoder.decode(flat[i : i + step])
        return dict(zip(latents, images.chunk(len(latents))))

    # ---- modes -----------------------------------------------------------------------------------------------------
    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        mode: str = 'tensor',
        targets: Mapping | None = None,
        noise: Any = None,
        tasks: Sequence[str] | None = None,
    ) -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W), or (B, 2, 3, H, W) for pairs of frames, in [-1, 1].
            data_samples: One per image; predictions are written into them.
            mode: ``loss`` → named weighted losses of the tasks in ``targets``; ``predict`` → data samples with ``pred``
                at the original image size; ``tensor`` → ``{task: decoded image (B, 3, H, W)}``.
            targets: Labels per task as the data preprocessor gives them (``loss`` only).
            noise: ``{name: tensor}`` or a noise source replacing the default one.
            tasks: Predict these only.
        """
        noise = RecordedNoise(noise) if isinstance(noise, Mapping) else noise
        if mode == 'loss':
            return self.loss(inputs, targets or {}, noise or self.noise_source)
        if mode == 'predict':
            return self.predict(inputs, data_samples, noise, tasks)
        if mode == 'tensor':
            return self.decoded_images(inputs, data_samples, noise, tasks)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got '{mode}'")

    def loss(
        self, inputs: Tensor, targets: Mapping, noise: NoiseSource | None = None, hiding: Hiding | None = None
    ) -> dict[str, Tensor]:
        """Masked latent mean square error of every task that is labelled in the batch.

        Batches of one task (``TaskCycleBatchSampler``) isolate the tasks' gradients: a task's own parameters then get
        none at all, not a zero, where another task is trained.
        """
        names = [name for name in self.tasks if name in targets]
        if not names:  # nobody in the batch is labelled: nothing to learn, but a graph to go through
            return {'loss_latent': sum(p.flatten()[0] for p in self.parameters() if p.requires_grad) * 0.0}
        if inputs.ndim == 4:
            pairs = [name for name in names if self.tasks[name].frames == 2]
            if pairs:
                raise ValueError(
                    f'tasks {pairs} are trained on pairs of frames: inputs of (B, 2, 3, H, W), got '
                    f'{tuple(inputs.shape)}'
                )
        pair = self.auxiliary is not None or any(self.tasks[name].frames == 2 for name in names)
        frames = self.encode_frames(inputs, pair)
        losses = {}
        for name in names:
            index, label = targets[name]
            rows = frames if len(index) == len(inputs) else [frame[index] for frame in frames]
            image, valid = self.tasks[name].to_image(label)
            target = self._encode(image)
            bank = None
            if self.auxiliary is not None:
                sources = [n for n in self.tasks if n != name or not self.exclude_self]
                bank, _ = self.auxiliary_features(rows, sources, noise)
                if hiding is None and self.training and self.hide > 0:
                    hiding = Hiding(noise, self.hide)
            pred = self.main_latents(rows, bank, [name], noise, hiding)[name]
            loss = masked_mse(pred, target, latent_valid(valid, self.autoencoder.factor))
            losses[f'loss_{name}'] = loss * self.tasks[name].loss_weight
        return losses

    def _prediction_noise(self, samples: Sequence[MTLDataSample] | None, count: int) -> NoiseSource:
        ids = [s.metainfo.get('sample_id', str(i)) for i, s in enumerate(samples)] if samples else None
        return SampleNoise(self.noise_seed, ids or [str(i) for i in range(count)])

    def decoded_images(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        noise: Any = None,
        tasks: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """``{task: image (B, 3, H, W)}`` as decoded: every frame encoded once, every task passed once per stream."""
        self._check_size(inputs)
        noise = noise or self._prediction_noise(data_samples, len(inputs))
        wanted = list(self.tasks) if tasks is None else list(tasks)
        with torch.no_grad():
            return self.decode(self._latents(inputs, wanted, noise))

    def _latents(self, inputs: Tensor, tasks: Sequence[str], noise: NoiseSource) -> Latents:
        """Predicted latents; what they were made of is let go before anything is decoded."""
        frames = self.encode_frames(inputs, self._needs_pair(tasks))
        bank = self.auxiliary_features(frames, noise=noise)[0] if self.auxiliary is not None else None
        return self.main_latents(frames, bank, tasks, noise, last=True)

    def _needs_pair(self, tasks: Iterable[str]) -> bool:
        return self.auxiliary is not None or any(self.tasks[name].frames == 2 for name in tasks)

    @property
    def size_multiple(self) -> int:
        """Both sides of the images must be multiples of this."""
        return self.autoencoder.factor

    def _check_size(self, inputs: Tensor) -> None:
        height, width = inputs.shape[-2:]
        step = self.size_multiple
        if height % step or width % step:
            raise ValueError(
                f'images of {height}x{width} pixels: the autoencoder needs multiples of {step}. Use '
                f"dict(type='Resize', ..., multiple={step}) or dict(type='CentredPad', multiple={step})"
            )

    def predict(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        noise: Any = None,
        tasks: Sequence[str] | None = None,
    ) -> list[MTLDataSample]:
        """Data samples with ``pred`` at the original image size: padding cut off, then resized back if need be."""
        samples = (
            list(data_samples)
            if data_samples
            else [MTLDataSample(metainfo=dict(sample_id=str(i))) for i in range(len(inputs))]
        )
        if self.predict_one_by_one and len(samples) > 1 and noise is None:
            return [self.predict(inputs[i : i + 1], samples[i : i + 1], None, tasks)[0] for i in range(len(samples))]
        wanted = {i: self._wanted(sample, tasks) for i, sample in enumerate(samples)}
        together = [name for name in self.tasks if any(name in names for names in wanted.values())]
        images = self.decoded_images(inputs, samples, noise, together) if together else {}
        for i, sample in enumerate(samples):
            left, right, top, bottom = sample.metainfo.get('padding') or (0, 0, 0, 0)
            prediction = {}
            for name in wanted[i]:
                full = images[name]
                image = full[i : i + 1, :, top : full.shape[-2] - bottom, left : full.shape[-1] - right]
                size = tuple(sample.metainfo.get('ori_shape', image.shape[-2:]))
                prediction[name] = self._read_image(self.tasks[name], image, size)[0]
            sample.pred = prediction
        return samples

    def _wanted(self, sample: MTLDataSample, tasks: Sequence[str] | None) -> list[str]:
        """Tasks that a sample gets predictions of."""
        names = list(self.tasks) if tasks is None else list(tasks)
        if self.predict_labelled and 'gt' in sample:
            return [name for name in names if name in sample.gt]
        return names

    @staticmethod
    def _read_image(task: Task, image: Tensor, size: tuple[int, int]) -> Tensor:
        """A task's reading (1, C, H, W) of its decoded image at another size."""
        value = task.from_image(image)
        if tuple(value.shape[-2:]) == size:
            return value
        if not value.is_floating_point():  # between two classes' colours lies a third class's: resize the classes
            return F.interpolate(value.float(), size, mode='nearest-exact').long()
        return task.from_image(F.interpolate(image, size, mode='bilinear', align_corners=False))

    def predict_video(self, frames: Iterable[Tensor], auxiliary_every: int = 1) -> Iterator[dict[str, Tensor]]:
        """Predictions for every frame of a video; each frame is encoded once.

        Args:
            frames: (B, 3, H, W) in [-1, 1], in order. Frame t is paired with frame t + 1; the last has no successor.
            auxiliary_every: Run the auxiliary stream for every n-th frame only and let the frames between look at its
                last features: less work, and exact for 1 alone.

        Yields:
            ``{task: prediction (B, C, H, W)}`` at the frames' size, one frame behind the input.
        """
        if auxiliary_every < 1:
            raise ValueError(f'auxiliary_every must be at least 1, got {auxiliary_every}')
        latents: list[Tensor] = []
        bank, count = None, 0
        for frame in [*frames, None] if isinstance(frames, (list, tuple)) else _closed(frames):
            if frame is not None:
                self._check_size(frame)
                latents += self.encode_frames(frame)
            if len(latents) == 2 or (frame is None and latents):
                if self.auxiliary is not None and count % auxiliary_every == 0:
                    bank = self.auxiliary_features(latents)[0]
                with torch.no_grad():
                    images = self.decode(self.main_latents(latents, bank))
                yield {name: self.tasks[name].from_image(image) for name, image in images.items()}
                latents, count = latents[1:], count + 1


def _closed(frames: Iterable[Tensor]) -> Iterator[Tensor | None]:
    """The frames, and then None."""
    yield from frames
    yield None
