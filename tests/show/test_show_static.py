"""Static files: kept by browsers for as long as they are the same, and only ours."""

import re
from importlib import resources

from telemetry_server.show.static_files import static_files


async def test_pages_name_files_by_their_content_and_browsers_keep_them(site):
    page = (await site.client().get("/sign-in")).text
    paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(paths) >= 4
    for path in paths:
        answer = await site.client().get(path)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert (
            answer.body
            == resources.files("telemetry_server.show")
            .joinpath("static", path[8:].partition("?")[0])
            .read_bytes()
        )


async def test_a_file_asked_for_in_another_version_is_asked_for_again(site):
    for path in ("/static/style.css", "/static/style.css?v=old"):
        answer = await site.client().get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")
        again = await site.client().get(path, **{"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        other = await site.client().get(path, **{"If-None-Match": '"other"'})
        assert other.status == 200


async def test_nothing_but_the_files_is_served(site):
    for name in (
        "none.css",
        "..%2froutes.py",
        "..%2f..%2fschema.sql",
        "%00",
        "style.css%00",
        "%2e%2e",
        "%252e%252e%252froutes.py",
    ):
        answer = await site.client().get(f"/static/{name}")
        assert answer.status == 404, name
        assert answer.json["code"] == "not_found"


async def test_files_have_the_type_that_browsers_insist_on(site):
    for name, kind in (
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        answer = await site.client().get(f"/static/{name}")
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_file_reaches_for_another_server():
    for name, file in static_files().items():
        foreign = re.findall(
            rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", file.body.replace(b"http://www.w3.org/2000/svg", b"")
        )
        assert foreign == [], name
