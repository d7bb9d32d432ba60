"""Sign-in of the support team at a customer's server, by a real sshd: what one line lets in, and what it refuses."""

import getpass
import os
import shutil
import socket
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from license_telemetry import _authorized_keys as authorized_keys
from license_telemetry import grants
from patience import wait_until

from telemetry_server.support.ssh_certificate import WrongPublicKey, certificate, principal_of

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NEEDS_SSHD = pytest.mark.skipif(SSHD is None, reason="no sshd here: deploy/install-tools openssh-server")
GRANT, ELSEWHERE = "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90", ["203.0.113.0/24"]
NOW = datetime.now(UTC)
SOON = NOW.timestamp() + 3600


def public_line(key):
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


AUTHORITY, OTHER_AUTHORITY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


class Sshd:
    """A daemon on a port of its own, the file it takes keys from, and an engineer with a key."""

    def __init__(self, home):
        self.home = home
        self.authorized_keys = home / "authorized_keys"
        pair = grants.ssh_key_pair()
        self.public_key = pair["public"]
        (home / "id").write_text(pair["private"])
        (home / "id").chmod(0o600)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "host"], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": home / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": self.authorized_keys,
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "LogLevel": "VERBOSE",
        }
        (home / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", home / "sshd_config"], stderr=log)
        wait_until(lambda: "Server listening" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def lets_in(self, line, signed=None, key="id"):
        """Whether a sign-in with the engineer's key works, where the customer added this line."""
        self.authorized_keys.write_text(line + "\n")
        (self.home / "id-cert.pub").unlink(missing_ok=True)
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
        ]
        if signed:
            (self.home / "id-cert.pub").write_text(signed)
        command = ["ssh", "-F", "none", "-p", str(self.port), "-i", self.home / key]
        for option in options:
            command += ["-o", option]
        ran = subprocess.run(
            [*command, f"{getpass.getuser()}@127.0.0.1", "echo", "inside"],
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout == "inside\n"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    daemon = Sshd(tmp_path_factory.mktemp("sshd"))
    yield daemon
    daemon.process.terminate()
    daemon.process.wait()


def line(authority=AUTHORITY, case="4711", networks=("127.0.0.0/8",), until=SOON):
    key = public_line(authority)
    return authorized_keys.line(key, GRANT, case=case, networks=networks, until=until, authority=True)


def signed(sshd, authority=AUTHORITY, case="4711", now=NOW, not_after=None):
    until = not_after or now + timedelta(days=1)
    named = {"case_id": case, "grant": GRANT, "engineer": "person:ann@example.com (browser 1)"}
    return certificate(authority, sshd.public_key, now=now, not_after=until, **named)


def test_the_line_is_the_one_of_the_page():
    until = time.mktime((2026, 12, 6, 12, 0, 0, 0, 0, -1))
    said = authorized_keys.line(
        "ssh-ed25519 AAAA support CA",
        GRANT,
        case="4711",
        networks=["203.0.113.0/24"],
        until=until,
        authority=True,
    )
    assert said == (
        'restrict,pty,cert-authority,principals="case-4711",expiry-time="20261206120000",from="203.0.113.0/24"'
        f" ssh-ed25519 AAAA license-telemetry-grant-{GRANT}"
    )
    plain = authorized_keys.line("ssh-ed25519 AAAA", GRANT, case="4711", networks=[], until=until)
    assert (
        plain == f'restrict,pty,expiry-time="20261206120000" ssh-ed25519 AAAA license-telemetry-grant-{GRANT}'
    )


@NEEDS_SSHD
def test_a_certificate_for_the_case_is_let_in_and_logged_with_case_engineer_and_grant(sshd):
    assert sshd.lets_in(line(), signed(sshd))
    said = f'"case-4711 engineer=person:ann@example.com__browser_1_ grant={GRANT}"'
    assert said in sshd.log.read_text()


@NEEDS_SSHD
def test_others_are_refused(sshd):
    """Another principal, after the time, from elsewhere, another authority, a plain key, an expired certificate."""
    good = signed(sshd)
    assert not sshd.lets_in(line(case="4712"), good)
    assert not sshd.lets_in(line(until=NOW.timestamp() - 60), good)
    assert not sshd.lets_in(line(networks=ELSEWHERE), good)
    assert not sshd.lets_in(line(), signed(sshd, authority=OTHER_AUTHORITY))
    assert not sshd.lets_in(line())
    assert not sshd.lets_in(line(), signed(sshd, now=NOW - timedelta(hours=5)))
    assert not sshd.lets_in(line(), signed(sshd, not_after=NOW - timedelta(seconds=5)))
    assert not sshd.lets_in("", good)
    assert sshd.lets_in(line(), good)


@NEEDS_SSHD
def test_without_principals_the_name_of_the_user_would_have_to_be_one(sshd):
    """So a line that somebody shortened lets no certificate of ours in."""
    assert not sshd.lets_in(line().replace(f'principals="{principal_of("4711")}",', ""), signed(sshd))


@NEEDS_SSHD
def test_after_revoking_nobody_is_let_in(sshd):
    good, others = signed(sshd), "# the customer's own\nssh-ed25519 AAAA someone"
    assert sshd.lets_in(f"{others}\n{line()}", good)
    authorized_keys.remove(str(sshd.authorized_keys), GRANT)
    left = sshd.authorized_keys.read_text()
    assert left == f"{others}\n"
    assert not sshd.lets_in(left, good)


@NEEDS_SSHD
def test_a_key_pair_made_for_the_grant_is_let_in_until_its_time(sshd):
    pair = grants.ssh_key_pair()
    (sshd.home / "made").write_text(pair["private"])
    (sshd.home / "made").chmod(0o600)

    def of_it(until, networks=("127.0.0.0/8",)):
        return authorized_keys.line(pair["public"], GRANT, case="4711", networks=networks, until=until)

    assert sshd.lets_in(of_it(SOON), key="made")
    assert not sshd.lets_in(of_it(NOW.timestamp() - 60), key="made")
    assert not sshd.lets_in(of_it(SOON, ELSEWHERE), key="made")


def test_ssh_keygen_reads_the_certificate(tmp_path):
    subject = public_line(Ed25519PrivateKey.generate())
    made = certificate(
        AUTHORITY,
        subject,
        case_id="4711",
        grant=GRANT,
        engineer="ann",
        now=NOW,
        not_after=NOW + timedelta(hours=1),
    )
    (tmp_path / "cert.pub").write_text(made)
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert f'Key ID: "case-4711 engineer=ann grant={GRANT}"' in shown
    assert "permit-pty" in shown
    assert "port-forwarding" not in shown
    assert "Principals: \n                case-4711" in shown


@pytest.mark.parametrize(
    "wrong", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "-----BEGIN PRIVATE KEY-----", "ssh-dss AAAA"]
)
def test_what_is_no_public_key_gets_no_certificate(wrong):
    with pytest.raises(WrongPublicKey):
        certificate(AUTHORITY, wrong, case_id="1", grant="g", engineer="a", now=NOW, not_after=NOW)


def test_the_file_stays_as_it_was_but_for_the_line(tmp_path):
    path = tmp_path / "authorized_keys"
    authorized_keys.add(str(path), line())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    authorized_keys.remove(str(path), GRANT)
    assert path.read_text() == ""
    path.write_bytes(b"ssh-ed25519 AAAA own\xff")  # without an end of line
    authorized_keys.add(str(path), line())
    assert path.read_bytes() == b"ssh-ed25519 AAAA own\xff\n" + line().encode() + b"\n"
    authorized_keys.remove(str(path), "019ab6ef-0000-7c44-8d53-1b6a0f4e7c90")
    assert line().encode() in path.read_bytes()
    authorized_keys.remove(str(path), GRANT)
    assert path.read_bytes() == b"ssh-ed25519 AAAA own\xff\n"
    authorized_keys.remove(str(tmp_path / "gone"), GRANT)


def test_open_sessions_are_those_of_the_user(tmp_path, monkeypatch):
    who = tmp_path / "who"
    who.write_text(
        "#!/bin/sh\necho 'acme pts/0 2026-12-02 10:00 00:01 77 (203.0.113.7)'\necho 'acmeother pts/1 2026'\n"
    )
    who.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert authorized_keys.open_sessions("acme") == ["acme pts/0 2026-12-02 10:00 00:01 77 (203.0.113.7)"]
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert authorized_keys.open_sessions("acme") == []


def test_an_opening_with_a_public_key_gives_a_certificate(team, tmp_path):
    team.command("support", "begin", "by-certificate")
    path = tmp_path / "authorized_keys"
    team.sign("--network", "127.0.0.0/8")
    made = team.customer("by-certificate").support_grant(
        "by-certificate", ssh={"user": "acme", "authorized_keys": str(path)}
    )
    assert path.read_text() == made["line"] + "\n"
    assert 'restrict,pty,cert-authority,principals="case-by-certificate",expiry-time="' in made["line"]
    assert 'from="127.0.0.0/8"' in made["line"]
    (tmp_path / "id.pub").write_text(public_line(Ed25519PrivateKey.generate()))
    [found] = team.open("by-certificate", "--public-key", str(tmp_path / "id.pub"))
    assert found["content"] == {"ssh": {"user": "acme"}}
    (tmp_path / "cert.pub").write_text(found["certificate"])
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert f"grant={found['grant_id']}" in shown
    authority = public_line(team_authority(team))
    (tmp_path / "ca.pub").write_text(authority)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "ca.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert fingerprint in shown
    assert authority.split()[1] in made["line"]
    team.license_telemetry("support", "revoke", made["grant_id"], state="by-certificate")
    assert path.read_text() == ""


def team_authority(team):
    from telemetry_server.support.support_keys import SupportKeys

    return SupportKeys(team.directory).authority()
