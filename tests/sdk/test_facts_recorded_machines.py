import pytest
from license_telemetry import _facts as facts
from recorded_machines import MACHINES, build

OPERATING_SYSTEM = ("type", "name", "version", "kernel")
VIRTUALIZATION = ("vm", "container", "cloud")


@pytest.mark.parametrize("name", MACHINES)
def test_each_recorded_machine_is_seen_as_what_it_is(name, tmp_path):
    machine = MACHINES[name]
    root = build(tmp_path, machine)
    expected = machine["expect"]
    assert facts.operating_system(root) == {key: expected.get(key) for key in OPERATING_SYSTEM}
    assert facts.virtualization(root) == {key: expected.get(key) for key in VIRTUALIZATION}


def test_a_recorded_machine_is_never_mixed_with_the_running_one(tmp_path, monkeypatch):
    monkeypatch.setenv("container", "podman")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE")
    assert set(facts.operating_system(tmp_path).values()) == {None}
    assert set(facts.virtualization(tmp_path).values()) == {None}
    assert facts.host("billing", tmp_path) == {"arch": None, "fingerprint": {}}
    assert facts.boot_id("billing", tmp_path) is None
    assert facts.machine_digest("billing", tmp_path) is None


def test_the_root_may_be_a_string_and_end_in_a_slash(tmp_path):
    build(tmp_path, MACHINES["Arch"])
    assert facts.operating_system(f"{tmp_path}/")["name"] == "arch"
