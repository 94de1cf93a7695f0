"""Where the time of an evaluation goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmmtl.registry import HOOKS
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.tables import format_table

from .panel_hook import PanelHook
from .prediction_hook import PredictionHook

PARTS = ('load', 'network', 'resize', 'metrics', 'pictures', 'rest')


@HOOKS.register_module()
class TimesHook(Hook):
    """Prints, at the end of a test, the milliseconds an image by part, and the share of the evaluation in the network's time.

    ``load`` is what the loop waits for the data; ``network`` the raw maps of all views; ``resize`` what makes predictions
    at the image's size of them; ``metrics`` measuring and adding up, with what worker processes measured beside
    (``MultiTaskMetric.workers``) as a part of its own; ``pictures`` panels and files of predictions.

    Attributes:
        seconds: By part, after the test.
        images: How many there were.
    """

    priority = 'VERY_HIGH'  # what waits for the data ends before any other hook works

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.images = 0
        self._wrapped: list[tuple[Any, str]] = []

    def _watch(self, owner: Any, method: str, part: str, minus: Sequence[str] = ()) -> None:
        """Count the time of a method, less what it spends in the parts ``minus``."""
        original: Callable = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            before, start = sum(self.seconds[p] for p in minus), time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                inside = sum(self.seconds[p] for p in minus) - before
                self.seconds[part] += time.perf_counter() - start - inside

        setattr(owner, method, timed)
        self._wrapped.append((owner, method))

    def before_test(self, runner: Any) -> None:
        model = unwrap_model(runner.model)
        if hasattr(model, 'predict') and hasattr(model, '_views'):
            self._watch(model, '_views', 'network')
            # a batch that is predicted one by one comes here again for every image
            self._watch(model, 'read_sample', 'resize')
        else:
            self._watch(model, 'forward', 'network')
        for method in ('process', 'evaluate'):
            self._watch(runner.test_evaluator, method, 'metrics')
        for hook in runner.hooks:
            if isinstance(hook, (PanelHook, PredictionHook)):
                self._watch(hook, 'after_test_iter', 'pictures')
        self._start = self._mark = time.perf_counter()

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.seconds['load'] += time.perf_counter() - self._mark

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        self.images += len(outputs or ())
        self._mark = time.perf_counter()

    def after_test_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        whole = time.perf_counter() - self._start
        for owner, method in self._wrapped:
            delattr(owner, method)
        self._wrapped.clear()
        known = sum(self.seconds[p] for p in PARTS[:-1])
        self.seconds['rest'] = max(whole - known, 0.0)
        if is_main_process():
            print(self.table(self._beside(runner)))

    def _beside(self, runner: Any) -> float:
        """Seconds of processor time that worker processes of the metrics took."""
        return sum(getattr(metric, 'worker_seconds', 0.0) for metric in runner.test_evaluator.metrics)

    def table(self, beside: float = 0.0) -> str:
        """Milliseconds an image and shares."""
        images, whole = max(self.images, 1), sum(self.seconds.values()) or 1.0
        rows = [[p, f'{1e3 * s / images:.2f}', f'{100 * s / whole:.1f} %'] for p, s in self.seconds.items()]
        if beside:
            rows.append(['metrics in worker processes', f'{1e3 * beside / images:.2f}', ''])
        table = format_table(['part', 'ms an image', 'share'], rows, right=(1, 2))
        share = (self.seconds['metrics'] + beside) / max(self.seconds['network'], 1e-9)
        return f"{table}\nevaluation: {100 * share:.1f} % of the network's time, {self.images} images"
