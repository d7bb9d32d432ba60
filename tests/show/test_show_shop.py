"""The shop's webhook: signed as Standard Webhooks say, carried out once, refused clearly."""

import asyncio
import base64
import hmac
import itertools
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.errors import Unauthenticated
from telemetry_server.model import Role
from telemetry_server.receive.webhook import verify
from telemetry_server.store.registry.products import add_product

MESSAGES = Path(__file__).parent / "shop_messages"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BYTES = base64.b64decode(SECRET.removeprefix("whsec_"))


def signature(message_id, timestamp, body, secret=BYTES):
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def headers(body, message_id="msg_1", at=None, secret=BYTES):
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(message_id, timestamp, body, secret),
        "Content-Type": "application/json",
    }


def test_the_example_of_the_specification_holds():
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    now = datetime.fromtimestamp(1614265330, UTC)
    assert verify([b"x" * 24, BYTES], given, b'{"test": 2432232314}', now) == given["webhook-id"]


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_whatever_the_headers_are_they_are_good_or_refused(given):
    with pytest.raises(Unauthenticated):
        verify([BYTES], given, b"{}", datetime.now(UTC))


@pytest.fixture
async def shop(open_site):
    async with open_site(shop_webhook_secret=(BYTES,)) as site:
        yield site


@pytest.fixture
async def tell(shop):
    product, _ = await shop.with_database(add_product, "Billing", now=datetime.now(UTC))
    client = shop.client()

    async def tell(kind, message_id="msg_1", *, at=None, secret=BYTES, happened=None, **data):
        happened = happened or datetime.now(UTC).isoformat()
        told = {"type": kind, "timestamp": happened, "data": {"product": product.slug} | data}
        body = json.dumps(told).encode()
        return await client.request(
            "POST", "/webhooks/shop", data=body, headers=headers(body, message_id, at, secret)
        )

    return tell


async def licenses(site):
    return [dict(row) for row in await site.execute("SELECT * FROM licenses")]


async def test_a_sale_makes_a_license_with_its_history(shop, tell):
    answer = await tell("license.created", key="SHOP-0001", source="direct", customer_email="a@example.com")
    assert answer.status == 204, answer.text
    [made] = await licenses(shop)
    assert (made["status"], made["source"], made["key_hint"]) == ("active", "direct", "0001")
    history = await shop.execute("SELECT actor, reason FROM registry_changes WHERE entity = 'license'")
    assert [tuple(row) for row in history] == [("webhook:shop", "license.created, message msg_1")]


async def test_a_refund_ends_it_and_a_repeated_message_does_nothing(shop, tell):
    await tell("license.created", "msg_1", key="SHOP-0001")
    await tell("license.refunded", "msg_2", key="SHOP-0001")
    assert (await tell("license.created", "msg_1", key="SHOP-0001", status="active")).status == 204
    [made] = await licenses(shop)
    assert made["status"] == "refunded"


async def test_a_message_that_comes_after_a_later_one_changes_nothing(shop, tell):
    """A shop tries again what was refused for a moment, and meanwhile goes on."""
    await tell("license.created", "msg_1", key="SHOP-0001", happened="2026-11-22T10:00:00Z")
    await tell("license.reinstated", "msg_3", key="SHOP-0001", happened="2026-11-22T12:00:00Z")
    late = await tell("license.suspended", "msg_2", key=" SHOP-0001", happened="2026-11-22T11:00:00Z")
    assert late.status == 204
    assert [one["status"] for one in await licenses(shop)] == ["active"]
    await tell("license.suspended", "msg_4", key="SHOP-0001", happened="2026-11-22T13:00:00Z")
    assert [one["status"] for one in await licenses(shop)] == ["suspended"]


# ── messages that come late ─────────────────────────────────────────────────────────────────


def messages_of(name):
    return [json.loads(line) for line in (MESSAGES / name).read_text().splitlines()]


@pytest.fixture
async def send(shop, tell):
    """Sends messages as they stand in a file; gives the answers."""
    client, numbers = shop.client(), itertools.count(1)

    async def send(messages):
        answers = []
        for message in messages:
            body = json.dumps(message).encode()
            signed = headers(body, f"msg_{next(numbers)}")
            answers.append(await client.request("POST", "/webhooks/shop", data=body, headers=signed))
        return [answer.status for answer in answers]

    return send


async def state(site):
    """What the registry holds of its one license and its customer."""
    [row] = await site.execute("""
        SELECT l.status, l.seats, l.expires_at, l.order_reference, c.email, c.name
        FROM licenses AS l LEFT JOIN customers AS c USING (customer_id)
    """)
    return dict(row)


async def test_a_refund_that_comes_late_takes_the_license_back(shop, send):
    assert await send(messages_of("late-refund.ndjson")) == [204] * 3
    assert (await state(shop))["status"] == "refunded"
    assert (await state(shop))["order_reference"] == "4712"


async def test_a_renewal_that_comes_late_renews(shop, send):
    assert await send(messages_of("late-renewal.ndjson")) == [204] * 3
    found = await state(shop)
    assert (found["expires_at"], found["email"]) == (datetime(2027, 11, 2, tzinfo=UTC), "z@example.com")


async def test_a_sale_that_comes_late_keeps_everything_but_what_changed_since(shop, send):
    assert await send(messages_of("late-created.ndjson")) == [204] * 2
    assert await state(shop) == {
        "status": "suspended",
        "seats": 3,
        "expires_at": datetime(2027, 11, 23, tzinfo=UTC),
        "order_reference": "4711",
        "email": "ann@example.com",
        "name": None,
    }


async def test_messages_of_other_types_are_acknowledged_whatever_is_in_them(shop, send):
    others = messages_of("other-types.ndjson")
    others += [{"type": "", "data": None}, {"type": "x", "timestamp": {}, "data": 7}]
    assert await send(others) == [204] * len(others)
    assert await licenses(shop) == []


def said(kind, at, **data):
    return {"type": kind, "timestamp": at, "data": {"product": "billing", "key": "SHOP-0001", **data}}


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
async def test_a_time_may_be_a_number_since_1970(shop, send, unit):
    late = said("license.reinstated", "2025-11-29T10:00:01Z")
    assert await send([said("license.suspended", 1764410402 * unit), late]) == [204, 204]
    assert (await state(shop))["status"] == "suspended"
    assert await send(
        [said("license.reinstated", 1764410401500), said("license.refunded", 1764410403000)]
    ) == [
        204,
        204,
    ]
    assert (await state(shop))["status"] == "refunded"


async def test_what_is_no_time_is_refused_rather_than_taken_for_1970(shop, send):
    assert await send([said("license.suspended", True)]) == [422]
    assert await licenses(shop) == []


async def test_of_two_messages_of_one_moment_the_one_that_takes_away_holds(shop, send):
    moment = "2026-11-29T10:00:00Z"
    both = [
        said("license.refunded", moment),
        said("license.reinstated", moment),
        said("license.updated", moment, seats=2, expires_at="2027-01-01"),
        said("license.updated", moment, seats=None, expires_at="2028-01-01"),
        said("license.updated", moment, seats=9, expires_at=None),
    ]
    await send(both)
    found = await state(shop)
    assert (found["status"], found["seats"]) == ("refunded", 2)
    assert found["expires_at"] == datetime(2027, 1, 2, tzinfo=UTC)


async def test_every_message_leaves_a_trace_in_the_history(shop, send):
    await send(
        [
            said("license.created", "2026-11-29T10:00:00Z", seats=1),
            said("license.suspended", "2026-11-29T10:00:03Z"),
            said("license.reinstated", "2026-11-29T10:00:02Z"),
            said("license.updated", "2026-11-29T10:00:04Z", seats=1),
        ]
    )
    rows = await shop.execute("SELECT reason, after FROM registry_changes ORDER BY changed_at, change_id")
    assert [row["reason"] for row in rows] == [
        "license.created, message msg_1",
        "license.suspended, message msg_2",
        "license.reinstated, message msg_3; later ones hold for status",
        "license.updated, message msg_4",
    ]
    assert [json.loads(row["after"]) for row in rows][2:] == [{}, {}]


async def test_what_somebody_took_away_since_is_not_given_back_by_a_late_message(shop, send):
    await send([said("license.created", "2026-11-01T10:00:00Z")])
    admin = await shop.program(Role.ADMIN)
    [made] = await licenses(shop)
    path = f"/api/v1/licenses/{made['license_id']}"
    assert (await admin.request("PATCH", path, json={"status": "revoked"})).status == 200
    await send([said("license.reinstated", "2026-11-01T10:00:01Z")])
    assert (await state(shop))["status"] == "revoked"
    await send([said("license.refunded", "2026-11-01T10:00:02Z")])
    assert (await state(shop))["status"] == "refunded"


STORY = [
    said("license.created", "2026-11-29T10:00:00Z", seats=3, expires_at="2027-01-01", customer_name="Ann"),
    said("license.updated", "2026-11-29T10:00:01Z", seats=5, customer_email="ann@example.com"),
    said("license.suspended", "2026-11-29T10:00:02Z"),
    said("license.updated", "2026-11-29T10:00:03Z", expires_at="2028-01-01", customer_name="Ann Lee"),
    said("license.reinstated", "2026-11-29T10:00:03Z", order_reference="4711"),
    said("license.refunded", "2026-11-29T10:00:03Z"),
]


async def test_messages_in_any_order_come_to_the_same(shop, send):
    """Each order on a license of its own; customers are told apart by e-mail, which is the same in all."""
    dice, found = random.Random(7), []
    for number in range(24):
        order = dice.sample(STORY, len(STORY)) if number else STORY
        keyed = [{**each, "data": each["data"] | {"key": f"SHOP-{number:04}"}} for each in order]
        assert await send(keyed) == [204] * len(order)
        [row] = await shop.execute(f"""
            SELECT l.status, l.seats, l.expires_at, l.order_reference, c.email, c.name
            FROM licenses AS l LEFT JOIN customers AS c USING (customer_id)
            WHERE l.key_hint = '{number:04}'
        """)
        found.append(tuple(row))
    there = datetime(2028, 1, 2, tzinfo=UTC)
    assert set(found) == {("refunded", 5, there, "4711", "ann@example.com", "Ann Lee")}


CHANGES_OF_CUSTOMER = [
    said("license.created", "2026-11-29T10:00:00Z", customer_email="ann@example.com", customer_name="Ann"),
    said("license.updated", "2026-11-29T10:00:01Z", customer_email="bob@example.com", customer_name="Bob"),
    said(
        "license.updated", "2026-11-29T10:00:02Z", customer_email="ann@example.com", customer_name="Ann Lee"
    ),
    said("license.updated", "2026-11-29T10:00:03Z", seats=2),
]


async def test_a_license_is_with_the_customer_of_the_latest_message_in_whatever_order_they_come(shop, send):
    """The first message names, when it comes late, the customer that holds: it must not make the third one older."""
    for number, order in enumerate(itertools.permutations(CHANGES_OF_CUSTOMER)):
        keyed = [{**each, "data": each["data"] | {"key": f"SHOP-{number:04}"}} for each in order]
        assert await send(keyed) == [204] * len(order)
    found = await shop.execute(
        "SELECT l.seats, c.email, c.name FROM licenses AS l JOIN customers AS c USING (customer_id)"
    )
    assert [tuple(row) for row in found] == [(2, "ann@example.com", "Ann Lee")] * 24


WITHOUT_A_CUSTOMER = [
    said("license.created", "2026-11-29T10:00:00Z", customer_email="ann@example.com", customer_name="Ann"),
    said("license.updated", "2026-11-29T10:00:01Z", customer_company="Ann's"),
    said("license.updated", "2026-11-29T10:00:02Z", customer_email=None),
    said("license.updated", "2026-11-29T10:00:03Z", customer_name="Bob"),
]


@pytest.mark.parametrize(("count", "customer"), [(3, (None, None, None)), (4, (None, "Bob", None))])
async def test_that_there_is_no_customer_holds_for_all_that_was_said_before_in_whatever_order(
    shop, send, count, customer
):
    orders = [*itertools.permutations(WITHOUT_A_CUSTOMER[:count])]
    for number, order in enumerate(orders):
        keyed = [{**each, "data": each["data"] | {"key": f"SHOP-{number:04}"}} for each in order]
        assert await send(keyed) == [204] * count
    found = await shop.execute(
        "SELECT c.email, c.name, c.company FROM licenses LEFT JOIN customers AS c USING (customer_id)"
    )
    assert [tuple(row) for row in found] == [customer] * len(orders)


async def test_a_customer_without_an_e_mail_from_before_there_was_none_does_not_come_back(shop, send):
    await send(
        [
            said("license.updated", "2026-11-29T10:00:01Z", customer_email=None),
            said("license.updated", "2026-11-29T10:00:02Z", customer_company="Bob's"),
            said("license.updated", "2026-11-29T10:00:00Z", customer_email=None, customer_name="Ann"),
        ]
    )
    found = await state(shop)
    assert (found["email"], found["name"]) == (None, None)


async def test_of_one_moment_a_name_stays_with_the_e_mail_whichever_comes_first(shop, send):
    moment = "2026-11-29T10:00:00Z"
    both = [
        said("license.updated", moment, customer_name="Ann"),
        said("license.updated", moment, customer_email="ann@example.com"),
    ]
    await send(both)
    found = await state(shop)
    assert (found["email"], found["name"]) == ("ann@example.com", "Ann")


@pytest.mark.parametrize("happened", ["yesterday", "99999-01-01", "0001-01-01T00:00:00+23:59"])
async def test_a_time_that_is_none_is_refused(shop, tell, happened):
    assert (await tell("license.created", key="SHOP-0001", happened=happened)).status == 422


async def test_the_same_message_many_times_at_once_is_carried_out_once(shop, tell):
    answers = await asyncio.gather(*(tell("license.created", key="SHOP-0001") for _ in range(8)))
    assert {answer.status for answer in answers} == {204}
    assert len(await shop.execute("SELECT * FROM registry_changes WHERE entity = 'license'")) == 1


async def test_a_refused_message_may_come_again_mended(shop, tell):
    answer = await tell("license.created", key="SHOP-0001", seats=-1)
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/data/seats"
    assert (await tell("license.created", key="SHOP-0001", seats=1)).status == 204
    assert [one["seats"] for one in await licenses(shop)] == [1]


async def test_a_foreign_or_an_old_signature_is_refused(shop, tell):
    assert (await tell("license.created", key="K-00000001", secret=b"x" * 24)).status == 401
    old = datetime.fromtimestamp(datetime.now(UTC).timestamp() - 400, UTC)
    assert (await tell("license.created", key="K-00000001", at=old)).status == 401
    assert await licenses(shop) == []


async def test_messages_of_other_types_are_taken_and_do_nothing(shop, tell):
    assert (await tell("invoice.paid", key=7)).status == 204
    assert await licenses(shop) == []


async def test_without_a_secret_the_address_takes_nothing(open_site):
    async with open_site() as site:
        answer = await site.client().request("POST", "/webhooks/shop", data=b"{}", headers=headers(b"{}"))
        assert answer.status == 404
        assert "TELEMETRY_SHOP_WEBHOOK_SECRET" in answer.json["detail"]
