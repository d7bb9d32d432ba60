"""Which passwords are refused, and what happens when many people sign in at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from telemetry_server.errors import Unavailable
from telemetry_server.show.access import passwords
from telemetry_server.show.access.passwords import LONGEST, SHORTEST, Passwords, WeakPassword, refuse_weak


@pytest.fixture
async def pool():
    async with Passwords() as opened:
        yield opened


async def is_weak(password, *known):
    try:
        await refuse_weak(password, *known)
    except WeakPassword:
        return True
    return False


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "Passw0rd!!!!", "P@ssw0rd2026", "dragondragon", "iloveyou2026!!", "qwertyuiopqw",
        "123456789012", "0987654321098", "aaaaaaaaaaaab", "abcabcabcabc", "zyxwvutsrqponml", "1111-2222-1",
    ],
)  # fmt: skip
async def test_a_password_made_of_a_common_one_is_refused(password):
    assert await is_weak(password)


async def test_common_passwords_with_something_around_them_are_refused():
    """At least 3,000 that are long enough, as ASVS 6.2.4 asks."""
    words = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= 8][:3_000]
    tried = [f"{word}{'2026!'[: max(1, 12 - len(word))]}" for word in words]
    assert len(words) == 3_000
    assert [password for password in tried if len(password) >= SHORTEST and not await is_weak(password)] == []


@pytest.mark.parametrize("known", ["ann.lovelace@example.com", "Ann Lovelace"])
async def test_a_password_made_of_what_is_known_of_the_person_is_refused(known):
    assert await is_weak(f"{known}1", known)
    assert await is_weak("AnnLovelace99", "Ann Lovelace")


@pytest.mark.parametrize(
    "password",
    ["seven wet otters sing", "korrekt-pferd-batterie", "q7#Zr!m2@Lx9", "雨が屋根を静かに叩いている夜", "rain on the tin roof " * 12],
)  # fmt: skip
async def test_long_and_unusual_ones_are_taken_without_rules_of_composition(password):
    assert not await is_weak(password)
    assert len(password) <= LONGEST


@given(st.text(min_size=1, max_size=300))
async def test_any_text_is_taken_or_refused(password):
    assert await is_weak(password) in {True, False}


async def test_an_accent_typed_on_another_keyboard_is_the_same(pool):
    stored = await pool.hash("un été à Liège")
    assert await pool.is_right(stored, "un e\u0301te\u0301 a\u0300 Lie\u0300ge")
    assert not await pool.is_right(stored, "un ete a Liege")
    assert stored.startswith("$argon2id$")


async def test_a_damaged_hash_opens_nothing(pool):
    for stored in (None, "", "$argon2id$", "x" * 100):
        assert not await pool.is_right(stored, "")


async def test_a_flood_of_sign_ins_is_refused_beyond_its_bound(pool, monkeypatch):
    monkeypatch.setattr(passwords, "_MOST_WAITING", 4)
    stored = await pool.hash("seven wet otters sing")
    await pool.is_right(None, "")
    answers = await asyncio.gather(*(pool.is_right(stored, "x") for _ in range(9)), return_exceptions=True)
    assert [answer for answer in answers if answer is False] == [False] * 4
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 5


async def test_a_hash_of_other_parameters_is_outdated(pool):
    assert not pool.is_outdated(await pool.hash("seven wet otters sing"))
    assert pool.is_outdated(
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b3dWRWJTmaaJObG8DZ9Ut8HkZU"
    )
