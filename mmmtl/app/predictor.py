"""What the web page computes: predictions, films and files of one photograph, within limits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmmtl.apis import Inferencer
from mmmtl.datasets.io.inputs import ImageInput
from mmmtl.errors import FileError, InputError
from mmmtl.inference import PredictOptions, Result
from mmmtl.models.ensemble import modules_with_steps
from mmmtl.tasks.base import task_title
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization.film import draw_film, write_film
from mmmtl.visualization.raw_writer import write_raw
from mmmtl.visualization.savers import build_savers
from mmmtl.visualization.uncertainty import draw_spread

from .limits import Limits, deadline

FORMATS = ('png', 'png16', 'npy', 'ply')
PHOTOGRAPH = 'Photograph'


@dataclass
class Seen:
    """A photograph and what was predicted on it."""

    photograph: np.ndarray
    result: Result


class Predictor:
    """One network behind the page.

    Args:
        inferencer: The network.
        limits: What a request may ask for.
    """

    def __init__(self, inferencer: Inferencer, limits: Limits) -> None:
        self.inferencer, self.limits = inferencer, limits
        self.titles = {name: task_title(name) for name in inferencer.tasks}
        steps = modules_with_steps(inferencer.model)
        self.steps: int | None = steps[0].sampling_steps if steps else None
        grey = np.full((64, 64, 3), 128, np.uint8)
        self.random = self._depends_on_noise(grey)
        self.has_film = self._has_film(grey)

    def _depends_on_noise(self, image: np.ndarray) -> bool:
        one, other = (self.inferencer(image, seed=seed, panels=False)[0].pred for seed in (0, 1))
        return any(not np.array_equal(one[name], other[name]) for name in one)

    def _has_film(self, image: np.ndarray) -> bool:
        try:
            return self._steps_of(image, 'probe', PredictOptions()) is not None
        except ValueError:  # a network that cannot explain itself
            return False

    def describe(self) -> dict[str, Any]:
        """What the network predicts and what may be asked of it."""
        limits, about = self.limits, getattr(self.inferencer.model, 'description', None) or {}
        return dict(
            model=about.get('name') or Path(str(self.inferencer.model.cfg.filename or 'mmmtl')).stem,
            about=str(about.get('about') or ''),
            tasks=self.titles,
            steps=self.steps,
            random=self.random,
            film=self.has_film,
            limits=dict(
                megabytes=limits.megabytes,
                megapixels=limits.megapixels,
                seconds=limits.seconds,
                steps=limits.steps if self.steps else None,
                ensemble=limits.ensemble if self.random else 1,
                max_side=limits.max_side,
            ),
        )

    def load(self, path: str | None) -> tuple[str, np.ndarray]:
        """Name and picture uint8 RGB (H, W, 3) of an uploaded file.

        Raises:
            InputError: No file, no image, or one that is too large; says nothing of where it lies.
        """
        if not path:
            raise InputError('Give a photograph first: a PNG, JPEG, WebP or TIFF file.')
        name = Path(path).name
        try:
            with Image.open(path) as header:
                width, height = header.size
        except Exception as error:  # whatever a decoder does not like
            raise InputError(f'{name} is no image that can be read: give a PNG, JPEG, WebP or TIFF file.') from error
        if width * height > self.limits.megapixels * 1e6:
            raise InputError(
                f'{name} has {width} x {height} pixels: this page takes up to {self.limits.megapixels:g} megapixels.'
            )
        try:
            return Path(path).stem, ImageInput(Path(path).stem, (path,)).load()[0]
        except FileError as error:
            raise InputError(
                f'{name} cannot be read as an image: the file is damaged or of an unusual kind.'
            ) from error

    @contextmanager
    def _limited(self, steps: int | None, ensemble: int, max_side: int) -> Any:
        self.limits.check(steps=steps, ensemble=ensemble, max_side=max_side)
        if max_side < 16:
            raise InputError(f'max_side={max_side}: must be at least 16')
        with deadline(self.inferencer.model, self.limits.seconds):
            yield

    def predict(
        self, path: str | None, tasks: Sequence[str], steps: int | None, seed: int, ensemble: int, max_side: int
    ) -> Seen:
        """Predict; arguments as of :meth:`mmmtl.apis.Inferencer.stream`.

        Raises:
            UserError: Whatever the visitor can mend.
        """
        name, image = self.load(path)
        chosen: dict[str, Any] = dict(
            tasks=list(tasks) or None, steps=steps, seed=seed, ensemble=ensemble, max_side=max_side
        )
        if max(image.shape[:2]) > 2 * self.limits.max_side:  # nobody looks at more, and every map costs memory
            image = _reduced(image, 2 * self.limits.max_side)
            path = write_png(str(_new_folder() / f'{name}.png'), image)
        with self._limited(steps, ensemble, max_side):
            options = PredictOptions(**chosen)
            options.check(self.inferencer.model)
            result = self.inferencer(path, progress=False, **chosen)[0]
        return Seen(image, result)

    def pictures(self, seen: Seen) -> dict[str, np.ndarray]:
        """Title → uint8 RGB (H, W, 3): the photograph, every prediction, every uncertainty."""
        tasks, result = self.inferencer.tasks, seen.result
        found = {PHOTOGRAPH: seen.photograph}
        found.update({self.titles[n]: tasks[n].colorize(result.pred[n]) for n in result.pred})
        for n in result.uncertainty or {}:
            found[f'{self.titles[n]}: uncertainty'] = draw_spread(tasks[n], result.uncertainty[n])[0]  # type: ignore[index]
        return found

    def _steps_of(self, image: np.ndarray, name: str, options: PredictOptions) -> Any:
        """The explanation that shows predictions step by step; None without one."""
        packed = self.inferencer.preparation(
            ImageInput(name, (image,)), [image] * self.inferencer.frames, options.max_side
        )
        data = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        shown = self.inferencer.explanations(data, options)
        return next((e for e in shown if e.kind == 'prediction' and len(e.columns) > 1), None)

    def film(self, path: str | None, steps: int | None, seed: int, max_side: int) -> str:
        """The denoising as a film: path of an animated WebP.

        Raises:
            InputError: A network that does not predict in steps; and as :meth:`predict`.
        """
        if not self.has_film:
            raise InputError('This network does not predict in steps that could be shown.')
        name, image = self.load(path)
        options = PredictOptions(None, steps, seed, 1, max_side)
        options.check(self.inferencer.model)
        with self._limited(steps, 1, max_side):
            explanation = self._steps_of(image, name, options)
        frames = draw_film(explanation, image, self.inferencer.tasks, title=name)
        return write_film(str(_new_folder() / f'{safe_name(name)}.webp'), frames)

    def files(self, seen: Seen, formats: Sequence[str], fov: float = 60.0) -> list[str]:
        """Predictions as files: ``png`` (in colours), ``png16``, ``npy`` (class maps as PNG), ``ply``.

        Raises:
            InputError: An unknown format.
        """
        unknown = [f for f in formats if f not in FORMATS]
        if unknown or not formats:
            raise InputError(f'formats must be some of {", ".join(FORMATS)}, got {list(formats)}')
        folder, tasks, result = _new_folder(), self.inferencer.tasks, seen.result
        given = (str(folder), result.sample_id, seen.photograph, tasks, result.pred)
        paths = []
        for name in formats:
            if name == 'npy':
                paths += write_raw(str(folder / 'values'), result.sample_id, result.pred)
                paths += write_raw(str(folder / 'uncertainty'), result.sample_id, result.uncertainty or {})
            else:
                for save in build_savers([name], tasks, list(result.pred), fov=fov if name == 'ply' else None):
                    paths += save(*given)
        return [str(_flat(folder, Path(path))) for path in paths]


def _flat(folder: Path, path: Path) -> Path:
    """``folder/WHAT/TASK/NAME.png`` → ``folder/NAME.TASK.WHAT.png``: a browser saves the last part alone."""
    what, task = path.relative_to(folder).parts[:2]
    return path.rename(folder / f'{path.stem[:80]}.{task}.{what}{path.suffix}')


def _new_folder() -> Path:
    """A folder where the page's temporary files are, which are deleted after a while."""
    return Path(tempfile.mkdtemp(dir=folder_of_temporaries()))


def folder_of_temporaries() -> str:
    """gradio's folder for uploads and results."""
    from gradio.utils import get_upload_folder

    folder = get_upload_folder()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def _reduced(image: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    return np.asarray(picture)
