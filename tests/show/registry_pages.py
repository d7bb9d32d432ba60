"""Forms of the pages as a browser sends them, and copies that use a license."""

import re
from datetime import UTC, datetime
from html import unescape

import aiohttp
from installation import Installation

from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.keyring import license_key_digest
from telemetry_server.model import Role

HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


def words(html):
    """What a reader sees."""
    joined = re.sub(r"</?(bdi|code|strong|em)\b[^>]*>", "", html)
    plain = " ".join(unescape(re.sub(r"<[^>]+>", " ", joined)).split())
    return re.sub(r" ([,.:])", r"\1", plain)


def hidden(html, action, having=""):
    """The hidden fields of the last form with that action that has this in it."""
    forms = re.findall(rf'<form method="post" action="{re.escape(action)}".*?</form>', html, re.DOTALL)
    [*_, form] = [each for each in forms if having in each]
    return {name: unescape(value) for name, value in HIDDEN.findall(form)}


async def fill_in(browser, page, action, /, **fields):
    """The answer to the form of that page with these fields."""
    shown = await browser.get(page)
    assert shown.status == 200, shown.text
    return await browser.post(action, **(hidden(shown.text, action) | fields))


async def go_on(browser, answer, action, /, **fields):
    """The answer to the form on the page that came back."""
    return await browser.post(action, **(hidden(answer.text, action) | fields))


async def upload(browser, page, content, *, name="licenses.csv", **fields):
    """The answer to the form of an import with a file."""
    shown = await browser.get(page)
    data = aiohttp.FormData(hidden(shown.text, page) | fields)
    data.add_field("file", content, filename=name, content_type="text/csv")
    return await browser.request("POST", page, data=data)


async def multipart(browser, answer, action, **fields):
    """The answer to the form on the page that came back, sent in parts."""
    known = hidden(answer.text, action, 'name="step"')
    data = aiohttp.FormData(known | fields, default_to_multipart=True)
    return await browser.request("POST", action, data=data)


async def license_adder(site, product):
    """A function that adds a license by the API and gives its id; its `change` changes one."""
    program = await site.program(Role.ADMIN)

    async def added(key, **fields):
        body = {"product": product.slug, "key": key} | fields
        answer = await program.request("POST", "/api/v1/licenses", json=body)
        assert answer.status == 201, answer.text
        return answer.json["license_id"]

    async def changed(license_id, **fields):
        answer = await program.request("PATCH", f"/api/v1/licenses/{license_id}", json=fields)
        assert answer.status == 200, answer.text

    added.change = changed
    return added


async def copies(site, product, key, count, *, judged=True, **says):
    """New copies that use the license of that key (None: no key), judged unless that is left for later."""
    [row] = await site.execute("SELECT product_key FROM product_keys WHERE product_id = $1", product.id)
    server = type("Server", (), {"url": site.url, "product_key": row["product_key"]})
    said = {"status": "licensed"}
    if key is not None:
        said |= {"key_digest": license_key_digest(product.slug, key), "key_hint": key[-4:]}
    made = []
    for _ in range(count):
        copy = await Installation.enrolled(server)
        await copy.send(copy.ping(license=said | says))
        made.append(copy.id)
    for _ in range(2 if judged else 0):
        await site.with_database(judge_installations, datetime.now(UTC))
    return made
