"""Which organisation runs a copy: what the registry says first, and no provider."""

import pytest

from telemetry_server.investigate.who import Clues, Confidence, guesses, registrable


def names(**clues):
    return [(guess.name, guess.confidence) for guess in guesses(Clues(**clues))]


def test_the_registry_comes_first_then_mail_and_names_of_the_network():
    found = names(
        company="Acme GmbH",
        mail="ann@ACME.example",
        hostname="mail.acme-lab.example.",
        operator="Acme Research Lab",
    )
    assert found == [
        ("Acme GmbH", Confidence.HIGH),
        ("acme.example", Confidence.MEDIUM),
        ("acme-lab.example", Confidence.MEDIUM),
        ("Acme Research Lab", Confidence.LOW),
    ]


@pytest.mark.parametrize(
    "clues",
    [
        {},
        {"mail": "ann@gmail.com"},
        {"operator": "Example Telecom AG"},
        {"operator": "Example Cloud Hosting"},
        {"hostname": "203-0-113-7.dsl.example.net"},
        {"hostname": "static.7.113.0.203.clients.example.net"},
        {"operator": "Acme Research Lab", "hostname": "www.acme.example", "of_hosting": True},
        {"hostname": "localhost"},
    ],
)
def test_providers_and_nameless_machines_are_none(clues):
    assert names(**clues) == []


def test_each_name_comes_once_with_its_best_reason():
    assert names(mail="a@acme.example", hostname="www.acme.example") == [("acme.example", Confidence.MEDIUM)]


@pytest.mark.parametrize(
    ("hostname", "domain"),
    [
        ("a.b.example.com", "example.com"),
        ("mail.example.co.uk", "example.co.uk"),
        ("example", None),
        ("a..b", None),
    ],
)
def test_the_domain_of_a_hostname(hostname, domain):
    assert registrable(hostname) == domain
