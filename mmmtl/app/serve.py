"""Starting and ending the web page."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmmtl.apis import Inferencer
from mmmtl.datasets.diorama.render import render
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.errors import ConfigError
from mmmtl.utils.files import write_png

from .limits import Limits
from .predictor import Predictor

EXAMPLES = 4
"""Generated scenes that are offered where no photographs are."""


@contextmanager
def serve(
    inferencer: Inferencer,
    host: str = '127.0.0.1',
    port: int | None = 7860,
    limits: Limits | None = None,
    examples: str | None = None,
) -> Iterator[str]:
    """Within it, the page of a network is served, and afterwards everything that visitors uploaded is deleted.

    Nothing is sent anywhere: no analytics, no tunnel to the outside, no fonts from elsewhere.

    Args:
        inferencer: The network.
        host: Address to listen at; the default is this machine's own, which no other reaches.
        port: Port; None for any that is free.
        limits: What a request may ask for.
        examples: Folder of photographs that are offered; default: generated scenes.

    Yields:
        The page's address.

    Raises:
        ConfigError: gradio is not installed, or the port is taken.
    """
    if importlib.util.find_spec('gradio') is None:
        raise ConfigError("the web page needs gradio: pip install 'mmmtl[app]'")
    limits = limits or Limits()
    own = dict(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
    with tempfile.TemporaryDirectory(prefix='mmmtl_app_', ignore_cleanup_errors=True) as folder:
        own['GRADIO_TEMP_DIR'] = folder
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        try:
            yield from _serve(inferencer, host, port, limits, examples, Path(folder))
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(
    inferencer: Inferencer, host: str, port: int | None, limits: Limits, examples: str | None, folder: Path
) -> Iterator[str]:
    import gradio as gr

    from .page import CSS, build_page  # gradio reads its environment when it is imported

    predictor = Predictor(inferencer, limits)
    page = build_page(predictor, example_files(examples, folder / 'examples'))
    page.queue(max_size=limits.waiting, default_concurrency_limit=4)
    theme = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    options: dict[str, Any] = dict(server_name=host, server_port=port, max_file_size=round(limits.megabytes * 1e6))
    try:
        _, address, _ = page.launch(
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            show_error=False,  # what is no mistake of the visitor is told in the log alone
            allowed_paths=[],
            theme=theme,
            css=CSS,
            footer_links=['api'],
            **options,
        )
    except OSError as error:
        raise ConfigError(f'port {port} of {host} cannot be used ({error}): choose another by --port') from error
    try:
        yield address
    finally:
        page.close(verbose=False)
        shutil.rmtree(folder / 'examples', ignore_errors=True)


def example_files(given: str | None, folder: Path) -> list[str]:
    """Paths of photographs to choose from: those of a folder, else generated scenes, which are written into ``folder``."""
    if given is not None:
        return [str(item.frames[0]) for item in gather_inputs(given)][:12]
    return [write_png(folder / f'scene_{index}.png', render(4, index, (240, 320))['img']) for index in range(EXAMPLES)]
