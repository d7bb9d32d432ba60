"""The pages of settings and of releases."""

import pytest
from registry_pages import copies, fill_in, hidden, words

from telemetry_server.check.durations import in_words, seconds_in
from telemetry_server.model import Role


@pytest.fixture
async def admin(site, product):
    return await site.person(Role.ADMIN)


async def release(site, browser, slug, **fields):
    answer = await fill_in(browser, "/settings", f"/settings/products/{slug}/releases", **fields)
    assert answer.status == 303, answer.text


def test_spans_are_written_in_their_largest_unit_and_read_back():
    spans = {86_400: "1d", 129_600: "36h", 600: "10m", 90: "90s", 0: "0s"}
    assert {seconds: in_words(seconds) for seconds in spans} == spans
    assert {seconds_in(text): text for text in spans.values()} == spans
    assert seconds_in("2w") == 1_209_600
    assert {seconds_in(text) for text in ("", "h", "-1d", "1 d", "1y", "1.5h")} == {None}


async def test_the_page_shows_products_jobs_retention_and_fields(site, product, admin):
    text = words((await admin.get("/settings")).text)
    assert f"{product.slug}" in text
    assert "Product keys pk_" in text
    assert "judge installations 20s never" in text
    assert "ping 400 days" in text
    assert "license.status" in text
    assert "None is installed" in text


async def test_a_job_is_run_by_hand_and_recorded(site, product, admin):
    answer = await fill_in(admin, "/settings", "/settings/jobs", job="count the fleet")
    assert answer.status == 303
    [row] = await site.execute("SELECT last_finished_at, last_error FROM jobs WHERE name = 'count the fleet'")
    assert (row["last_finished_at"] is not None, row["last_error"]) == (True, None)
    assert "count the fleet 1m just now done in" in words((await admin.get("/settings")).text)
    [entry] = await site.execute("SELECT subject_id FROM audit_entries WHERE action = 'settings.run_job'")
    assert entry["subject_id"] == "count the fleet"
    assert (await fill_in(admin, "/settings", "/settings/jobs", job="no such job")).status == 404


async def test_a_schedule_is_changed_and_a_wrong_one_explained(site, product, admin):
    action = f"/settings/products/{product.slug}/schedule"
    typed = {"interval": "36h", "grace": "1d", "lost_after": "30d", "new_for": "7d"}
    assert (await fill_in(admin, "/settings", action, **typed)).status == 303
    [row] = await site.execute("SELECT ping_interval_seconds FROM products")
    assert row["ping_interval_seconds"] == 129_600
    assert 'value="36h"' in (await admin.get("/settings")).text
    for wrong in ({"interval": "36"}, {"interval": "1s"}, {"lost_after": "1d"}):
        answer = await fill_in(admin, "/settings", action, **(typed | wrong))
        assert answer.status in {400, 422}, answer.text


async def test_who_does_not_administrate_has_no_settings(site, product, admin):
    viewer = await site.person(Role.VIEWER)
    assert (await viewer.get("/settings")).status == 403
    form = hidden((await admin.get("/settings")).text, "/settings/jobs")
    assert (await viewer.post("/settings/jobs", **form)).status == 403


async def test_versions_without_support_and_foreign_builds_are_found(site, product, admin):
    slug = product.slug
    await release(site, admin, slug, version="7.2.1", released_on="2026-01-10", builds="sha256:abc")
    await release(site, admin, slug, version="7.1.0", released_on="2025-01-10", supported_until="2025-12-31")
    edition = {"edition": "business", "name": "Business"}
    assert (await fill_in(admin, "/settings", f"/settings/products/{slug}/editions", **edition)).status == 303
    await copies(site, product, "KEY-A", 2)
    await copies(site, product, "KEY-B", 1)
    await site.execute(
        "UPDATE installation_facts SET version = '7.1.0', version_key = '{7,1,0}' WHERE installation_id ="
        " (SELECT installation_id FROM installation_facts ORDER BY installation_id LIMIT 1)"
    )
    text = words((await admin.get("/releases")).text)
    assert "3 copies in use, 1 on versions without support" in text
    assert "7.2.1 2026-01-10 \N{EN DASH} \N{EN DASH} 2 67 % 2 newest" in text
    assert "7.1.0 2025-01-10 2025-12-31, ended \N{EN DASH} 1 33 % 1 1 release" in text
    assert "Every build that copies name belongs to its release" in text
    await site.execute("UPDATE releases SET builds = '{sha256:other}' WHERE version = '7.2.1'")
    assert "sha256:abc 7.2.1 2 0" in words((await admin.get("/releases")).text)
