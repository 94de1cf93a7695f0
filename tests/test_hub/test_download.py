"""Data sets from a local server: broken transfers, wrong digests, dead links, archives that lead elsewhere."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from mmmtl.commands import main
from mmmtl.errors import FileError, InputError, StorageError
from mmmtl.hub import download as module
from mmmtl.hub import transfer
from mmmtl.hub.sources import SOURCES, RemoteFile, Source
from mmmtl.hub.transfer import DeadLinkError, fetch
from mmmtl.hub.unpack import unpack
from mmmtl.registry import DATASETS, LABEL_SAMPLERS
from tests.test_hub.servers import file_server, serving

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def server():
    files, cuts, asked = {'/a.bin': CONTENT}, [], []
    with serving(file_server(files, cuts, asked)) as address:
        yield address, files, cuts, asked


def sha256(data: bytes) -> str:
    return f'sha256:{hashlib.sha256(data).hexdigest()}'


def test_a_broken_transfer_goes_on_where_it_broke(server, tmp_path):
    address, _, cuts, asked = server
    cuts += [100_000, 50_000]
    got = fetch(f'{address}/a.bin', tmp_path / 'a.bin', sha256(CONTENT), progress=False, pause=0)
    assert got.read_bytes() == CONTENT and asked == ['', 'bytes=100000-', 'bytes=150000-']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.bin']
    fetch(f'{address}/a.bin', tmp_path / 'a.bin', sha256(CONTENT), progress=False)
    assert len(asked) == 3


def test_what_came_is_kept_for_the_next_call(server, tmp_path):
    address, _, cuts, asked = server
    cuts += [60_000, *[0] * 4]
    with pytest.raises(FileError, match='broke 5 times.*0.1 MiB.*same command goes on'):
        fetch(f'{address}/a.bin', tmp_path / 'a.bin', progress=False, pause=0)
    assert (tmp_path / 'a.bin.part').stat().st_size == 60_000 and not (tmp_path / 'a.bin').exists()
    assert fetch(f'{address}/a.bin', tmp_path / 'a.bin', progress=False).read_bytes() == CONTENT
    assert asked[-1] == 'bytes=60000-'


@pytest.mark.parametrize('ranges', [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_whole(tmp_path, ranges):
    files, cuts, asked = {'/a.bin': CONTENT}, [1000, *[0] * 4], []
    with serving(file_server(files, cuts, asked, ranges)) as address:
        with pytest.raises(FileError):
            fetch(f'{address}/a.bin', tmp_path / 'a.bin', progress=False, pause=0)
        files['/a.bin'] = CONTENT[::-1]
        assert fetch(f'{address}/a.bin', tmp_path / 'a.bin', progress=False, pause=0).read_bytes() == CONTENT[::-1]


def test_a_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    address, files, cuts, _ = server
    cuts += [1000, *[0] * 4]
    with pytest.raises(FileError):
        fetch(f'{address}/a.bin', tmp_path / 'x', progress=False, pause=0)
    files['/b.bin'] = CONTENT[::-1]
    assert fetch(f'{address}/b.bin', tmp_path / 'x', progress=False, pause=0).read_bytes() == CONTENT[::-1]


def test_a_wrong_digest_is_not_kept(server, tmp_path):
    address, *_ = server
    with pytest.raises(FileError, match='expected sha256:00.*found sha256:'):
        fetch(f'{address}/a.bin', tmp_path / 'a.bin', 'sha256:' + '0' * 64, progress=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'a.bin').write_bytes(b'another')
    assert fetch(f'{address}/a.bin', tmp_path / 'a.bin', sha256(CONTENT), progress=False).read_bytes() == CONTENT


def test_dead_links_and_foreign_addresses(server, tmp_path):
    address, *_ = server
    with pytest.raises(DeadLinkError, match='b.bin: the server answers 404'):
        fetch(f'{address}/b.bin', tmp_path / 'b', progress=False)
    with pytest.raises(DeadLinkError, match='no answer'):
        fetch('http://127.0.0.1:9/b.bin', tmp_path / 'b', progress=False, pause=0)
    with pytest.raises(FileError, match='begins with https'):
        fetch('file:///etc/passwd', tmp_path / 'b')


def test_a_full_disk_is_told_before(server, tmp_path, monkeypatch):
    address, *_ = server
    usage = namedtuple('usage', 'total used free')(10, 10, transfer.RESERVE + 1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(StorageError, match='a.bin needs .* GiB more'):
        fetch(f'{address}/a.bin', tmp_path / 'a.bin', progress=False)


# ---- archives ----
def zipped(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def tarred(*members: tuple[str, str, bytes | None]) -> bytes:
    """Members as (name, link target, content)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:gz') as archive:
        for name, link, content in members:
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            info.size = len(content or b'')
            archive.addfile(info, io.BytesIO(content or b''))
    return data.getvalue()


def test_a_folder_of_an_archive(tmp_path):
    (tmp_path / 'a.zip').write_bytes(zipped(**{'top-1/CamVid/train/1.png': 'x', 'top-1/README': 'y'}))
    assert unpack(tmp_path / 'a.zip', tmp_path / 'zip', '*/CamVid', progress=False) == 1
    assert (tmp_path / 'zip/train/1.png').read_text() == 'x'
    (tmp_path / 'a.tar.gz').write_bytes(tarred(('NYU/images/1.png', '', b'x'), ('other', '', b'y')))
    assert unpack(tmp_path / 'a.tar.gz', tmp_path / 'tar', 'NYU', progress=False) == 1
    assert (tmp_path / 'tar/images/1.png').read_bytes() == b'x' and not (tmp_path / 'tar/other').exists()
    with pytest.raises(FileError, match='expected files in'):
        unpack(tmp_path / 'a.zip', tmp_path / 'zip', 'nothing', progress=False)


@pytest.mark.parametrize('name', ['../out', '/tmp/out', 'a/../../out', '..\\out', 'C:\\out'])
def test_names_that_lead_out(tmp_path, name):
    (tmp_path / 'a.zip').write_bytes(zipped(**{name: 'x'}))
    (tmp_path / 'a.tar').write_bytes(tarred((name, '', b'x')))
    for archive in ('a.zip', 'a.tar'):
        with pytest.raises(FileError, match='leads out of the folder'):
            unpack(tmp_path / archive, tmp_path / 'in', progress=False)
    assert not (tmp_path / 'out').exists() and not Path('/tmp/out').exists()


def test_links_in_an_archive_and_in_the_folder(tmp_path):
    (tmp_path / 'a.tar.gz').write_bytes(tarred(('link', str(tmp_path), None), ('link/out', '', b'x')))
    with pytest.raises(FileError, match="'link' is a link"):
        unpack(tmp_path / 'a.tar.gz', tmp_path / 'in', progress=False)
    (tmp_path / 'in' / 'there').symlink_to(tmp_path)
    (tmp_path / 'b.zip').write_bytes(zipped(**{'there/out': 'x'}))
    with pytest.raises(FileError, match='through a link'):
        unpack(tmp_path / 'b.zip', tmp_path / 'in', progress=False)
    assert not (tmp_path / 'out').exists()


def test_damaged_archives(tmp_path):
    (tmp_path / 'a.zip').write_bytes(zipped(a='x' * 5000)[:-30])
    (tmp_path / 'b.tar.gz').write_bytes(tarred(('a', '', CONTENT))[:-1000])
    (tmp_path / 'c.tar').write_bytes(b'nothing of that kind')
    for archive in ('a.zip', 'b.tar.gz', 'c.tar'):
        with pytest.raises(FileError, match=archive):
            unpack(tmp_path / archive, tmp_path / 'in', progress=False)


# ---- the command ----
@pytest.fixture
def sources(server, monkeypatch):
    address, files, *_ = server
    files['/set.zip'] = zipped(**{'set/images/1.txt': 'one'})
    whole = RemoteFile(f'{address}/set.zip', digest=sha256(files['/set.zip']), within='set')
    made = {
        'whole': Source('A set', 'FolderDataset', 'CC BY 4.0', 'http://page', (whole,)),
        'half': Source(
            'Half', 'CamVid', 'none', 'http://page', (RemoteFile(f'{address}/lost.zip'), whole), ('mirror M',)
        ),
        'none': Source('None', 'CamVid', 'secret', 'http://page', (), ('write to them',)),
    }
    monkeypatch.setattr(module, 'SOURCES', made)
    return made


def test_the_command(sources, server, tmp_path, capsys):
    main(['download', 'whole', str(tmp_path / 'set'), '--accept-licence'])
    printed = capsys.readouterr().out
    assert 'licence: CC BY 4.0' in printed and 'sha256:' in printed and 'done' in printed
    assert (tmp_path / 'set/images/1.txt').read_text() == 'one' and not (tmp_path / 'set/set.zip').exists()
    before = len(server[3])
    main(['download', 'whole', str(tmp_path / 'set'), '--accept-licence'])
    assert len(server[3]) == before
    shutil.rmtree(tmp_path / 'set/images')  # what `rm -r set/*` leaves are hidden files alone
    main(['download', 'whole', str(tmp_path / 'set'), '--accept-licence'])
    assert (tmp_path / 'set/images/1.txt').is_file()


def test_a_licence_is_agreed_to_before(sources, server, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['download', 'whole', str(tmp_path / 'set')])
    assert '--accept-licence' in capsys.readouterr().err and server[3] == []
    with pytest.raises(InputError, match='not agreed'):
        module.download('whole', str(tmp_path / 'set'), ask=lambda text: 'n')
    module.download('whole', str(tmp_path / 'set'), ask=lambda text: 'y', keep_archives=True, progress=False)
    assert (tmp_path / 'set/set.zip').is_file()


def test_a_dead_link_is_told_with_what_else_there_is(sources, tmp_path):
    with pytest.raises(DeadLinkError, match=r'lost.zip: the server answers 404[\s\S]*mirror M[\s\S]*http://page'):
        module.download('half', str(tmp_path / 'set'), accept_licence=True, progress=False)
    assert (tmp_path / 'set/images/1.txt').is_file(), 'the other files are there'
    with pytest.raises(InputError, match=r'not fetched by this command[\s\S]*write to them'):
        module.download('none')
    with pytest.raises(InputError, match="Did you mean 'whole'"):
        module.download('wohle')
    with pytest.raises(InputError, match='lost.zip, set.zip'):
        module.download('half', only='x.zip', accept_licence=True)


def test_the_table_of_sources(capsys):
    main(['download'])
    printed = capsys.readouterr().out
    assert all(name in printed for name in SOURCES)
    for name, source in SOURCES.items():
        assert DATASETS.get(source.kind) or LABEL_SAMPLERS.get(source.kind), name
        assert source.licence and source.page.startswith('http') and (source.files or source.otherwise)
        assert all(file.url.startswith('https://') for file in source.files)
        assert len({file.filename for file in source.files}) == len(source.files)
