"""The page itself: what a visitor sees, and the routes by which programs ask."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from mmmtl.errors import InputError, UserError

from .predictor import FORMATS, PHOTOGRAPH, Predictor

SHOWN: Any = ['download', 'fullscreen']
"""What may be done with a picture; gradio's own list has a button that would send it to another server."""
CSS = 'footer {display: none !important}'


def path_of(payload: Any) -> str | None:
    """The uploaded file's path, whatever the file is: the reader that comes next says what is wrong with it."""
    return None if payload is None else payload.path


def as_given(payload: Any) -> Any:
    """A number as it came: the limits that say which option is too large are this package's own."""
    return payload


def whole(**numbers: Any) -> list[int]:
    """Whole numbers.

    Raises:
        InputError: Names the one that is none.
    """
    for name, value in numbers.items():
        if not isinstance(value, (int, float)) or value != value or value != int(value):
            raise InputError(f'{name} must be a whole number, got {value!r}')
    return [int(value) for value in numbers.values()]


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show a visitor's mistake as a message in the page."""

    @functools.wraps(function)  # a route's parameters have the names of the function's
    def run(*args: Any) -> Any:
        try:
            return function(*args)
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    return run


def build_page(predictor: Predictor, examples: list[str]) -> gr.Blocks:
    """The page of a network.

    Routes: ``/predict``, ``/film``, ``/files`` (of the last prediction of the same client), ``/model``.

    Args:
        predictor: The network and its limits.
        examples: Paths of photographs to choose from.
    """
    about, limits = predictor.describe(), predictor.limits
    titles = predictor.titles
    compare = [PHOTOGRAPH, *titles.values()]

    @told
    def predict(path: str, tasks: list[str], steps: float, seed: float, ensemble: float, max_side: float) -> tuple:
        """Predict on a photograph."""
        many, start_seed, members, side = whole(steps=steps, seed=seed, ensemble=ensemble, max_side=max_side)
        seen = predictor.predict(path, tasks, many if predictor.steps else None, start_seed, members, side)
        pictures = predictor.pictures(seen)
        names = list(pictures)
        gallery = [(picture, name) for name, picture in pictures.items() if name != PHOTOGRAPH]
        left, right = gr.Dropdown(names, value=names[0]), gr.Dropdown(names, value=names[1])
        return (seen, pictures), gallery, seen.result.panel, (pictures[names[0]], pictures[names[1]]), left, right

    @told
    def film(path: str, steps: float, seed: float, max_side: float) -> str:
        """Show how the prediction comes about."""
        many, start_seed, side = whole(steps=steps, seed=seed, max_side=max_side)
        return predictor.film(path, many if predictor.steps else None, start_seed, side)

    @told
    def files(state: Any, formats: list[str], fov: float) -> list[str]:
        """Give the last prediction as files."""
        if state is None:
            raise gr.Error('Predict first: there is nothing to give yet.', print_exception=False)
        return predictor.files(state[0], formats, fov)

    def show(state: Any, left: str, right: str) -> tuple | None:
        """Put two of the pictures on the sides of the slider."""
        return None if state is None else tuple(state[1].get(name, state[1][PHOTOGRAPH]) for name in (left, right))

    def model() -> dict[str, Any]:
        """What the network predicts, and the limits of a request."""
        return predictor.describe()

    model.__annotations__['return'] = dict  # gradio reads types, and not their text
    turn: dict[str, Any] = dict(concurrency_id='model', concurrency_limit=1)  # one prediction at a time
    with gr.Blocks(
        analytics_enabled=False, title='mmmtl', delete_cache=(60, limits.kept_seconds), fill_width=True
    ) as page:
        gr.Markdown(f'# {about["model"]}\n{", ".join(titles.values())} of one photograph. {about["about"]}')
        state = gr.State(None, time_to_live=limits.kept_seconds)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                image = gr.Image(
                    label='Photograph',
                    sources=['upload', 'clipboard', 'webcam'],
                    type='filepath',
                    height=280,
                    buttons=[],
                )
                image.preprocess = path_of  # type: ignore[method-assign]
                tasks = gr.CheckboxGroup(
                    [(title, name) for name, title in titles.items()], value=list(titles), label='Tasks'
                )
                steps = gr.Slider(
                    1, limits.steps, predictor.steps or 1, step=1, label='Steps', visible=predictor.steps is not None
                )
                seed = gr.Number(0, label='Seed', precision=0, minimum=0, visible=predictor.random)
                ensemble = gr.Slider(
                    1,
                    limits.ensemble,
                    1,
                    step=1,
                    label='Ensemble (of several: mean and uncertainty)',
                    visible=predictor.random,
                )
                max_side = gr.Slider(
                    32,
                    limits.max_side,
                    min(usual_side(predictor), limits.max_side),
                    step=8,
                    label='Longest side in pixels',
                )
                for number in (steps, seed, ensemble, max_side):
                    number.preprocess = as_given  # type: ignore[method-assign]
                start = gr.Button('Predict', variant='primary')
                if examples:
                    gr.Examples([[path] for path in examples], [image], label='Examples', cache_examples=False)
            with gr.Column(scale=2, min_width=320):
                with gr.Tab('Compare'):
                    with gr.Row():
                        left = gr.Dropdown(compare, value=compare[0], label='Left')
                        right = gr.Dropdown(compare, value=compare[-1], label='Right')
                    slider = gr.ImageSlider(
                        show_label=False, interactive=False, max_height=560, format='png', buttons=SHOWN
                    )
                with gr.Tab('All tasks'):
                    gallery = gr.Gallery(
                        show_label=False, columns=3, object_fit='contain', height=860, format='png', buttons=SHOWN
                    )
                with gr.Tab('Panel'):
                    panel = gr.Image(show_label=False, interactive=False, format='png', buttons=SHOWN)
                with gr.Tab('Film', visible=predictor.has_film):
                    gr.Markdown('The predictions after every step of the denoising.')
                    play = gr.Button('Show the denoising')
                    shown = gr.Image(show_label=False, interactive=False, type='filepath', buttons=SHOWN)
                with gr.Tab('Download'):
                    formats = gr.CheckboxGroup(
                        [
                            ('PNG, in colours', 'png'),
                            ('16-bit PNG', 'png16'),
                            ('NPY', 'npy'),
                            ('point cloud, PLY', 'ply'),
                        ],
                        value=[name for name in FORMATS if name != 'ply'],
                        label='As',
                    )
                    fov = gr.Slider(20, 120, 60, step=1, label='Horizontal field of view in degrees, for point clouds')
                    give = gr.Button('Prepare files')
                    given = gr.Files(label='Files', interactive=False)
        gr.Markdown(
            f'Files of up to {limits.megabytes:g} MB and {limits.megapixels:g} megapixels; predictions of up to '
            f'{limits.seconds:g} s. Uploads and results are deleted after {limits.kept_seconds // 60} minutes.'
        )
        start.click(
            predict,
            [image, tasks, steps, seed, ensemble, max_side],
            [state, gallery, panel, slider, left, right],
            api_name='predict',
            **turn,
        )
        for choice in (left, right):
            choice.input(show, [state, left, right], slider, api_visibility='private', queue=False)
        play.click(film, [image, steps, seed, max_side], shown, api_name='film', **turn)
        give.click(files, [state, formats, fov], given, api_name='files')
        gr.api(model, api_name='model', queue=False)
    return page


def usual_side(predictor: Predictor) -> int:
    """The longer side to which photographs are reduced where nothing else is said."""
    side = predictor.inferencer.preparation.max_side or 512
    return max(32, -(-int(side) // 8) * 8)
