"""Static files of pages: read once, versioned by a hash of their content, cached by browsers for a year."""

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources

from aiohttp import web

from telemetry_server.errors import NotFound
from telemetry_server.routing import Access, Parameter, get
from telemetry_server.show.compression import accepts_gzip
from telemetry_server.show.query import text

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOREVER, _ASK_EACH_TIME = "public, max-age=31536000, immutable", "no-cache"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file. `version` changes with its content."""

    media_type: str
    body: bytes
    zipped: bytes
    version: str

    @property
    def etag(self) -> str:
        """Weak: the same for the file and its compressed form."""
        return f'W/"{self.version}"'


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file of static/ by name."""
    folder = resources.files("telemetry_server.show").joinpath("static")
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return {
        name: StaticFile(
            _TYPES[name.rpartition(".")[2]], body, gzip.compress(body, mtime=0), sha256(body).hexdigest()[:16]
        )
        for name, body in found.items()
    }


def static_path(name: str) -> str:
    """The URL of the file in its present version."""
    return f"/static/{name}?v={static_files()[name].version}"


async def static_file(request: web.Request) -> web.Response:
    found = static_files().get(request.match_info["name"])
    if found is None:
        raise NotFound
    current = request.query.get("v") == found.version
    headers = {
        "ETag": found.etag,
        "Cache-Control": _FOREVER if current else _ASK_EACH_TIME,
        "Vary": "Accept-Encoding",
    }
    if found.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    if accepts_gzip(request):
        headers["Content-Encoding"] = "gzip"
    body = found.zipped if accepts_gzip(request) else found.body
    return web.Response(body=body, content_type=found.media_type, charset="utf-8", headers=headers)


_PARAMETERS = (
    Parameter("name", "The file's name.", text(), where="path", required=True),
    Parameter("v", "The version the page was made for.", text()),
)

ROUTES = (
    get(
        "/static/{name}",
        static_file,
        "A file that pages need",
        "application/octet-stream",
        _PARAMETERS,
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
)
