"""TaskDiffusion against recorded runs and against the literal transcription of its data flow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.parity import taskdiffusion
from tests.parity.record_taskdiffusion import NYUD, PASCAL, record, small_setting

DATA = Path(__file__).parents[1] / 'data'

VARIANTS = {
    'pascal': small_setting(PASCAL),
    'pascal with experts': small_setting(PASCAL, mlore=True, width=24),
    'nyud': small_setting(NYUD, size=(48, 32), steps=2),
    'nyud with experts': small_setting(NYUD, mlore=True, topk=3, width=32),
    'five steps, two repeats': small_setting(NYUD, steps=5, repeats=2),
    'one task': small_setting({'semseg': 4}, steps=1),
}


def failures(results):
    return [r for r in results if not r[1] <= r[2]]


@pytest.mark.parametrize('variant', VARIANTS)
def test_equals_the_transcription(variant):
    data = record(VARIANTS[variant], seed=len(variant))
    results = taskdiffusion.replay(data)
    assert len(results) > 10
    assert not failures(results)


def test_small_recording_of_the_clone():
    assert not failures(taskdiffusion.replay(torch.load(DATA / 'taskdiffusion_small.pt', weights_only=True)))


@pytest.mark.parametrize('name', ['taskdiffusion_pascal', 'taskdiffusion_nyud_mlore'])
def test_recordings_of_the_published_program(shared_dir, name):
    data = torch.load(shared_dir / 'golden' / f'{name}.pt', weights_only=True)
    assert not failures(taskdiffusion.replay(data))
