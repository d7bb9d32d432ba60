"""Certificates are always verified; a private authority has to be named."""

import ssl
import subprocess

import pytest
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import NOW
from license_telemetry.testing import FakeServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody but the test trusts."""
    place = tmp_path_factory.mktemp("certificate")
    key, pem = place / "key", place / "pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout {key} -out {pem}"
    made = subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("openssl is not here")
    return pem, key


@pytest.fixture
def secure_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with FakeServer() as server:
        server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
        yield server


def test_a_server_with_a_named_authority_is_trusted(bench, secure_server, certificate):
    here = bench(endpoint=secure_server.endpoint.replace("http:", "https:"), ca_file=certificate[0])
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(secure_server.pings) == 1


def test_a_server_nobody_vouches_for_is_told_nothing(bench, secure_server):
    here = bench(endpoint=secure_server.endpoint.replace("http:", "https:"))
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert secure_server.received == []
    assert "certificate" in here.status["last_answer"]["detail"].lower()


def test_a_certificate_for_another_name_is_refused(bench, secure_server, certificate):
    port = secure_server.endpoint.rpartition(":")[2]
    here = bench(endpoint=f"https://localhost:{port}", ca_file=certificate[0])
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert secure_server.received == []


def test_a_file_of_authorities_that_is_not_there_stops_no_host(bench, secure_server, tmp_path):
    here = bench(endpoint=secure_server.endpoint.replace("http:", "https:"), ca_file=tmp_path / "nothing")
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert here.status["queued"] == 1
