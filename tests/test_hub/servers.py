"""Small local HTTP servers: files by range that break off, and the routes of a hub of networks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class _Handler(BaseHTTPRequestHandler):
    """Silent, and without keep-alive: a broken answer ends its connection."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *args: object) -> None:
        pass

    def answer(
        self, code: int, body: bytes = b'', headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        """Send an answer; with ``cut`` the connection breaks after so many bytes of the body."""
        self.send_response(code)
        for key, value in {'Content-Length': str(len(body)), 'Connection': 'close', **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Address of a server that runs in a thread."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def file_server(files: dict[str, bytes], cuts: list[int], asked: list[str], ranges: bool = True) -> type[_Handler]:
    """A server of files.

    Args:
        files: By path; may be changed while it runs, and with them their ETags.
        cuts: Every answer takes one off the front: the bytes after which it breaks off.
        asked: Gets the ``Range`` of every request, '' for none.
        ranges: Whether parts can be asked for.
    """

    class Handler(_Handler):
        def do_GET(self) -> None:
            asked.append(self.headers.get('Range') or '')
            body = files.get(self.path)
            if body is None:
                self.answer(404)
                return
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            cut = cuts.pop(0) if cuts else None
            wanted = self.headers.get('Range')
            if ranges and wanted and self.headers.get('If-Range') in (None, tag):
                start = int(wanted.removeprefix('bytes=').rstrip('-'))
                if start >= len(body):
                    self.answer(416, headers={'Content-Range': f'bytes */{len(body)}'})
                    return
                place = f'bytes {start}-{len(body) - 1}/{len(body)}'
                self.answer(206, body[start:], {'ETag': tag, 'Content-Range': place}, cut)
            else:
                self.answer(200, body, {'ETag': tag}, cut)

    return Handler


def hub_server(repositories: dict[str, dict[str, dict[str, bytes]]], asked: list[str]) -> type[_Handler]:
    """The routes of a hub that its client needs to read a file, to make a repository and to commit.

    Args:
        repositories: ``{OWNER/NAME: {revision: {file: content}}}``; commits go to the revision that they name.
        asked: Gets ``METHOD PATH`` of every request.
    """

    def commit_of(files: dict[str, bytes]) -> str:
        return hashlib.sha1(b''.join(k.encode() + v for k, v in sorted(files.items()))).hexdigest()

    class Handler(_Handler):
        def json(self, code: int, value: object, headers: dict[str, str] | None = None) -> None:
            self.answer(code, json.dumps(value).encode(), {'Content-Type': 'application/json', **(headers or {})})

        def do_GET(self) -> None:
            asked.append(f'{self.command} {self.path}')
            parts = unquote(self.path.partition('?')[0]).strip('/').split('/')
            if parts[:2] == ['api', 'models'] and len(parts) >= 4:
                files = repositories.get('/'.join(parts[2:4]), {}).get(parts[5] if len(parts) > 5 else 'main')
                if files is None:
                    self.answer(404, headers={'X-Error-Code': 'RepoNotFound'})
                else:
                    names = [dict(rfilename=name) for name in files]
                    self.json(200, dict(id='/'.join(parts[2:4]), sha=commit_of(files), siblings=names))
            elif len(parts) >= 5 and parts[2] == 'resolve':
                self.resolve('/'.join(parts[:2]), parts[3], '/'.join(parts[4:]))
            else:
                self.json(200, {})

        do_HEAD = do_GET

        def resolve(self, name: str, revision: str, file: str) -> None:
            found = repositories.get(name)
            if found is None:
                self.answer(404, headers={'X-Error-Code': 'RepoNotFound'})
                return
            files = found.get(revision) or next((f for f in found.values() if commit_of(f) == revision), None)
            if files is None:
                self.answer(404, headers={'X-Error-Code': 'RevisionNotFound'})
            elif file not in files:
                self.answer(404, headers={'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': commit_of(files)})
            else:
                tag = f'"{hashlib.sha1(files[file]).hexdigest()}"'
                self.answer(200, files[file], {'ETag': tag, 'X-Repo-Commit': commit_of(files)})

        def do_POST(self) -> None:
            asked.append(f'{self.command} {self.path}')
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
            parts = unquote(self.path.partition('?')[0]).strip('/').split('/')
            if parts == ['api', 'repos', 'create']:
                wanted = json.loads(body)
                name = f'{wanted.get("organization") or "owner"}/{wanted["name"]}'
                repositories.setdefault(name, {'main': {}})
                self.json(200, dict(url=f'http://{self.headers["Host"]}/{name}', name=name, id=name))
            elif 'preupload' in parts:
                files = json.loads(body)['files']
                told = [dict(path=f['path'], uploadMode='regular', shouldIgnore=False, oid=None) for f in files]
                self.json(200, dict(files=told))
            elif 'commit' in parts:
                name, revision = '/'.join(parts[2:4]), parts[5]
                files = repositories[name].setdefault(revision, {})
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry['key'] == 'file':
                        files[entry['value']['path']] = base64.b64decode(entry['value']['content'])
                commit = commit_of(files)
                url = f'http://{self.headers["Host"]}/{name}/commit/{commit}'
                self.json(200, dict(success=True, commitOid=commit, commitUrl=url, pullRequestUrl=None))
            else:
                self.json(200, {})

    return Handler
