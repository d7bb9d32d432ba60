"""The commands `license-telemetry support grant|list|revoke`, for whoever runs the installation."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import Any, Callable, Dict, Optional

from ._problems import Problems
from ._settings import Settings
from ._support import ACCOUNT_KINDS, MOST_HOURS, Support

DONE, FAILED = 0, 1

Json = Dict[str, Any]


def add_to(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Adds them to the commands of a parser."""
    words = "Grant the vendor's support team access for a case, or end it."
    support = commands.add_parser("support", help=words, description=words)
    below = support.add_subparsers(metavar="COMMAND", required=True)
    for name, run in (("grant", _grant), ("list", _list), ("revoke", _revoke)):
        words = (run.__doc__ or "").strip()
        command = below.add_parser(name, parents=[shared], help=words, description=words)
        command.set_defaults(run=_running(run))
        command.add_argument("--json", action="store_true", help="for scripts")
        if name == "grant":
            _add_what_is_granted(command)
        if name == "revoke":
            command.add_argument("which", metavar="GRANT|CASE")


def _add_what_is_granted(command: argparse.ArgumentParser) -> None:
    command.add_argument("case", metavar="CASE", help="as the support team named it")
    for name, words in (
        ("--ssh-user", "the user to sign in as; by certificate, unless one of the next two is given"),
        ("--ssh-host", "its host"),
        ("--ssh-port", "its port"),
        ("--authorized-keys", "add the line to this file, which `support revoke` takes out again"),
        ("--root-dir", "the root directory of the installed software"),
    ):
        command.add_argument(name, help=words)
    command.add_argument("--ssh-key", action="store_true", help="make a key pair for this grant")
    command.add_argument("--ssh-password", action="store_true", help="ask for the password, or read it")
    command.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help=f"an affected account, whose password is asked for; {', '.join(ACCOUNT_KINDS)}",
    )
    command.add_argument("--hours", type=float, help=f"72 if omitted, at most {MOST_HOURS:.0f}")


def _grant(options: argparse.Namespace, support: Support) -> int:
    """Seal access for CASE and send it; passwords are asked for, or read from standard input, one a line."""
    ssh: Optional[Json] = None
    if options.ssh_user:
        ssh = {"user": options.ssh_user, "host": options.ssh_host, "port": options.ssh_port}
        ssh.update(key=options.ssh_key, authorized_keys=options.authorized_keys)
        if options.ssh_password:
            ssh["password"] = _password(f"Password of {options.ssh_user}: ")
    accounts = [_account(text) for text in options.account]
    made = support.grant(
        options.case, ssh=ssh, root_dir=options.root_dir, accounts=accounts, hours=options.hours
    )
    if options.json:
        _print_json(made)
    else:
        _print(f"Granted for case {made['case']} until {made['not_after']}: {made['state']}.")
        if made.get("line") and not made.get("authorized_keys"):
            _print(f"Add this line to ~{made['user']}/.ssh/authorized_keys:\n\n{made['line']}\n")
        elif made.get("line"):
            _print(f"The line was added to {made['authorized_keys']}.")
        _print(f"To end it: license-telemetry support revoke {made['grant_id']}")
    return FAILED if made["state"] == "refused" else DONE


def _list(options: argparse.Namespace, support: Support) -> int:
    """List the grants of this state directory, without what was sealed."""
    found = support.grants()
    if options.json:
        _print_json({"grants": found})
    for each in [] if options.json else found:
        _print(f"{each['grant_id']}  case {each['case']}  until {each['not_after']}  {each['state']}")
    return DONE


def _revoke(options: argparse.Namespace, support: Support) -> int:
    """End a grant, or all of a case; shows open sign-ins, and the passwords to change."""
    ended = support.revoke(options.which)
    if options.json:
        _print_json({"grants": ended})
    for each in [] if options.json else ended:
        _print(f"{each['grant_id']} of case {each['case']}: {each['state']}.")
        if each.get("line"):
            _print(
                f"  Its line was removed from {each['authorized_keys']}."
                if each.get("authorized_keys")
                else f"  Remove its line from ~{each['user']}/.ssh/authorized_keys, if you added it."
            )
        granted = [*each["accounts"], *([f"ssh {each['user']}"] if each.get("ssh") == "password" else [])]
        if granted:
            _print(f"  Change these passwords now: {', '.join(granted)}.")
        for session in each["sessions"]:
            _print(f"  Still signed in: {session}")
    return DONE


# ── what they share ─────────────────────────────────────────────────────────────────────────


def _running(run: Callable[[argparse.Namespace, Support], int]) -> Callable[..., int]:
    def with_support(options: argparse.Namespace, settings: Settings, _engine: object) -> int:
        problems = Problems()
        problems.debug = settings.debug
        try:
            return run(options, Support(settings, problems))
        except ImportError as error:
            sys.stderr.write(f"{error}.\n")
            return FAILED

    return with_support


def _account(text: str) -> Json:
    kind, _, name = text.partition(":")
    if kind not in ACCOUNT_KINDS or not name:
        raise ValueError(f"{text!r} is no KIND:NAME; the kinds are {', '.join(ACCOUNT_KINDS)}")
    return {"kind": kind, "name": name, "password": _password(f"Password of {name}, or nothing: ")}


def _password(words: str) -> str:
    """Never an argument: those are in the list of processes and in the shell's history."""
    return getpass.getpass(words) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_json(document: object) -> None:
    _print(json.dumps(document, indent=2, ensure_ascii=False))
