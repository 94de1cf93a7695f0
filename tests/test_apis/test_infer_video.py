"""Videos in, predictions of every frame and a video of panels out."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmmtl.apis import Inferencer, infer_files, init_model
from mmmtl.config import load_config
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.datasets.io.video import VideoReader
from mmmtl.errors import ConfigError, FileError, InputError, StorageError
from mmmtl.models.stablemtl import predict_video
from mmmtl.visualization.video import VideoWriter
from tests.test_models.latent_toy import UNET

ROOT = Path(__file__).parents[2]


def picture(seed, size=(36, 52)):
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def write_frames(folder, count=4):
    folder.mkdir(parents=True)
    for k in range(count):
        cv2.imwrite(str(folder / f'frame_{8 + k}.png'), picture(k))
    return folder


def written_frames(path):
    return list(VideoReader(path))


@pytest.fixture(scope='module')
def latent(tmp_path_factory):
    """Config file, checkpoint and model of tiny_diorama_multistream, smaller still and with random weights."""
    pytest.importorskip('diffusers')
    folder = tmp_path_factory.mktemp('latent')
    config = folder / 'video.py'
    config.write_text(
        f"_base_ = ['{ROOT}/configs/stablemtl/tiny_diorama_multistream.py']\ncrop_size = (24, 32)\n"
        f'model = dict(unet=dict({", ".join(f"{k}={v!r}" for k, v in UNET.items())}), single_stream=None, '
        f'task_attention=dict(heads=2, query_width=20))\n'
    )
    torch.manual_seed(0)
    model = init_model(load_config(str(config)), device='cpu')
    for layer in model.task_attention.values():
        torch.nn.init.normal_(layer.out.weight, std=0.3)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'weights.pth')
    return config, folder / 'weights.pth', model


def test_a_folder_of_frames_becomes_a_video_of_panels(latent, tmp_path, monkeypatch, capsys):
    frames = write_frames(tmp_path / 'clip.v1')
    monkeypatch.setattr(
        sys, 'argv', ['infer.py', *map(str, latent[:2]), str(frames), '--out', str(tmp_path / 'out'), '--device', 'cpu']
    )
    runpy.run_path(str(ROOT / 'tools/infer.py'), run_name='__main__')
    assert f'4 frames, 32 files in {tmp_path / "out"}, video: {tmp_path / "out/clip.v1.mp4"}' in capsys.readouterr().out
    panels = [tmp_path / 'out/panels' / f'frame_{k}.png' for k in (8, 9, 10, 11)]
    shown = written_frames(tmp_path / 'out/clip.v1.mp4')
    assert len(shown) == 4 and VideoReader(tmp_path / 'out/clip.v1.mp4').fps == 10
    for path, frame in zip(panels, shown):
        panel = cv2.imread(str(path))[..., ::-1]
        assert np.abs(frame[: panel.shape[0], : panel.shape[1]].astype(int) - panel).mean() < 6
    flow = np.load(tmp_path / 'out/predictions/optical_flow/frame_9.npy')
    assert flow.shape == (2, 36, 52)
    assert not [p for p in (tmp_path / 'out').iterdir() if p.name.startswith('.')]


def test_a_frame_of_a_video_is_predicted_as_the_pair_it_makes_with_the_next(latent, tmp_path):
    frames = sorted(write_frames(tmp_path / 'clip').iterdir(), key=lambda p: int(p.stem.split('_')[1]))
    inferencer = Inferencer(latent[2], device='cpu')
    encoded = []
    encode = inferencer.model.autoencoder.encode
    inferencer.model.autoencoder.encode = lambda x: encoded.append(len(x)) or encode(x)
    stream = inferencer.stream_video((item, item.load()[0]) for item in gather_inputs(frames))
    found = list(stream)
    assert sum(encoded) == 4 and [r.sample_id for r in found] == ['frame_8', 'frame_9', 'frame_10', 'frame_11']
    del inferencer.model.autoencoder.encode
    pairs = inferencer(frames, panels=False)
    assert [r.sample_id for r in pairs] == ['frame_8', 'frame_9', 'frame_10']
    for one, pair in zip(found, pairs):
        for name in pair.pred:
            np.testing.assert_allclose(one.pred[name], pair.pred[name], atol=1e-4)
    last = inferencer(frames[-1], panels=False)[0]  # a photograph alone, and the end of a video: nothing comes next
    np.testing.assert_allclose(found[-1].pred['depth'], last.pred['depth'], atol=1e-4)


def test_noise_of_a_video_is_that_of_its_frames(latent):
    model = latent[2]
    video = torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model.input_noise = 'normal'
    try:
        found = list(predict_video(model, video.split(1), names=['a', 'b', 'c']))
        other = list(predict_video(model, video.split(1), names=['x', 'y', 'z']))
        from mmmtl.structures import MTLDataSample

        pair = model(torch.stack([video[1], video[2]])[None], [MTLDataSample(metainfo=dict(sample_id='b'))])
    finally:
        model.input_noise = 'zeros'
    torch.testing.assert_close(found[1]['depth'], pair['depth'], atol=2e-6, rtol=0)
    assert (found[1]['depth'] - other[1]['depth']).abs().max() > 1e-4


def test_a_video_file_through_a_network_of_single_images(trained, tmp_path, capsys):
    clip = tmp_path / 'walk.mp4'
    with VideoWriter(clip, 25) as writer:
        for k in range(3):
            writer.add(picture(k, (32, 48)))
    inferencer = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    line = infer_files(inferencer, [str(clip)], str(tmp_path / 'out'), panels=False)
    assert line == f'3 frames, 9 files in {tmp_path / "out"}, video: {tmp_path / "out/walk.mp4"}'
    assert not (tmp_path / 'out/panels').exists() and VideoReader(tmp_path / 'out/walk.mp4').fps == 25
    frame = next(iter(VideoReader(clip)))
    alone = inferencer.stream_video([(gather_inputs(frame)[0], frame)])
    depth = np.load(tmp_path / 'out/predictions/depth/walk_000000.npy')
    np.testing.assert_allclose(next(alone).pred['depth'], depth, atol=1e-6)
    line = infer_files(inferencer, [str(clip)], str(tmp_path / 'pictures'), raw=False, video=False)
    assert line == f'3 frames, 3 files in {tmp_path / "pictures"}'
    assert sorted(p.name for p in (tmp_path / 'pictures/panels').iterdir())[-1] == 'walk_000002.png'


def test_a_folder_is_images_unless_a_video_is_asked_for(trained, tmp_path):
    inferencer = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    frames = write_frames(tmp_path / 'clip', 2)
    assert infer_files(inferencer, [str(frames)], str(tmp_path / 'a'), raw=False).startswith('2 images, 2 files')
    line = infer_files(inferencer, [str(frames)], str(tmp_path / 'b'), raw=False, video=True, fps=4)
    assert line.startswith('2 frames, 2 files') and VideoReader(tmp_path / 'b/clip.mp4').fps == 4
    for number, path in enumerate(sorted(frames.iterdir())):  # frames of more than 8 bits are as bright as photographs
        cv2.imwrite(str(tmp_path / f'deep_{number}.png'), cv2.imread(str(path)).astype(np.uint16) * 4)
    bright = Inferencer(inferencer.model, white_point=1020)
    infer_files(bright, [str(tmp_path / 'deep_*.png')], str(tmp_path / 'c'), raw=True, panels=False, video=True)
    for name, result in zip(('deep_0', 'deep_1'), bright(str(tmp_path / 'deep_*.png'))):
        np.testing.assert_array_equal(np.load(tmp_path / f'c/predictions/depth/{name}.npy'), result.pred['depth'])


def test_frames_are_taken_by_their_numbers(tmp_path):
    frames = write_frames(tmp_path / 'clip')
    order = ['frame_8', 'frame_9', 'frame_10', 'frame_11']
    for given in (frames, str(frames / '*.png')):
        assert [item.sample_id for item in gather_inputs(given)] == order
        assert [item.sample_id for item in gather_inputs(given, frames=2)] == order[:-1]


def test_what_is_no_video_is_named(trained, tmp_path):
    inferencer = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(b'no video' * 100)
    with pytest.raises(FileError, match=r'broken\.mp4: expected a video, found a file that OpenCV cannot decode'):
        infer_files(inferencer, [str(broken)], str(tmp_path / 'out'))
    with pytest.raises(FileError, match=r'none\.avi: expected a video, found no such file'):
        infer_files(inferencer, [str(tmp_path / 'none.avi')], str(tmp_path / 'out'))
    with pytest.raises(InputError, match='one video at a time, got 2 inputs'):
        infer_files(inferencer, [str(broken), str(tmp_path)], str(tmp_path / 'out'))
    frames = write_frames(tmp_path / 'clip', 2)
    with pytest.raises(ConfigError, match='explain draws single images'):
        infer_files(inferencer, [str(frames)], str(tmp_path / 'out'), video=True, explain=True)
    with pytest.raises(ConfigError, match='fps must be above 0'):
        infer_files(inferencer, [str(frames)], str(tmp_path / 'out'), video=True, fps=0)
    tiles = Inferencer(inferencer.model, fit='tile')
    with pytest.raises(ConfigError, match='not for videos'):
        infer_files(tiles, [str(frames)], str(tmp_path / 'out'), video=True)
    assert not (tmp_path / 'out').exists()


def test_a_video_is_whole_or_absent(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / 'a.mp4', 5) as writer:
        writer.add(picture(0))
        raise RuntimeError
    with pytest.raises(StorageError, match='1 of 2 frames arrived'), VideoWriter(tmp_path / 'b.mp4', 5) as writer:
        writer.add(picture(0))
        writer.count += 1
    assert list(tmp_path.iterdir()) == []
    with VideoWriter(tmp_path / 'c.mp4', 5) as writer:
        writer.add(picture(0, (35, 51)))
        writer.add(picture(1, (70, 40)))  # larger: reduced onto a sheet of the first one's size
    assert [frame.shape for frame in written_frames(tmp_path / 'c.mp4')] == [(36, 52, 3)] * 2
