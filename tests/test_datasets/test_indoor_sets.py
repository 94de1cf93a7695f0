"""DIODE and MID Intrinsics, against the Diorama scenes that were written in their layouts."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from mmmtl.datasets.diode import DIODE
from mmmtl.datasets.io.exr import read_exr
from mmmtl.datasets.mid import MIDIntrinsics
from mmmtl.datasets.preparation.mid import prepare_mid
from mmmtl.errors import FileError, LabelError
from tests.miniatures.indoors import save_exr, write_diode, write_mid

GEOMETRY = dict(depth=dict(type='Depth'), normals=dict(type='SurfaceNormals'))
INTRINSIC = dict(albedo=dict(type='Albedo'), shading=dict(type='Shading'))

WRITTEN_BY_OPENEXR = (
    b'b}umj0ssI2V`yP+Ze?t90ApxuX>)V{Hvj+tLI42(000000003100031002h-0RR91000000RR910RR91QUCz}000000003100031'
    b'0001EZ*6dLWpi_BZ*Bl%Z*6dLWpi_BZ*Bkq00003WMOn+S7~l!Z+8G<Z+J3k01yBG000000000000jU501*HH0Ay)%aBN|DS7~l!'
    b'Z+8G<Z+J3k01yBG000000000000jU501*HH0BmV)WlwTsWpV&)X>Mgta%5$400961003}lcx7xsb8uy2bW&k-X>R~#Y;R$700aO4'
    b'0001hKXYSpWo2$xX>Me1cSB`vbY*e?b~0uF2mk;80000000000b7OL4Wo}n#Ze(wFS7~H)XaHtxZ((!*1ONa4004kLba`-P0CRM5'
    b'X>Ml#4FCWDb7Ns{Y-w&~X>DO=WdLRY00000008m<0000000000004vl004Mi)y+8yg+LGlP;dA7yNH3eFmuIGhf&be2#VY3gsKTT'
    b'F*LA)rg?NxPIZrQ#6FwLe+Hv<{lE?Z0cA2eY9okGnN8Nj3gS`Lq|5D(OWBI7S1IIA*~?NXrhXLMBlcIc=a7$RXUYoN8^~L<Gi3$s'
    b'Oua<AmV$f1eu{RcC<i$Q8_5s=001Ze004MiV`#t*4uDAq2xm)6Q(0RRnCY>hrKzdWeOpUaYk3Ef2ml7+Bf0'
)


def test_diode(tmp_path):
    truth = write_diode(tmp_path)
    data = DIODE(GEOMETRY, str(tmp_path), split='val')
    assert [data.get_data_info(k)['sample_id'] for k in range(len(data))] == list(truth)
    for results in data:
        want, gt = truth[results['sample_id']], results['gt']
        np.testing.assert_array_equal(gt['depth'][0], np.where(want['gone'], np.nan, want['depth'][0]))
        np.testing.assert_array_equal(np.isnan(gt['normals'][0]), want['no_normal'])
        assert np.nanmax(np.abs(gt['normals'] - want['normals'])) < 1e-5  # the long ones brought to unit length
    line = next(iter(truth))
    (tmp_path / 'one.txt').write_text(f'{line}.png {line}_depth.npy {line}_depth_mask.npy\n')
    assert len(DIODE(GEOMETRY, str(tmp_path), 'one.txt')) == 1


def test_diode_errors(tmp_path):
    stem = next(iter(write_diode(tmp_path)))
    np.save(tmp_path / f'{stem}_depth_mask.npy', np.ones((4, 4)))
    with pytest.raises(LabelError, match=r"task 'depth'.*depth_mask.npy: expected \(36, 48\) as the depth"):
        DIODE(dict(depth=GEOMETRY['depth']), str(tmp_path))[0]
    np.save(tmp_path / f'{stem}_normal.npy', np.ones((36, 48)))
    with pytest.raises(LabelError, match=r'_normal.npy: expected \(H, W, 3\), found \(36, 48\)'):
        DIODE(dict(normals=GEOMETRY['normals']), str(tmp_path))[0]


@pytest.mark.parametrize('jpeg', [False, True])
def test_from_exr_to_labels(tmp_path, jpeg):
    truth = write_mid(tmp_path / 'raw')
    assert prepare_mid(tmp_path / 'raw', tmp_path / 'out', jpeg=jpeg, progress=False) == (4, 0)
    assert prepare_mid(tmp_path / 'raw', tmp_path / 'out', jpeg=jpeg, progress=False) == (0, 4)
    data = MIDIntrinsics(INTRINSIC, str(tmp_path / 'out'))
    assert sorted(data.get_data_info(k)['sample_id'] for k in range(len(data))) == sorted(truth)
    for results in data:
        want, gt = truth[results['sample_id']], results['gt']
        scale = 0.8**2.2 / np.percentile(want['radiance'] @ np.array([0.3, 0.59, 0.11]), 90)
        with np.errstate(divide='ignore', invalid='ignore'):
            shading = (want['radiance'] * scale / want['albedo']).clip(0, 1)[..., 0]  # the light is grey
        photograph = 255 * (want['radiance'] * scale).clip(0, 1) ** (1 / 2.2)
        known = np.isfinite(gt['albedo'][0])
        if jpeg:  # the colours of a JPEG are smeared: the mask is only near
            assert np.abs(results['img'] - photograph).mean() < 12
            assert np.abs(gt['shading'][0] - shading)[known].mean() < 0.05
            continue
        np.testing.assert_array_equal(known, ~(want['albedo'] < 0.004 * 1.9).any(-1) & ~want['dark'])
        assert np.abs(gt['albedo'] - want['albedo'].transpose(2, 0, 1))[:, known].max() < 1.3 / 255
        assert np.abs(gt['shading'][0] - shading)[known].max() < 2 / 255
        assert np.abs(results['img'] - photograph).max() <= 1.01


@pytest.mark.parametrize('compression', ['NONE', 'RLE', 'ZIPS', 'ZIP'])
@pytest.mark.parametrize('kind', ['<f2', '<f4'])
def test_exr(tmp_path, compression, kind):
    picture = np.random.default_rng(0).gamma(1.0, 2.0, (37, 23, 3)).astype(kind)
    picture[5:20] = 0.25  # something to compress
    save_exr(tmp_path / 'a.exr', picture, compression, kind)
    np.testing.assert_array_equal(read_exr(tmp_path / 'a.exr'), picture.astype(np.float32))
    np.testing.assert_array_equal(read_exr(tmp_path / 'a.exr', ('G',))[..., 0], picture[..., 1].astype(np.float32))


def test_exr_of_the_library(tmp_path):
    """A picture of half floats with ZIP as the OpenEXR library writes it, and others where it is installed."""
    rows, columns = np.indices((18, 6))
    picture = np.stack([columns / 8, rows / 32, rows * columns % 7 / 8], -1).astype(np.float16)
    (tmp_path / 'library.exr').write_bytes(base64.b85decode(WRITTEN_BY_OPENEXR))
    np.testing.assert_array_equal(read_exr(tmp_path / 'library.exr'), picture.astype(np.float32))
    library = pytest.importorskip('OpenEXR')
    for name in ('RLE', 'ZIPS', 'PIZ'):
        header = dict(compression=getattr(library, f'{name}_COMPRESSION'), type=library.scanlineimage)
        planes = {c: np.ascontiguousarray(picture[..., k]) for k, c in enumerate('RGB')}
        with library.File(header, planes) as file:
            file.write(str(tmp_path / 'more.exr'))
        np.testing.assert_array_equal(read_exr(tmp_path / 'more.exr'), picture.astype(np.float32))


def test_mid_errors(tmp_path):
    with pytest.raises(FileError, match='MID test: nothing to do'):
        prepare_mid(tmp_path, tmp_path / 'out')
    write_mid(tmp_path)
    (tmp_path / 'test/everett_dining1/albedo.exr').unlink()
    with pytest.raises(FileError, match=r'2 of 4 failed .*\neverett_dining1_dir_0_mip2: .*albedo.exr: expected'):
        prepare_mid(tmp_path, tmp_path / 'out', progress=False)
    save_exr(tmp_path / 'piz.exr', np.zeros((4, 4, 3)), 'PIZ')
    # with the library there the file is opened, and found to hold nothing
    with pytest.raises(FileError, match='found PIZ: pip install OpenEXR|piz.exr: expected an OpenEXR picture'):
        read_exr(tmp_path / 'piz.exr')
    with pytest.raises(FileError, match=r"expected the channels \['A'\], found \['B', 'G', 'R'\]"):
        read_exr(tmp_path / 'piz.exr', ('A',))
    (tmp_path / 'cut.exr').write_bytes((tmp_path / 'test/everett_kitchen2/albedo.exr').read_bytes()[:-40])
    with pytest.raises(FileError, match='cut.exr: expected an OpenEXR picture, found a file that cannot be read'):
        read_exr(tmp_path / 'cut.exr')
    (tmp_path / 'list.txt').write_text('test/everett_dining1_dir_0_mip2_albedo.jpg\n')
    with pytest.raises(FileError, match="expected lines like 'test/SCENE_dir_0_mip2.png'"):
        MIDIntrinsics(INTRINSIC, str(tmp_path), 'list.txt')
