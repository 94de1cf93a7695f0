"""StableMTL: one latent-diffusion UNet that predicts any set of tasks in a single deterministic step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource
from mmmtl.errors import ConfigError, InputError, suggest
from mmmtl.models.base import BaseMultiTaskModel, Reader, Size
from mmmtl.models.layers.conv_block import on_grid
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation, MTLDataSample
from mmmtl.tasks import Task
from mmmtl.tasks.picture_code import channels_to_image, check_picture_code

from .autoencoders import decode_in_parts
from .explain import attended_sources
from .latent_loss import latent_valid, masked_mse
from .reading import averageable, finish, read_pictures
from .streams import AuxiliaryFeatures, AuxiliaryStream, MainStream, TaskMasking
from .task_attention import TaskAttention
from .task_tokens import batch_tokens
from .unet import build_unet, initialise_unets, set_attention_processors
from .video import stream_samples

Latents = dict[str, Tensor]
"""{task: (B, C, h, w)}."""

TASK_ATTENTION: dict[str, Any] = dict(heads=4, query_width=640, layers='all', task_mask_prob=0.4)
TASK_ATTENTION |= dict(exclude_main_task=True, main_from_pretrained=False, auxiliary_every=1)
"""Options of the multi-stream model and their defaults."""


@MODELS.register_module()
class LatentMultiTaskModel(BaseMultiTaskModel):
    """Frames → autoencoder → UNet, told by tokens which task → autoencoder → the task's own reading of the picture.

    With ``task_attention``, two UNets (StableMTL): a frozen auxiliary stream predicts every task alone, and the main
    stream, when it predicts one, attends to the auxiliary features of the others. Without, one UNet (StableMTL-S).

    Predictions are deterministic unless ``input_noise='normal'``. Names of noise: ``input/<task>`` and
    ``input/auxiliary/<task>`` (B, C, h, w) then; in training those of
    :class:`~mmmtl.models.stablemtl.streams.TaskMasking`.

    Args:
        tasks: ``{name: config or Task}``.
        autoencoder: Config: ``KLAutoencoder`` or ``DCTAutoencoder``.
        unet: Keyword arguments of diffusers' ``UNet2DConditionModel`` without input and output channels.
        tokens: Config of the task tokens; ``tasks`` and ``width`` are filled in.
        task_attention: None for one stream, or a dict of ``heads`` (4), ``query_width`` (640), ``layers`` (``'all'`` or
            ``'decoder'`` self-attentions), ``task_mask_prob`` (share of layers at which a source is masked in training,
            0.4), ``exclude_main_task`` (True: a task does not attend to its own auxiliary feature),
            ``main_from_pretrained`` (False: the main stream too starts from ``single_stream``) and ``auxiliary_every`` (1;
            of a video, run the auxiliary stream for every n-th frame only, and let the frames between attend to its last
            features: less work, and exact for 1 alone).
        pretrained_unet: Folder or hub name of a UNet to start from (subfolder ``unet`` where there is one); fewer
            input channels are inflated.
        single_stream: Checkpoint of a single-stream model, or a bare UNet state dict, from which both streams start.
        second_frame: What takes the second frame's place for tasks that need one frame, or where there is none:
            ``duplicate`` (of the first) or ``zeros``; ``average``: the two frames' mean in one place.
        input_noise: The last latent of the input: ``zeros`` or ``normal`` noise.
        timestep: The constant step t fed to the UNet.
        batch_tasks: Tasks per pass of a UNet in prediction; None for all at once. Fewer hold less in a pass, but all keys
            and values are kept from pass to pass. Changes no result.
        batch_images: Images per pass of the autoencoder in prediction; None for all.
        checkpointing: Recompute the UNet's blocks in the backward pass instead of keeping them.
        half_self_attention: Self-attention in float16, as in the program released with the paper.
        **options: Of :class:`~mmmtl.models.base.BaseMultiTaskModel`.
    """

    image_mean = image_std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        autoencoder: dict,
        unet: Mapping[str, Any],
        tokens: dict,
        task_attention: Mapping[str, Any] | None = None,
        pretrained_unet: str | None = None,
        single_stream: str | None = None,
        second_frame: str = 'duplicate',
        input_noise: str = 'zeros',
        timestep: int = 999,
        batch_tasks: int | None = None,
        batch_images: int | None = 1,
        checkpointing: bool = False,
        half_self_attention: bool = False,
        **options: Any,
    ) -> None:
        for name, value, allowed in (
            ('second_frame', second_frame, ('duplicate', 'zeros', 'average')),
            ('input_noise', input_noise, ('zeros', 'normal')),
        ):
            if value not in allowed:
                raise ConfigError(f'model.{name} must be one of {allowed}, got {value!r}.{suggest(value, allowed)}')
        super().__init__(tasks, second_frame=second_frame, **options)
        for task in self.tasks.values():
            check_picture_code(task)
        if self.tta is not None and self.tta.zoom:
            raise ConfigError('model.tta.zoom: pictures of a latent model hold no distances that could be scaled back')
        self.second_frame, self.input_noise, self.timestep = second_frame, input_noise, timestep
        self.batch_tasks, self.batch_images = batch_tasks, batch_images
        self.pretrained_unet, self.single_stream = pretrained_unet, single_stream
        self.autoencoder = MODELS.build(autoencoder)
        channels = self.autoencoder.latent_channels
        self.unet = build_unet(unet, (2 if second_frame == 'average' else 3) * channels, channels)
        widths = set_attention_processors(self.unet, half_self_attention)
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        width = self.unet.config.cross_attention_dim
        prompts = {name: task.prompt for name, task in self.tasks.items()}
        self.tokens = MODELS.build(dict(tokens, tasks=prompts, width=width))
        self.auxiliary: nn.Module | None = None
        self.task_attention = nn.ModuleDict()
        if task_attention is not None:
            self._build_streams(unet, dict(task_attention), widths, half_self_attention)

    def _build_streams(self, unet: Mapping[str, Any], options: dict, widths: dict[str, int], half: bool) -> None:
        """The frozen auxiliary stream, and the main stream's task attention at layers of these widths."""
        for name in options:
            if name not in TASK_ATTENTION:
                raise ConfigError(f'model.task_attention.{name}: unknown argument.{suggest(name, TASK_ATTENTION)}')
        options = {**TASK_ATTENTION, **options}
        if options['layers'] not in ('all', 'decoder'):
            raise ConfigError(f"model.task_attention.layers must be 'all' or 'decoder', got {options['layers']!r}")
        self.auxiliary_every = every = options['auxiliary_every']
        if not isinstance(every, int) or every < 1:
            raise ConfigError(f'model.task_attention.auxiliary_every must be a whole number > 0, got {every!r}')
        self.exclude_main_task, self.task_mask_prob = options['exclude_main_task'], options['task_mask_prob']
        self.main_from_pretrained = options['main_from_pretrained']
        for layer, channels in widths.items():
            if options['layers'] == 'all' or layer.startswith('up_blocks'):
                self.task_attention[layer] = TaskAttention(
                    list(self.tasks), channels, options['heads'], options['query_width']
                )
        use_fast_linear(self.task_attention)
        self.auxiliary = build_unet(unet, self.unet.config.in_channels, self.unet.config.out_channels)
        set_attention_processors(self.auxiliary, half)
        self.auxiliary.requires_grad_(False).eval()
        self.tokens.requires_grad_(False)  # the auxiliary stream reads them too, and stays as it is

    def init_weights(self) -> None:
        """Read the weights to start from: autoencoder, tokens, ``pretrained_unet``, ``single_stream``."""
        initialise_unets(self)

    def train(self, mode: bool = True) -> LatentMultiTaskModel:
        """Training mode for what is trained; the autoencoder and the auxiliary stream stay in evaluation mode."""
        super().train(mode)
        self.autoencoder.eval()
        if self.auxiliary is not None:
            self.auxiliary.eval()
        return self

    # ---- streams ---------------------------------------------------------------------------------------------------
    def encode_frames(self, inputs: Tensor, pair: bool = True) -> list[Tensor]:
        """z of the first and, where there is one and ``pair``, the second frame; each (B, C, h, w), no gradient.

        Args:
            inputs: (B, 3, H, W) or (B, 2, 3, H, W), in [-1, 1].
            pair: Whether the second frame is wanted.
        """
        frames = [inputs] if inputs.ndim == 4 else list(inputs.unbind(1))[: 2 if pair else 1]
        return [self._encode(frame) for frame in frames]

    def _encode(self, images: Tensor) -> Tensor:
        """Latents of images, ``batch_images`` at a time; nothing is learned from it."""
        with torch.no_grad():
            if self.batch_images is None:
                return self.autoencoder.encode(images)
            return torch.cat([self.autoencoder.encode(part) for part in images.split(self.batch_images)])

    def unet_input(
        self, frames: Sequence[Tensor], task: str, noise: NoiseSource | None = None, stream: str = ''
    ) -> Tensor:
        """The UNet's input for one task, (B, 3 C, h, w): first frame, second frame or its stand-in, noise."""
        first = frames[0]
        second = frames[1] if len(frames) == 2 and self.tasks[task].frames == 2 else None
        last = torch.zeros_like(first)
        if self.input_noise == 'normal' and noise is not None:
            last = noise.normal(f'input/{stream}{task}', first.shape, like=first)
        if self.second_frame == 'average':
            return torch.cat([first if second is None else (first + second) / 2, last], 1)
        if second is None:
            second = first if self.second_frame == 'duplicate' else torch.zeros_like(first)
        return torch.cat([first, second, last], 1)

    def _run(
        self,
        unet: nn.Module,
        frames: Sequence[Tensor],
        tasks: Sequence[str],
        stream: Any = None,
        noise: NoiseSource | None = None,
        name: str = '',
    ) -> Latents:
        """One pass of a UNet over all samples of all ``tasks``: the predicted latents."""
        sample = torch.cat([self.unet_input(frames, task, noise, name) for task in tasks])  # T B, 3 C, h, w
        tokens, mask = batch_tokens([self.tokens(task) for task in tasks], frames[0].shape[0])  # T B, L, D
        out = unet(
            sample,
            self.timestep,
            encoder_hidden_states=tokens.to(sample.dtype),
            encoder_attention_mask=mask,
            cross_attention_kwargs=None if stream is None else dict(stream=stream),
            return_dict=False,
        )[0]
        return dict(zip(tasks, out.unflatten(0, (len(tasks), -1)).unbind(0)))

    def _groups(self, tasks: Iterable[str] | None) -> list[list[str]]:
        """Tasks that go through a UNet together."""
        names = list(self.tasks if tasks is None else tasks)
        step = self.batch_tasks or max(len(names), 1)
        return [names[i : i + step] for i in range(0, len(names), step)]

    def auxiliary_stream(
        self,
        frames: Sequence[Tensor],
        tasks: Sequence[str] | None = None,
        noise: NoiseSource | None = None,
        shared: bool = True,
    ) -> tuple[AuxiliaryFeatures, Latents]:
        """Run the auxiliary stream.

        Args:
            frames: Of :meth:`encode_frames`.
            tasks: The sources; default: all tasks.
            noise: Where ``input_noise='normal'``.
            shared: See :class:`~mmmtl.models.stablemtl.streams.AuxiliaryFeatures`; False in training.

        Returns:
            The features that :meth:`main_stream` attends to, for any main task, and what the stream itself predicts: the
            latents of the single-stream model, which come for free.
        """
        if self.auxiliary is None:
            raise ConfigError('a model with one stream has no auxiliary features: give model.task_attention')
        features, latents = AuxiliaryFeatures(shared), {}
        with torch.no_grad():
            for group in self._groups(tasks):
                recorder = AuxiliaryStream(features, group, self.task_attention)
                latents.update(self._run(self.auxiliary, frames, group, recorder, noise, 'auxiliary/'))
        return features, latents

    def main_stream(
        self,
        frames: Sequence[Tensor],
        features: AuxiliaryFeatures | None = None,
        tasks: Sequence[str] | None = None,
        noise: NoiseSource | None = None,
        masking: TaskMasking | None = None,
        last: bool = False,
    ) -> Latents:
        """Run the main stream, or the only one.

        Args:
            frames: Of :meth:`encode_frames`.
            features: Of :meth:`auxiliary_stream`, for the same frames.
            tasks: What to predict; default: all tasks.
            noise: Where ``input_noise='normal'``.
            masking: Task masking, in training.
            last: The features are not needed afterwards and are let go on the way.
        """
        latents: Latents = {}
        groups = self._groups(tasks)
        for group in groups:
            stream = None
            if self.auxiliary is not None and features is not None:
                done = last and group is groups[-1]
                stream = MainStream(features, group, self.task_attention, self.exclude_main_task, masking, done)
            latents.update(self._run(self.unet, frames, group, stream, noise))
        return latents

    def decode(self, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents → pictures (B, 3, H, W) as the autoencoder gives them, not clipped; no gradient."""
        flat = torch.cat(list(latents.values()))
        with torch.no_grad():
            pictures = decode_in_parts(self.autoencoder, flat, self.batch_images)
        return dict(zip(latents, pictures.unflatten(0, (len(latents), -1)).unbind(0)))

    # ---- training --------------------------------------------------------------------------------------------------
    def loss(self, inputs: Tensor, targets: Mapping, noise: NoiseSource) -> dict[str, Tensor]:
        """Masked latent mean square error of every task that is labelled in the batch.

        Batches of one task (``TaskCycleBatchSampler``) isolate the tasks' gradients: a task's own parameters then get
        none at all, not a zero, where another task is trained.
        """
        names = [name for name in self.tasks if name in targets]
        if not names:  # nobody in the batch is labelled: nothing to learn, but a graph to go through
            return {'loss_latent': sum(p.flatten()[0] for p in self.parameters() if p.requires_grad) * 0.0}
        pairs = [name for name in names if self.tasks[name].frames == 2]
        if pairs and inputs.ndim == 4:
            raise InputError(
                f'tasks {pairs} are trained on pairs of frames: inputs of (B, 2, 3, H, W), got {tuple(inputs.shape)}. '
                f'Say frames=2 or None in the data set, or leave the tasks out (only_tasks)'
            )
        frames = self.encode_frames(inputs, self._needs_pair(names))
        losses = {}
        for name in names:
            index, label = targets[name]
            losses[f'loss_{name}'] = (
                self._task_loss(name, [frame[index] for frame in frames], label, noise) * self.tasks[name].loss_weight
            )
        return losses

    def _task_loss(self, name: str, frames: Sequence[Tensor], label: Tensor, noise: NoiseSource) -> Tensor:
        """The unweighted loss of one main task on the samples that are labelled for it."""
        features, masking = None, None
        if self.auxiliary is not None:
            sources = [n for n in self.tasks if n != name or not self.exclude_main_task]
            features, _ = self.auxiliary_stream(frames, sources, noise, shared=False)
            if self.training and self.task_mask_prob > 0:
                masking = TaskMasking(name, noise, self.task_mask_prob)
        picture, valid = self.tasks[name].to_image(label)
        target = self._encode(picture)
        pred = self.main_stream(frames, features, [name], noise, masking)[name]
        return masked_mse(pred, target, latent_valid(valid, self.autoencoder.factor))

    # ---- prediction ------------------------------------------------------------------------------------------------
    def _needs_pair(self, tasks: Iterable[str]) -> bool:
        """Whether the second frame is looked at when these tasks are predicted."""
        seen = self.tasks if self.auxiliary is not None else tasks
        return any(self.tasks[name].frames == 2 for name in seen)

    @property
    def size_multiple(self) -> int:
        """Both sides of the images must be multiples of this."""
        return self.autoencoder.factor

    def check_size(self, inputs: Tensor) -> None:
        """Raise :class:`InputError` at images that the autoencoder cannot take."""
        height, width = inputs.shape[-2:]
        step = self.size_multiple
        if height % step or width % step:
            raise InputError(
                f'images of {height}x{width} pixels: the autoencoder needs multiples of {step}. Use '
                f"dict(type='Resize', ..., multiple={step}) or dict(type='CentredPad', multiple={step})"
            )

    def raw_maps(self, inputs: Tensor, noise: NoiseSource, tasks: Sequence[str]) -> dict[str, Tensor]:
        """``{task: picture (B, 3, H, W)}`` as decoded: every frame encoded once, every task passed once per stream."""
        self.check_size(inputs)
        with torch.no_grad():
            return self.decode(self._predicted_latents(inputs, noise, tasks))

    def _predicted_latents(self, inputs: Tensor, noise: NoiseSource, tasks: Sequence[str]) -> Latents:
        """Predicted latents; what they were made of is let go before anything is decoded."""
        frames = self.encode_frames(inputs, self._needs_pair(tasks))
        features = self.auxiliary_stream(frames, noise=noise)[0] if self.auxiliary is not None else None
        return self.main_stream(frames, features, tasks, noise, last=True)

    def view_back(self, task: Task, raw: Tensor, size: Size) -> Tensor:
        """A picture (B, 3, h, w) at another size."""
        return on_grid(raw, size)

    def flip_back(self, task: Task, raw: Tensor, direction: str) -> Tensor:
        """A picture (B, 3, h, w) of a mirrored view as one of the image: its channels are those of the label."""
        if task.categorical:
            return task.flip(raw, direction)
        if task.label_channels == 1:
            return torch.cat([task.flip(channel, direction) for channel in raw.split(1, 1)], 1)
        return channels_to_image(task.flip(raw[:, : task.label_channels], direction))

    def read_maps(self, task: Task, raw: Tensor) -> Tensor:
        """Predictions (B, C, H, W) out of the pictures (B, 3, H, W) of a batch, at their own size."""
        return task.from_image(raw)

    def read(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """The prediction (C, H, W) at ``size`` out of an image's pictures (V, 3, h, w) of V views."""
        return read_pictures(task, views, size)

    def to_average(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """What pictures (V, 3, h, w) say: votes for classes, else probabilities, values or unit vectors."""
        return averageable(task, views, size)

    def from_average(self, task: Task, mean: Tensor) -> Tensor:
        """The class with most votes, or the mean, of unit length where the task has it."""
        return finish(task, mean)

    def predict_stream(
        self,
        frames: Iterable[tuple[Tensor, MTLDataSample]],
        tasks: Sequence[str] | None = None,
        reader: Reader | None = None,
    ) -> Iterator[MTLDataSample]:
        """As in the base class; every frame goes through the autoencoder once."""
        if self.tta is not None:
            return super().predict_stream(frames, tasks, reader)
        return stream_samples(self, frames, tasks, reader)

    def explanations(self, inputs: Tensor, noise: NoiseSource, targets: Mapping | None = None) -> list[Explanation]:
        """Which auxiliary tasks every main task attends to; an error for a model with one stream, which attends to none."""
        if self.auxiliary is None:
            raise ConfigError('a model with one stream cannot explain its predictions: give model.task_attention')
        return attended_sources(self, inputs, noise)
