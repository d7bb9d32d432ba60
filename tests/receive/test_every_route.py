"""Hostile strings against every route there is: a clear refusal, never a 5xx, never a trace."""

import gzip
import io
import re
from urllib.parse import quote

import aiohttp
import pytest
import yarl

from telemetry_server.app import ROUTES_FOR_PEOPLE
from telemetry_server.privacy.self_service import routes as self_service_routes
from telemetry_server.receive.routes import routes as receive_routes
from telemetry_server.routing import Access
from telemetry_server.support.customer_routes import customer_routes

NO_HANDLERS = type("NoHandlers", (), dict.fromkeys(("post", "forget", "access", "grant", "revoke")))()
ROUTES = [
    *receive_routes(NO_HANDLERS, NO_HANDLERS, NO_HANDLERS, NO_HANDLERS),
    *self_service_routes(NO_HANDLERS),
    *customer_routes(NO_HANDLERS),
    *ROUTES_FOR_PEOPLE,
]
NASTY = [
    "\0",
    "\ud800".encode("utf-8", "surrogatepass"),
    "../../etc/passwd",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%s%n",
    "9" * 400,
    "NaN",
    "18446744073709551616",
    "-1",
    "\r\nX-Injected: 1",
    "💥",
    "\u202e",
    "a" * 5000,
]
BODIES = [
    b"",
    b"{",
    b"[" * 50_000,
    b'{"a":NaN}',
    b"\xff\xfe",
    b'{"pings":[18446744073709551616]}',
    b'{"a":"\\u0000"}',
    b'{"a":"\\ud800"}',
    b"a=%00&next=//evil.example",
    b"x" * 10 * 2**20,
    gzip.compress(bytes(64 * 2**20)),
]


def quoted(text):
    return quote(text, safe="")


def urls(server, route):
    for text in NASTY:
        path = route.path
        while "{" in path:
            before, _, rest = path.partition("{")
            path = before + quoted(text) + rest.partition("}")[2]
        names = [parameter.name for parameter in route.parameters if parameter.where == "query"] or [
            "q",
            "next",
            "token",
        ]
        yield yarl.URL(
            f"{server.url}{path}?" + "&".join(f"{name}={quoted(text)}" for name in names), encoded=True
        )


@pytest.fixture(scope="module")
def names():
    return [f"{route.method} {route.path}" for route in ROUTES]


async def test_every_route_answers_hostile_input_with_a_refusal(server, names):
    token = server.token
    surprises = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        for route in ROUTES:
            for url in urls(server, route):
                surprises += await surprise(session, route, url, b"")
            for body in BODIES:
                surprises += await surprise(session, route, next(urls(server, route)), body)
    assert surprises == []
    assert len(names) > 10


async def surprise(session, route, url, body):
    try:
        packed = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}
        async with session.request(
            route.method,
            url,
            data=io.BytesIO(body) if body else None,
            headers=packed,
            allow_redirects=False,
        ) as answer:
            text = await answer.text(errors="replace")
            told = "Traceback" not in text and "X-Injected" not in answer.headers
            inert = "<script>alert(1)" not in text or "html" not in answer.headers.get("Content-Type", "")
            astray = answer.headers.get("Location", "/").startswith(("//", "http"))
            if answer.status >= 500 or not told or not inert or astray:
                return [f"{route.method} {str(url)[:120]} {body[:20]}: {answer.status} {text[:200]}"]
    except (TimeoutError, aiohttp.ClientConnectionError):
        return []  # the connection was closed on a body nobody wants
    return []


async def test_nothing_but_the_public_is_told_to_strangers(server):
    async with aiohttp.ClientSession() as session:
        for route in ROUTES:
            if route.access is Access.PUBLIC:
                continue
            path = re.sub(r"\{\w+\}", "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11", route.path)
            async with session.request(route.method, server.url + path, allow_redirects=False) as answer:
                assert answer.status in {401, 303, 403} or route.access is Access.WEBHOOK, (
                    f"{route.method} {route.path}"
                )


async def test_head_works_where_get_does(server):
    token = server.command("token", "create", "--role", "admin")["token"]
    # A compressed answer has a padding of random length.
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for route in ROUTES:
            path = route.path.replace("{what}", "installations").replace("{name}", "style.css")
            path = re.sub(r"\{\w+\}", "0197f7a0-0000-7000-8000-000000000000", path)
            answers = {}
            for method in ("GET", "HEAD"):
                async with session.request(method, server.url + path, allow_redirects=False) as answer:
                    grows = "export" in path or path == "/audit"  # which lists the request before
                    length = None if grows else answer.headers.get("Content-Length")
                    found = (
                        answer.status,
                        answer.headers.get("Content-Type"),
                        length,
                        answer.headers.get("Allow"),
                    )
                    answers[method] = found
                    body = await answer.read()
            assert answers["GET"] == answers["HEAD"], path
            assert body == b"", path
            if route.method == "GET":
                assert answers["HEAD"][0] != 405, path
