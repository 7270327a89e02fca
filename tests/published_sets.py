"""What the tests of data sets share: a server on this machine, and small sets in the catalogue."""

import gzip
import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

from titans_ts.datasets import manifest
from titans_ts.datasets.manifest import CatalogueEntry, DataFile

TIDE = b"date,level\r\n1990/1/1 0:00,1.5\r\n1990/1/2 0:00,2.5\r\n1990/1/3 0:00,3.5\r\n"


class Site:
    """Pages by path, the requests that came, and what to do wrong."""

    def __init__(self):
        self.pages, self.requests = {}, []
        self.announce_more = False  # a Content-Length beyond what is sent: the connection breaks

    def serve(self, path, content):
        self.pages[path] = content


@contextmanager
def site():
    """A web server on this machine; yields its address and what it serves."""
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests.append(self.path)
            content = state.pages.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 7 * state.announce_more))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # closing waits for what is being served
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def published(name, content, url="http://127.0.0.1:9", **changes):
    """A set of one file with this content, as the catalogue would describe it."""
    file = DataFile(
        name=f"{name}.csv",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        url=f"{url}/{name}.csv",
    )
    facts = {
        "title": name.capitalize(),
        "summary": "A small table",
        "licence": "CC0",
        "publisher": "nobody",
        "citation": "nobody, nowhere",
        "rows": 3,
        "columns": 2,
        "series": 1,
        "freq": "D",
        "verified": False,
        "evidence": "made for a test",
        "files": (file,),
        "split": {"fractions": [0.7, 0.1, 0.2]},
        "read": {"format": "csv", "time": {"name": "date", "format": "%Y/%m/%d %H:%M"}},
    }
    return CatalogueEntry(name=name, **(facts | changes))


def put_into_catalogue(monkeypatch, folder, *entries):
    """Have the package know these sets and no others, with a card each."""
    cards = folder / "cards"
    cards.mkdir(parents=True)
    for entry in entries:
        (cards / f"{entry.name}.md").write_text(f"# {entry.title}\n", encoding="utf-8")
    known = MappingProxyType({entry.name: entry for entry in entries})
    monkeypatch.setattr(manifest, "catalogue_folder", lambda: folder)
    monkeypatch.setattr("titans_ts.datasets.local.catalogue_folder", lambda: folder)
    monkeypatch.setattr(manifest, "catalogue", lambda: known)


def write_copy(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
