"""Support access: granting it for a case, listing and revoking it. Every method waits for disk and network.

What is secret is sealed here, before it is stored or sent. The sealed request stays in the outbox until the
server has acknowledged it.
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64encode
from calendar import timegm
from typing import Any, Callable, Dict, List, Optional

from . import _answers as answers
from . import _authorized_keys as authorized_keys
from . import _identity as identity
from . import _wire as wire
from ._answers import Answer
from ._engine import Engine
from ._identity import Identity, Request
from ._ledger import Ledger
from ._outbox import Outbox
from ._problems import Problems
from ._settings import DAY, Settings
from ._support_requests import OUTCOMES, enqueue
from ._transport import Transport

HOURS, MOST_HOURS = 72.0, 14 * 24.0
KEPT_SECONDS = 90 * DAY
ACCOUNT_KINDS = ("email", "mysql", "ssh", "other")
GRANTS = "support_grants"
_CASE = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_OK = 200

Json = Dict[str, Any]


class Support:
    """The support access of one state directory. ValueError has a sentence for whoever asked."""

    def __init__(
        self,
        settings: Settings,
        problems: Problems,
        *,
        post: Optional[Callable[[Request], Answer]] = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._outbox = Outbox(settings.state_dir)
        self._post = post or Transport(settings).post
        self._engine = Engine(settings, problems, post=self._post)
        self._clock = clock

    def grant(
        self,
        case: str,
        *,
        ssh: Optional[Json] = None,
        root_dir: Optional[str] = None,
        accounts: Optional[List[Json]] = None,
        hours: Optional[float] = None,
    ) -> Json:
        """Grants access for a case; returns the grant, its `state`, and perhaps a `line` for authorized_keys.

        `ssh` has the `user`, and perhaps `host`, `port`, `password`, `key` (True: a key pair is made for this
        grant) and `authorized_keys` (the file to which the line is added). Without password and key, the
        support team signs in with a certificate. Each account has a `kind` of ACCOUNT_KINDS, a `name`, and
        perhaps `password` and `note`. Raises ValueError and Unavailable.
        """
        self._refuse(case, ssh, accounts, hours)
        known, keys, now = self._identity(), self._keys(), self._clock()
        key = _key_at(keys, now)
        until = min(now + (HOURS if hours is None else hours) * 3600, _seconds(key["kept_until"]) - DAY)
        grant: Json = {
            "grant_id": wire.uuid7(),
            "case": case,
            "granted_at": wire.timestamp(now),
            "not_after": time.strftime(_TIME, time.gmtime(until)),
            "accounts": [f"{each['kind']} {each['name']}" for each in accounts or []],
            "identity": known._asdict(),
        }
        content = {"root_dir": root_dir, "accounts": accounts, "ssh": _sign_in(grant, ssh, keys, until)}
        body = self._sealed(known, key, grant, {name: each for name, each in content.items() if each})
        with self._outbox.transaction() as ledger:
            if self._outbox.in_memory:
                raise ValueError(
                    f"nothing can be kept in {self._settings.state_dir}: {self._outbox.why_memory}"
                )
            first = now - KEPT_SECONDS
            kept = [each for each in ledger.get(GRANTS, []) if _seconds(each["not_after"]) > first]
            ledger.put(GRANTS, [*kept, grant])
            _enqueue(ledger, grant, wire.GRANTS_PATH, body)
        if grant.get("authorized_keys"):
            authorized_keys.add(grant["authorized_keys"], grant["line"])
        self._engine.insist()
        return next(each for each in self.grants() if each["grant_id"] == grant["grant_id"])

    def grants(self) -> List[Json]:
        """The grants of this state directory with their `state`, the newest last. Raises Unavailable."""
        with self._outbox.look() as ledger:
            known, outcomes = ledger.get(GRANTS, []), ledger.get(OUTCOMES, {})
        shown = [{name: value for name, value in each.items() if name != "identity"} for each in known]
        return [{**each, "state": self._state(each, outcomes)} for each in shown]

    def revoke(self, which: str) -> List[Json]:
        """Revokes the grant of this id, or all of this case; returns them.

        Their lines are removed from the files that they were added to. `sessions` has the open sign-ins of
        the user, which revoking does not end. Raises ValueError and Unavailable.
        """
        found = [each for each in self.grants() if which in (each["grant_id"], each["case"])]
        ids = {
            each["grant_id"] for each in found if not each.get("revoked_at") and each["state"] != "expired"
        }
        if not ids:
            raise ValueError(f"there is no valid grant for {which}")
        with self._outbox.transaction() as ledger:
            known = ledger.get(GRANTS, [])
            for each in known:
                if each["grant_id"] in ids:
                    each["revoked_at"] = wire.timestamp(self._clock())
                    _enqueue(ledger, each, wire.REVOKE_PATH, json.dumps({"grant_id": each["grant_id"]}))
            ledger.put(GRANTS, known)
        for each in found:
            if each["grant_id"] in ids and each.get("authorized_keys"):
                authorized_keys.remove(each["authorized_keys"], each["grant_id"])
        self._engine.insist()
        ended = [each for each in self.grants() if each["grant_id"] in ids]
        return [{**each, "sessions": authorized_keys.open_sessions(each.get("user"))} for each in ended]

    # ── its steps ───────────────────────────────────────────────────────────────────────────

    def _refuse(
        self, case: str, ssh: Optional[Json], accounts: Optional[List[Json]], hours: Optional[float]
    ) -> None:
        if self._settings.is_forbidden:
            raise ValueError(str(self._settings.why_off))
        if not isinstance(case, str) or not _CASE.fullmatch(case):
            raise ValueError("a case is named by lower-case letters, digits and hyphens, such as 4711")
        if hours is not None and not 0 < hours <= MOST_HOURS:
            raise ValueError(f"a grant is valid for up to {MOST_HOURS:.0f} hours")
        if ssh and not ssh.get("user"):
            raise ValueError("ssh needs the name of the user")
        for each in accounts or []:
            if each.get("kind") not in ACCOUNT_KINDS or not each.get("name"):
                raise ValueError(f"an account has a name, and its kind is one of {', '.join(ACCOUNT_KINDS)}")
        if not self._settings.support_root:
            raise ValueError(
                "the vendor's root key is not known: pass support_root or set LICENSE_TELEMETRY_SUPPORT_ROOT"
            )

    def _identity(self) -> Identity:
        """The identity; a copy without one enrols, as its customer asks for something."""
        with self._outbox.look() as ledger:
            known = ledger.identity()
        if known is not None:
            return known
        answer = self._post(identity.enrolment(self._settings.product_key or "", None))
        fresh = answers.issued(answer)
        if fresh is None:
            raise ValueError(f"{self._settings.endpoint} gave this copy no identity ({_why(answer)})")
        with self._outbox.transaction() as ledger:
            known = ledger.identity()
            if known is None:
                ledger.adopt(fresh)
        return known or fresh

    def _keys(self) -> Json:
        """The support team's keys, as the vendor's root has signed them."""
        from . import grants  # noqa: PLC0415  only who grants something needs cryptography

        answer = self._post(Request(wire.KEYS_PATH, {}, b"", method="GET"))
        if answer.status != _OK:
            raise ValueError(f"{self._settings.endpoint} has no list of support keys ({_why(answer)})")
        signed = answer.body.decode("utf-8", "replace")
        return grants.verify_keys(signed, str(self._settings.support_root))

    def _sealed(self, known: Identity, key: Json, grant: Json, content: Json) -> str:
        """The body of the request, with the content sealed."""
        from . import grants  # noqa: PLC0415

        bound = {
            "case": str(grant["case"]),
            "not_after": str(grant["not_after"]),
            "notice": self._settings.notice_version or "",
        }
        sealed = grants.seal(
            json.dumps(content).encode(),
            key["public_key"],
            product=known.product,
            installation=known.installation_id,
            key_id=key["id"],
            **bound,
        )
        envelope = urlsafe_b64encode(sealed).decode().rstrip("=")
        about = {"grant_id": grant["grant_id"], "key": key["id"], "ssh": grant.get("ssh"), "sealed": envelope}
        return json.dumps({**bound, **about})

    def _state(self, grant: Json, outcomes: Dict[str, str]) -> str:
        if grant.get("revoked_at"):
            done = wire.REVOKE_PATH + grant["grant_id"] in outcomes
            return "revoked" if done else "revoked, not acknowledged yet"
        if _seconds(grant["not_after"]) <= self._clock():
            return "expired"
        return outcomes.get(wire.GRANTS_PATH + grant["grant_id"], "not acknowledged yet")


def _sign_in(grant: Json, ssh: Optional[Json], keys: Json, until: float) -> Optional[Json]:
    """How the support team signs in, to be sealed; the grant gets the line for authorized_keys."""
    if not ssh:
        return None
    sealed = {name: ssh[name] for name in ("user", "host", "port", "password") if ssh.get(name)}
    grant.update(ssh="password" if ssh.get("password") else "certificate", user=ssh["user"])
    bounds = {"case": grant["case"], "networks": keys.get("networks", []), "until": until}
    if ssh.get("key"):
        from . import grants  # noqa: PLC0415

        pair = grants.ssh_key_pair()
        sealed["private_key"] = pair["private"]
        grant.update(ssh="key", line=authorized_keys.line(pair["public"], grant["grant_id"], **bounds))
    elif grant["ssh"] == "certificate":
        of_a_ca = authorized_keys.line(keys["ssh_ca"], grant["grant_id"], authority=True, **bounds)
        grant["line"] = of_a_ca
    if grant.get("line") and ssh.get("authorized_keys"):
        grant["authorized_keys"] = str(ssh["authorized_keys"])
    return sealed


def _enqueue(ledger: Ledger, grant: Json, path: str, body: str) -> None:
    about = path + grant["grant_id"]
    until = _seconds(grant["not_after"])
    enqueue(ledger, about, path, body, identity=grant["identity"], until=until)


def _key_at(keys: Json, now: float) -> Json:
    """The key of this week that is kept longest. Raises ValueError."""
    usable = [
        each
        for each in keys.get("keys", [])
        if each.get("suite") == 1 and _seconds(each["use_from"]) <= now < _seconds(each["use_until"])
    ]
    if not usable:
        raise ValueError("the vendor's list has no support key for this week")
    return dict(max(usable, key=lambda each: str(each["kept_until"])))


def _seconds(text: str) -> float:
    return float(timegm(time.strptime(text, _TIME)))


def _why(answer: Answer) -> str:
    return answer.trouble or f"HTTP {answer.status}"
