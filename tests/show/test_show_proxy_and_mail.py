"""Sign-in by a proxy in front of the server, and e-mail to people."""

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from patience import until
from test_show_accounts import PASSWORD, colleague, link_in, person_id, sign_in, submit

from telemetry_server import mailer
from telemetry_server.errors import SettingsError, Unavailable
from telemetry_server.jobs.audit_checkpoint import write_audit_checkpoint
from telemetry_server.jobs.audit_mail import mail_audit_checkpoint
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Role
from telemetry_server.settings import Settings
from telemetry_server.show.access.proxy import SECRET_HEADER
from telemetry_server.store.access import people
from telemetry_server.store.access.audit_checkpoints import checkpoints_in, signer_of

SECRET = "a secret of the proxy and us"
HERE, ELSEWHERE = (ip_network("127.0.0.0/8"),), (ip_network("192.0.2.0/24"),)


def named(email, secret=SECRET):
    return {"X-Forwarded-Email": email, SECRET_HEADER: secret}


def proxied(**more):
    return {"proxy_sign_in_header": "X-Forwarded-Email", "proxy_sign_in_secret": SECRET} | more


@pytest.fixture
async def behind(open_site):
    async with open_site(**proxied(trusted_proxies=HERE)) as site:
        await site.with_database(account, "ann@example.com")
        yield site


async def account(connection, email):
    now = datetime.now(UTC)
    secret = await people.invite(connection, email, Role.ADMIN, by="x", now=now)
    await people.accept_invitation(connection, secret, "", "no hash", now=now)


async def test_whom_the_proxy_names_is_signed_in(behind):
    browser = behind.client(**named("Ann@example.com"))
    answer = await browser.get("/installations")
    assert answer.headers["Location"] == "/sign-in?next=/installations"
    answer = await browser.get(answer.headers["Location"])
    assert (answer.status, answer.headers["Location"]) == (303, "/installations")
    assert (await browser.get("/installations")).status == 200


async def test_behind_a_proxy_the_second_factor_of_the_account_is_asked_for(behind):
    await behind.execute("UPDATE people SET totp_salt = '\\x00', totp_since = now(), totp_step = 1")
    browser = behind.client(**named("ann@example.com"))
    answer = await browser.get("/sign-in?next=/installations")
    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in/code?next=/installations")
    assert (await browser.get("/installations")).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        named("ann@example.com", "wrong"),
        named("ann@example.com", ""),
        {"X-Forwarded-Email": "ann@example.com"},
        named("ann@example.com, bob@example.com"),
        named("nonsense"),
        {SECRET_HEADER: SECRET},
    ],
)
async def test_without_the_secret_or_an_address_the_header_is_nothing(behind, headers):
    answer = await behind.client(**headers).get("/sign-in")
    assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)


async def test_from_another_address_the_header_is_nothing(open_site):
    for settings in (proxied(trusted_proxies=ELSEWHERE), {"trusted_proxies": HERE}):
        async with open_site(**settings) as site:
            await site.with_database(account, f"ann{len(settings)}@example.com")
            headers = named(f"ann{len(settings)}@example.com") | {"X-Forwarded-For": "192.0.2.7"}
            answer = await site.client(**headers).get("/sign-in")
            assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)


async def test_the_proxy_makes_no_accounts(behind):
    answer = await behind.client(**named("bob@example.com")).get("/sign-in")
    assert (answer.status, "no account of bob@example.com" in answer.text) == (403, True)


async def test_a_session_of_the_proxy_counts_only_behind_it_and_for_that_person(behind):
    browser = behind.client(**named("ann@example.com"))
    await browser.get("/sign-in")
    cookie = f"session={browser.cookies['session'].value}"
    for headers, status in (
        (named("ann@example.com"), 200),
        ({}, 303),
        (named("bob@example.com"), 303),
        (named("ann@example.com", "wrong"), 303),
    ):
        assert (await behind.client(Cookie=cookie, **headers).get("/account")).status == status


async def test_behind_a_proxy_it_signs_in_again_too(behind):
    browser = behind.client(**named("ann@example.com"))
    await browser.get("/sign-in")
    await behind.execute("UPDATE sessions SET authenticated_at = now() - interval '11 minutes'")
    answer = await submit(browser, "/people/invite", of="/people", email="bo@example.com", role="viewer")
    before = browser.cookies["session"].value
    again = await browser.get(answer.headers["Location"])
    assert (again.status, again.headers["Location"]) == (303, "/people")
    assert browser.cookies["session"].value != before
    answer = await submit(browser, "/people/invite", of="/people", email="bo@example.com", role="viewer")
    assert answer.status == 200


# ── e-mail ──────────────────────────────────────────────────────────────────────────────────


class Inbox:
    """What an SMTP server received."""

    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
        self.messages.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@pytest.fixture
def smtp(unused_tcp_port):
    def only_us(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"tele", b"p@ss"))

    inbox = Inbox()
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=unused_tcp_port,
        authenticator=only_us,
        auth_require_tls=False,
        auth_required=True,
    )
    controller.start()
    inbox.url = f"smtp://tele:p%40ss@127.0.0.1:{unused_tcp_port}"
    yield inbox
    controller.stop()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_an_invitation_is_sent_and_changed_factors_are_announced(open_site, smtp):
    async with open_site(smtp_url=smtp.url, mail_from="telemetry@example.com") as site:
        admin = await colleague(site, "admin@example.com", Role.ADMIN)
        page = await submit(admin, "/people/invite", of="/people", email="bo@example.com", role="viewer")
        assert "It was sent by e-mail" in page.text
        [(to, message)] = smtp.messages
        assert (to, "/invitation?token=" in message) == (["bo@example.com"], True)
        await colleague(site)
        ann = f"/people/{await person_id(site)}"
        await submit(admin, ann, of="/people", action="role", role="analyst")
        assert smtp.messages[-1][0] == ["ann@example.com"]
        assert "changed your role" in smtp.messages[-1][1]
        assert (await sign_in(site.client(), password=PASSWORD)).status == 303
        assert len(smtp.messages) == 2
        page = await submit(admin, ann, of="/people", action="password_link")
        form = {"token": link_in(page).partition("=")[2], "password": "eight dry otters sing"}
        assert (await site.client().post("/invitation", **form)).status == 303
        assert [to for to, _ in smtp.messages[2:]] == [["ann@example.com"]] * 2
        assert "password of your account was changed" in smtp.messages[-1][1]
        await site.person(Role.ADMIN)
        to, message = smtp.messages[-1]
        assert (to, "one-time link of the command line was used" in message) == (["admin@example.com"], True)


async def test_a_failing_mail_server_does_not_undo_a_change(open_site, unused_tcp_port):
    url = f"smtp://127.0.0.1:{unused_tcp_port}"
    async with open_site(smtp_url=url, mail_from="telemetry@example.com") as site:
        admin = await colleague(site, "admin@example.com", Role.ADMIN)
        page = await submit(admin, "/people/invite", of="/people", email="bo@example.com", role="viewer")
        assert (page.status, "hand it over" in page.text) == (200, True)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_privacy_officers_get_the_newest_checkpoint_by_mail(site, connection, smtp, tmp_path):
    keyring = open_keyring(tmp_path / "keyring.json")
    settings = Settings(data=tmp_path, smtp_url=smtp.url, mail_from="telemetry@example.com")
    run, now = mail_audit_checkpoint(mailer.Mailer(settings)), datetime.now(UTC)
    assert await run(connection, now) == "no checkpoint"
    await colleague(site)
    await until(lambda: connection.fetchval("SELECT NOT EXISTS (SELECT FROM audit_waiting)"))
    await write_audit_checkpoint(keyring.path, None, "")(connection, now)
    assert await run(connection, now) == "no privacy officer"
    await colleague(site, "dpo@example.com", Role.PRIVACY_OFFICER)
    assert (await run(connection, now)).endswith("to 1 of 1")
    [(to, message)] = smtp.messages
    assert to == ["dpo@example.com"]
    (tmp_path / "mail").write_text(message)
    [checkpoint] = checkpoints_in(tmp_path / "mail", signer_of(keyring).verifier)
    assert checkpoint.size > 1
    assert await mail_audit_checkpoint(mailer.Mailer(Settings()))(connection, now) == "no SMTP server is set"


async def test_a_checkpoint_that_no_one_got_fails_the_job(site, connection, unused_tcp_port, tmp_path):
    await colleague(site, "dpo@example.com", Role.PRIVACY_OFFICER)
    keyring, now = open_keyring(tmp_path / "keyring.json"), datetime.now(UTC)
    await write_audit_checkpoint(keyring.path, None, "")(connection, now)
    url = f"smtp://127.0.0.1:{unused_tcp_port}"
    silent = mailer.Mailer(Settings(smtp_url=url, mail_from="telemetry@example.com"))
    with pytest.raises(Unavailable, match="No checkpoint was sent"):
        await mail_audit_checkpoint(silent)(connection, now)


def test_without_aiosmtplib_a_server_with_smtp_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(mailer, "find_spec", lambda _: None)
    mailer.Mailer(Settings(data=tmp_path))
    with pytest.raises(SettingsError, match=r"license-telemetry-server\[mail\]"):
        mailer.Mailer(Settings(data=tmp_path, smtp_url="smtp://a", mail_from="a@b"))
