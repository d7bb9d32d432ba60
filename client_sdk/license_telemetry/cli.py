"""The command `license-telemetry`: see what is sent, send it, switch it off, carry it over an air gap."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import _bundle, _check, _statements, _support_commands
from . import _levels as levels
from . import _ping as pings
from . import _wire as wire
from ._claims import claim_words, key_words
from ._counters import LARGEST_COUNT, Counters, counters_in_memory, open_counters
from ._engine import Engine
from ._outbox import FILE, Unavailable
from ._problems import Problems
from ._settings import LEVELS, SOURCES, STATUSES, Settings, is_name, state_home
from ._uploader import Delivery
from ._version import __version__

DONE, FAILED = 0, 1


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; 0 when it did what it says, 1 when not, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        endpoint=options.endpoint,
        product_key=options.product_key,
        product=options.product or _only_product(options),
        version=options.version,
        build=options.build,
        environment=options.environment,
        level=options.level,
        state_dir=options.state_dir,
        notice_version=options.notice_version,
        proxy=options.proxy,
        ca_file=options.ca_file,
        support_root=options.support_root,
        debug=options.debug,
    )
    problems = Problems()
    problems.debug = settings.debug
    for kind, text in settings.troubles.items():
        problems.note(kind, text)
    try:
        done = int(options.run(options, settings, Engine(settings, problems)))
        sys.stdout.flush()
        return done
    except BrokenPipeError:  # the reader has closed the pipe; the interpreter flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (Unavailable, ValueError) as error:
        return _fail(f"{error}.")


# ── the commands ────────────────────────────────────────────────────────────────────────────


def _preview(options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Print the next ping exactly as it would be sent. Sends nothing, changes nothing."""
    engine.counters = counters_in_memory()
    _hand_over(options, settings, engine, engine.counters)
    _print(json.dumps(engine.preview(), indent=2, ensure_ascii=False))
    why_off = engine.status()["why_off"]
    if why_off:
        sys.stderr.write(f"Nothing is sent now: {why_off}.\n")
    return DONE


def _send(options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Send one real ping now, with all that is queued, and show the result."""
    before = engine.status()
    if not before["enabled"]:
        return _fail(f"Not sent: {before['why_off']}.")
    if not _queue(options, settings, engine):
        return _fail(f"Not sent: {engine.status()['trouble']}.")
    ping_id = engine.newest()
    delivery = engine.insist()
    after = engine.status()
    if delivery is not Delivery.EMPTY:
        outcome = "Not sent" if after["last_acknowledged"] == before["last_acknowledged"] else "Not all sent"
        return _fail(f"{outcome}: {_why_not(delivery, settings, after)}; {after['queued']} queued for later.")
    if after["refused"] > before["refused"]:
        return _fail(f"Not sent: {settings.endpoint} refused it ({after['last_answer']['detail']}).")
    if after["storage"] == "memory":
        sys.stderr.write(
            f"Nothing can be kept in {settings.state_dir} ({after['why_memory']}):"
            " each run of this command is an installation of its own.\n"
        )
    number = engine.number_of(ping_id)
    what = "the ping" if number is None else f"ping {number}"
    _print(f"Sent: {settings.endpoint} acknowledged {what} of {after['installation_id']}.")
    return DONE


def _status(options: argparse.Namespace, _settings: Settings, engine: Engine) -> int:
    """Show identity, queue, last answer, next ping, level and what was lost."""
    standing = engine.status()
    if options.json:
        _print(json.dumps(standing, indent=2, ensure_ascii=False))
        return DONE
    for name, value in standing.items():
        _print(f"{name.replace('_', ' '):<18} {_said(value)}")
    return DONE


def _on(_options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Undo `off` for this state directory."""
    done = _switch(settings, engine, on=True)
    if done == DONE and engine.is_forgetting():
        _print(
            "The request to erase this installation still waits for the server. Until it is acknowledged,"
            " pings go out as this installation; then they belong to a new one."
        )
    return done


def _off(_options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Stop collecting and sending for this state directory; what was counted so far is dropped."""
    return _switch(settings, engine, on=False)


def _forget(options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Ask the server to erase what it has of this installation, and switch telemetry off here."""
    if engine.status()["installation_id"] is None:
        _print("The server knows no installation of this state directory.")
        return _switch(settings, engine, on=False)
    engine.forget(options.reason)
    if engine.insist() is Delivery.EMPTY:
        _print(f"{settings.endpoint} has the request. Switched off for {settings.state_dir}.")
        return DONE
    last = engine.status()["last_answer"] or {}
    why = f"{settings.endpoint} said {last.get('detail', 'nothing')}"
    if not settings.endpoint:
        why = "there is no endpoint: pass --endpoint or set LICENSE_TELEMETRY_ENDPOINT"
    return _fail(
        f"Switched off for {settings.state_dir}. The request is kept there and not acknowledged yet: {why}."
        " The software sends it again, and so does this command."
    )


def _export(options: argparse.Namespace, settings: Settings, engine: Engine) -> int:
    """Write all that waits for the server into a signed bundle, for a machine that may not go online."""
    if (options.to is None) == (options.file is None):
        return _fail("Name the file of the bundle: license-telemetry export --to FILE.")
    if options.to is not None:
        return _export_bundle(options.to, settings, engine)
    count = engine.export(options.file)
    uploads = "upload" if count == 1 else "uploads"
    _print(f"{count} {uploads} written to {options.file}; the pings stay queued until they are acknowledged.")
    return DONE


def _export_bundle(path: str, settings: Settings, engine: Engine) -> int:
    exported = _bundle.export(engine, path)
    if exported.paths == [wire.ENROLL_PATH]:
        said = f"The request for an identity is in {path}; the pings follow once its receipts are imported."
    else:
        said = f"{_requests(len(exported.paths))} written to {path}, which wait here for the receipts."
    _print(said)
    where = f"{settings.endpoint}/bundle, or anyone at the vendor" if settings.endpoint else "the vendor"
    _print(f"Carry it to {where}, and bring the receipts back: license-telemetry import FILE")
    if exported.left:
        sys.stderr.write(f"{exported.left} more found no room: export again after importing the receipts.\n")
    return DONE


def _import(options: argparse.Namespace, _settings: Settings, engine: Engine) -> int:
    """Take the receipts that the server gave for a bundle: what it acknowledged is no longer queued."""
    done = _bundle.follow(engine, options.file)
    _print(f"{_pings(done.acknowledged)} acknowledged, {done.refused} refused; {done.queued} still queued.")
    for line in done.news:
        _print(line)
    if done.not_taken:
        sys.stderr.write(f"{_requests(done.not_taken)} not taken: export again, later.\n")
    return DONE


def _import_enrolment(options: argparse.Namespace, _settings: Settings, engine: Engine) -> int:
    """Take over an identity from an enrolment file, for a machine that may not go online."""
    try:
        installation_id = engine.adopt(json.loads(Path(options.file).read_text("utf-8")))
    except ValueError:
        return _fail(f"{options.file} is no enrolment file; `telemetry-server enroll` writes them.")
    _print(f"This is now installation {installation_id}.")
    return DONE


def _check_all(_options: argparse.Namespace, settings: Settings, _engine: Engine) -> int:
    """Try endpoint, key, clock, disk, lock and proxy, and say what to do about what is wrong."""
    findings = list(_check.findings(settings))
    for finding in findings:
        _print(f"{'ok   ' if finding.sound else 'WRONG'} {finding.name:<12} {finding.text}")
    return DONE if all(finding.sound for finding in findings) else FAILED


def _facts(_options: argparse.Namespace, settings: Settings, _engine: Engine) -> int:
    """Print what is found out about this machine, at the level that is allowed."""
    found = levels.strip(pings.facts(settings.level, settings.product), settings.level)
    _print(json.dumps(found, indent=2, ensure_ascii=False))
    return DONE


# ── what they share ─────────────────────────────────────────────────────────────────────────


def _switch(settings: Settings, engine: Engine, *, on: bool) -> int:
    """Say that it is switched only where the software will find it: on disk, in a directory it has used."""
    word, is_new = ("on" if on else "off"), not os.path.exists(os.path.join(settings.state_dir or "", FILE))
    engine.switch(on=on)
    standing = engine.status()
    if standing["storage"] == "memory":
        return _fail(
            f"Not switched {word}: nothing can be kept in {settings.state_dir} ({standing['why_memory']})."
            " Run the command as the user of the software, or name its directory with --state-dir."
        )
    _print(f"Switched {word} for {settings.state_dir}.")
    if is_new:
        sys.stderr.write("No software has used this directory yet: is it the software's state_dir?\n")
    return DONE


def _hand_over(options: argparse.Namespace, settings: Settings, engine: Engine, counters: Counters) -> None:
    if options.status:
        words = claim_words(
            options.status,
            options.source,
            options.source_detail,
            options.edition or settings.edition,
            options.expires_at,
        )
        words.update(key_words(engine.product(), options.key))
        counters.say("license", _statements.write(time.time(), words))
    for name, count in options.feature:
        counters.add(name, count)


def _queue(options: argparse.Namespace, settings: Settings, engine: Engine) -> bool:
    """A ping is on disk: that of a new license claim or, without one, a ping for its own sake."""
    queued = engine.status()["queued"]
    engine.counters = open_counters(settings.state_dir)
    _hand_over(options, settings, engine, engine.counters)
    if not engine.collect():
        return False
    if engine.status()["queued"] == queued:
        engine.counters.say("ping", _statements.write(time.time(), {}))
    return engine.collect(report=True)  # a person does not wait a minute


def _why_not(delivery: Delivery, settings: Settings, standing: Dict[str, Any]) -> str:
    if delivery is Delivery.ELSEWHERE:
        return "another process is sending"
    if not settings.endpoint:
        return "there is no endpoint"
    if not standing["installation_id"] and not settings.product_key:
        return "there is neither a product key nor an enrolment"
    last = standing["last_answer"] or {}
    return f"{settings.endpoint}: {last.get('outcome', 'unanswered')} ({last.get('detail', 'no answer')})"


def _only_product(options: argparse.Namespace) -> Optional[str]:
    """Without a word on the product: the one that has a state directory here, when it is the only one."""
    home = state_home()
    if options.product_key or options.state_dir or home is None or not Path(home).is_dir():
        return None
    names = [entry.name for entry in Path(home).iterdir() if entry.is_dir()]
    return names[0] if len(names) == 1 else None


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == [] else str(value)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _pings(count: int) -> str:
    return "1 ping" if count == 1 else f"{count} pings"


def _fail(reason: str) -> int:
    sys.stderr.write(reason + "\n")
    return FAILED


# ── the arguments ───────────────────────────────────────────────────────────────────────────


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="license-telemetry", description=__doc__.split("\n", 1)[0])
    parser.add_argument("-V", action="version", version=f"license-telemetry {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    shared, said, file = _shared(), _claims(), argparse.ArgumentParser(add_help=False)
    file.add_argument("file", metavar="FILE")
    for name, run, parents in (
        ("preview", _preview, [shared, said]),
        ("send", _send, [shared, said]),
        ("status", _status, [shared]),
        ("on", _on, [shared]),
        ("off", _off, [shared]),
        ("export", _export, [shared]),
        ("import", _import, [shared, file]),
        ("import-enrolment", _import_enrolment, [shared, file]),
        ("forget", _forget, [shared]),
        ("check", _check_all, [shared]),
        ("facts", _facts, [shared]),
    ):
        words = (run.__doc__ or "").strip()
        command = commands.add_parser(name, parents=parents, help=words, description=words)
        command.set_defaults(run=run)
        if name == "export":
            command.add_argument("--to", metavar="FILE", help="the bundle to write")
            words = "instead: the uploads alone, for `telemetry-server import`"
            command.add_argument("file", metavar="FILE", nargs="?", help=words)
        if name == "forget":
            command.add_argument("--reason", default="", help="for the vendor's privacy team")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for scripts")
    _support_commands.add_to(commands, shared)
    return parser


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    for name, words in (
        ("--endpoint", "the server's base URL; else LICENSE_TELEMETRY_ENDPOINT"),
        ("--product-key", "pk_<slug>_<random>; else LICENSE_TELEMETRY_PRODUCT_KEY"),
        ("--product", "the product's slug, where the key doesn't carry it"),
        ("--state-dir", "where the outbox lies; else LICENSE_TELEMETRY_STATE_DIR"),
        ("--version", "the version of the installed software"),
        ("--build", "its build"),
        ("--environment", "production, staging, development …"),
        ("--notice-version", "the privacy notice that was shown"),
        ("--proxy", "beside the usual proxy variables"),
        ("--support-root", "the vendor's root key; else LICENSE_TELEMETRY_SUPPORT_ROOT"),
        ("--ca-file", "certificates to trust beside the system's; else LICENSE_TELEMETRY_CA_FILE"),
    ):
        shared.add_argument(name, help=words)
    shared.add_argument("--debug", action="store_true", help="say on standard error what is done")
    shared.add_argument("--level", choices=LEVELS, default="usage", help="the most that may be sent")
    return shared


def _claims() -> argparse.ArgumentParser:
    said = argparse.ArgumentParser(add_help=False)
    said.add_argument("--status", choices=STATUSES, help="of the license")
    said.add_argument("--source", choices=SOURCES, help="where the license was obtained")
    for name in ("--key", "--source-detail", "--edition", "--expires-at"):
        said.add_argument(name)
    said.add_argument("--feature", type=_counted, action="append", default=[], metavar="NAME[=COUNT]")
    return said


def _counted(text: str) -> Tuple[str, int]:
    name, _, count = text.partition("=")
    if not is_name(name) or not (count or "1").isdigit() or not 0 < int(count or "1") <= LARGEST_COUNT:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME or NAME=COUNT")
    return name, int(count or "1")
