"""What DiffusionMTL saw while it denoised (supplement, figures 1 and 2), watched from outside by hooks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmmtl.structures import Explanation


class Recorder:
    """Within it, a prediction of ``decoder`` leaves its maps here.

    Args:
        decoder: A :class:`~mmmtl.models.diffusionmtl.decoder.DiffusionMTLDecoder`.
    """

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.initial: dict[str, Tensor] = {}  # {task: F_t or P_t}
        self.predicted: dict[str, Tensor] = {}  # {task: P_t}
        self.states: list[dict[str, Tensor]] = []  # per denoising step, what it starts from
        self.clean: list[dict[str, Tensor]] = []  # per denoising step, the features that it gives
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> Recorder:
        def keep_initial(name: str) -> Any:
            def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
                self.initial[name] = inputs[0] if self.decoder.mode == 'feature' else output
                self.predicted[name] = output

            return hook

        def keep_step(module: nn.Module, inputs: tuple, output: dict[str, Tensor]) -> None:
            self.states.append(dict(inputs[0]))
            self.clean.append(dict(output))

        heads = self.decoder.preliminary_heads
        self.handles = [head.register_forward_hook(keep_initial(name)) for name, head in heads.items()]
        self.handles.append(self.decoder.denoiser.register_forward_hook(keep_step))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def explanations(self) -> list[Explanation]:
        """The diffused maps, and the predictions that the heads read from the denoised ones."""
        names, heads = list(self.decoder.tasks), self.decoder.denoiser.heads
        count = len(self.clean)
        raw = [{n: heads[n](x) for n, x in clean.items()} for clean in self.clean]
        feature = self.decoder.mode == 'feature'
        denoised = self.clean if feature else raw
        columns = ['initial', 'decayed']
        maps = {n: [self.initial[n], self.states[0][n]] for n in names}
        for k in range(count):
            columns.append(f'denoised, step {k + 1}')
            for n in names:
                maps[n].append(denoised[k][n])
            if k + 1 < count:
                columns.append('one step back')
                for n in names:
                    maps[n].append(self.states[k + 1][n])
        if not feature:
            maps = {n: [self._prediction(n, x) for x in row] for n, row in maps.items()}
        predicted = [[self._prediction(n, x) for x in (self.predicted[n], *(step[n] for step in raw))] for n in names]
        steps = [f'step {k + 1}' for k in range(count)]
        return [
            Explanation(
                'denoising',
                'Noise decay and denoising',
                'features' if feature else 'prediction',
                names,
                columns,
                [maps[n] for n in names],
                note='the initial map, noise added to it, and what every denoising step makes of it',
            ),
            Explanation(
                'step_predictions',
                'Predictions while denoising',
                'prediction',
                names,
                ['initial', *steps],
                predicted,
                note="the preliminary head's prediction, and what the final head reads from the map of every step",
            ),
        ]

    def _prediction(self, name: str, raw: Tensor) -> Tensor:
        return self.decoder.tasks[name].predict(raw.float())
