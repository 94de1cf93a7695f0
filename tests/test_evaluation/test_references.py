"""Which figure a task is compared by."""

from __future__ import annotations

import pytest

from mmmtl.evaluation.metrics import DepthError
from mmmtl.evaluation.metrics.references import primary_metric_of
from mmmtl.registry import TASKS


@pytest.mark.parametrize(
    ('task', 'expected'),
    [
        (dict(type='Depth'), 'RMSE'),
        (dict(type='Boundary'), 'odsF'),
        (dict(type='Depth', metric=dict(type=DepthError, protocol='scale')), 'RMSE_scale'),
        (dict(type='Saliency'), 'maxF'),
        (dict(type='Depth', metric=dict(type='DepthError', protocol='upstream')), 'RMSE_upstream'),
        (dict(type='Albedo', metric=dict(type='ImageError', protocol='upstream')), 'RMSE_upstream'),
        (dict(type='OpticalFlow', metric=[dict(type='EndPointError', protocol='upstream')]), 'EPE_upstream'),
    ],
)
def test_headline_names_the_protocol(task, expected):
    assert primary_metric_of(TASKS.build(task)) == expected


def test_a_metric_of_other_figures_leaves_the_tasks_headline():
    assert primary_metric_of(TASKS.build(dict(type='Depth', metric=dict(type='NormalsError')))) == 'RMSE'
