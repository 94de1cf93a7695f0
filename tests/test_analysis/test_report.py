"""The report of a run says what the evaluation found, image by image, and reads well in a browser."""

from __future__ import annotations

import csv
import html.parser
import json
import math
import re
import shutil
import subprocess
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from mmmtl.analysis import make_report
from mmmtl.analysis.report import chosen_images, evaluate_and_report
from mmmtl.analysis.report_page import histogram, report_page
from mmmtl.analysis.report_tables import ClassTable, ReportData, TaskReport, collect_report, write_tables
from mmmtl.config import load_config
from mmmtl.errors import ConfigError


@pytest.fixture(scope='module')
def reported(trained, tmp_path_factory):
    """Work dir of an evaluation with a report; its log of the training is there too."""
    work_dir = tmp_path_factory.mktemp('reported') / 'run'
    shutil.copytree(trained, work_dir)
    cfg = load_config(str(trained.parent / 'tiny.py'))
    evaluate_and_report(cfg, str(trained / 'iter_4.pth'), work_dir=str(work_dir))
    return work_dir


class Links(html.parser.HTMLParser):
    """Files a page refers to, and the tags that are still open at its end."""

    VOID = ('meta', 'img')

    def __init__(self, text):
        super().__init__()
        self.files, self.open, self.ids, self.anchors = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [values['id']] if 'id' in values else []
        for key in ('src', 'href'):
            if values.get(key, '').startswith('#'):
                self.anchors.append(unquote(values[key][1:]))
            elif key in values:
                self.files.append(unquote(values[key]))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_everything_the_page_refers_to_is_there(reported):
    text = (reported / 'report' / 'index.html').read_text()
    links = Links(text)
    assert links.open == [] and set(links.anchors) == {'semseg', 'depth', 'boundary'} <= set(links.ids)
    missing = [name for name in links.files if not (reported / 'report' / name).is_file()]
    assert missing == [] and 'curves.svg' in links.files
    drawn = {str(p.relative_to(reported / 'report')) for p in (reported / 'report').glob('panels/**/*.png')}
    assert {name for name in links.files if name.startswith('panels/')} == drawn
    assert len(drawn) == 3 + 3 * 3  # each image whole, and for each task, as there are three images in all
    metrics = json.loads((reported / 'metrics.json').read_text())
    for name, value in metrics.items():
        assert name.split('/')[1] in text and f'{value:.4f}' in text
    assert 'http' not in re.sub(r'xmlns(:\w+)?="[^"]*"', '', text)  # readable offline


def test_tables_hold_every_image_and_class(reported):
    folder = reported / 'report'
    rows = list(csv.DictReader((folder / 'images.csv').open()))
    values = json.loads((folder / 'images.json').read_text())
    assert len(rows) == len(values) == 3
    for row in rows:
        assert {k: v for k, v in row.items() if k != 'sample_id'} == {
            k: '' if v is None else str(v) for k, v in values[row['sample_id']].items()
        }
    # the whole from its parts: RMSE over all pixels of equally large, fully labelled images
    metrics = json.loads((reported / 'metrics.json').read_text())
    mean_square = np.mean([v['depth/RMSE'] ** 2 for v in values.values()])
    assert math.isclose(math.sqrt(mean_square), metrics['depth/RMSE'], rel_tol=0.05)
    classes = json.loads((folder / 'classes_semseg.json').read_text())
    known = [row['IoU'] for row in classes if row['IoU'] is not None]
    assert math.isclose(np.mean(known), metrics['semseg/mIoU'], rel_tol=1e-9)
    header, *confusion = [row[1:] for row in csv.reader((folder / 'confusion_semseg.csv').open())]
    assert header == [*(row['class'] for row in classes), 'none'] and {len(row) for row in confusion} == {len(header)}
    assert np.array(confusion, int).sum() == sum(row['pixels'] for row in classes) == 3 * 32 * 32


def test_a_report_is_made_again_from_the_work_dir(reported):
    page = reported / 'report' / 'index.html'
    before = page.read_text()
    page.unlink()
    assert make_report(str(reported)) == str(page) and page.read_text() == before
    metrics = reported / 'metrics.json'
    kept = metrics.read_text()
    metrics.write_text(kept.replace('depth/RMSE', 'depth/Rmse'))  # another checkpoint was evaluated since
    make_report(str(reported))
    assert 'panels/' in before and 'iter_4.pth' in before
    assert 'panels/' not in page.read_text() and 'iter_4.pth' not in page.read_text()
    metrics.write_text(kept)
    make_report(str(reported))


def test_without_an_evaluation_the_way_to_one_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r'metrics.json is missing: .*tools/test.py CONFIG CHECKPOINT .* --report'):
        make_report(str(tmp_path))
    (tmp_path / 'metrics.json').write_text('{}')
    with pytest.raises(ConfigError, match='records.npz is missing'):
        make_report(str(tmp_path))


def test_the_ranking_knows_what_is_worse(reported):
    for task in collect_report(str(reported)).tasks:
        values = [value for _, value in task.ranking]
        higher = task.metrics[task.primary_metric][1]
        assert values == sorted(values, reverse=not higher)
        worst, best = task.worst_and_best(2)
        assert len(worst) == 2 and len(best) == 1 and not set(worst) & set(best)  # three images in all
    assert len(chosen_images(collect_report(str(reported)), 2)) == 3


def awkward():
    """Names and numbers that a page has to cope with."""
    ids = ['a/b <script>', 'ü & "q".png', 'c%20d']
    ranking = [(i, v) for i, v in zip(ids, (0.1, 0.5, 0.9))]
    classes = ClassTable(['wall', 'a<b', 'never'], np.array([[5, 3, 0], [1, 1, 0], [0, 0, 0]]))
    task = TaskReport('rooms', {'mIoU': (0.5, True), 'odd': (math.nan, None)}, 'mIoU', ranking, classes)
    return ReportData([task, TaskReport('empty', {})], {i: {'rooms/mIoU': v} for i, v in ranking}, {'delta_m': 1.5})


def test_awkward_names_and_numbers(tmp_path):
    data = awkward()
    page = report_page(data, 'run <1>', {('rooms', 'c%20d'): 'panels/rooms/c%2520d.png'})
    links = Links(page)
    assert links.open == [] and '<script>' not in page and 'run &lt;1&gt;' in page and 'a&lt;b' in page
    assert 'panels/rooms/c%2520d.png' in links.files and '–' in page and 'delta_m' in page
    paths = write_tables(data, str(tmp_path))
    assert len(paths) == 5
    table = json.loads((tmp_path / 'classes_rooms.json').read_text())
    assert table[2]['IoU'] is None and table[0]['IoU'] == 5 / 9
    assert [row['sample_id'] for row in csv.DictReader((tmp_path / 'images.csv').open())] == list(data.images)


def test_a_histogram_counts_every_image():
    values = np.random.default_rng(0).normal(size=200).tolist()
    ranking = [(f'i{i}', value) for i, value in enumerate(values)]
    picture = histogram(ranking)
    assert 'aria-label="200 images from' in picture and picture.endswith('</svg>\n')
    assert len(re.findall('#54aeff', picture)) == 24
    assert histogram([('a', 0.25), ('b', 0.25)]) == '<p>0.2500 in all 2 images</p>'


def test_the_page_says_what_was_evaluated_and_which_images_are_left_out(reported):
    text = (reported / 'report' / 'index.html').read_text()
    assert 'tiny.py' in text and 'iter_4.pth' in text and re.search(r'date 20\d\d-\d\d-\d\d', text)
    data = awkward()
    data.images['without a label'] = {}
    assert '1 of 4 images are left out: mIoU is not defined' in report_page(data, 'x', {})
    assert 'No image has a value of its own' in report_page(data, 'x', {})


def test_confusion_is_shown_in_shares_of_the_label():
    cells = re.findall(r'title="([^"]*)">([^<]*)<', report_page(awkward(), 'x', {}))
    assert cells[1] == ('wall labelled, a&lt;b predicted: 37.50 % (3 pixels)', '38')
    assert [text for _, text in cells[6:]] == ['', '', '']  # a class without a pixel


CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
PROBE = """<script>window.onload = () => { const all = [...document.images];
document.title = [all.length, all.filter(i => i.complete && i.naturalWidth > 0).length,
document.documentElement.scrollWidth, window.innerWidth,
document.querySelectorAll('h2').length].join(' '); };</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium')
def test_the_page_in_a_browser(reported, tmp_path):
    """Every picture loads, nothing sticks out at the side, and the page is not blank."""
    probe = reported / 'report' / 'probe.html'
    probe.write_text((reported / 'report' / 'index.html').read_text().replace('</body>', PROBE + '</body>'))
    flags = [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-sync',
        '--disable-background-networking',
        '--disable-component-update',
        '--hide-scrollbars',
        '--window-size=1280,2400',
    ]

    def browse(name, *more):
        profile = f'--user-data-dir={tmp_path / name}'
        command = [CHROMIUM, *flags, profile, *more, probe.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

    title = re.search(r'<title>([\d ]+)</title>', browse('a', '--dump-dom', '--virtual-time-budget=20000'))
    images, loaded, width, window, sections = map(int, title.group(1).split())
    assert images == loaded == 10 and width <= window and sections == 4  # training and three tasks
    browse('b', f'--screenshot={tmp_path / "page.png"}', '--virtual-time-budget=20000')
    picture = cv2.imread(str(tmp_path / 'page.png'))
    assert picture.shape == (2400, 1280, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500 and (picture == 255).all(-1).mean() < 0.97
