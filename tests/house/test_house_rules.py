"""What a reviewer would say twice."""

import ast
import re
import subprocess

import pytest
from places import ROOT

from telemetry_server.app import job_table
from telemetry_server.job_names import JobName
from telemetry_server.settings import Settings
from telemetry_server.store.dimensions import DIMENSIONS

SERVER = sorted((ROOT / "telemetry_server").rglob("*.py"))
SDK = sorted((ROOT / "client_sdk" / "license_telemetry").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
STATEMENT = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|ALTER TABLE|DROP TABLE)\b",
    re.DOTALL,
)


def named(path):
    return str(path.relative_to(ROOT))


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def strings(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_sql_is_in_store_only():
    outside = [path for path in SERVER if "store" not in path.parts and path.name != "store.py"]
    assert [named(path) for path in outside if any(STATEMENT.search(text) for text in strings(path))] == []


def test_a_dimension_is_written_down_once():
    """Statements are filled from the table of dimensions, but for placeholders and what is more than a value."""
    columns = {re.search(r"s\.(\w+)", one.state)[1] for one in DIMENSIONS if one.state}
    elsewhere = [*SERVER, *(ROOT / "telemetry_server").rglob("*.sql")]
    elsewhere = [
        path for path in elsewhere if path.name != "dimensions.py" and path.parent.name != "migrations"
    ]
    said = "".join(
        re.sub(r"\S+ /\*:|version_key\(s\.service_version\)", "", path.read_text()) for path in elsewhere
    )
    assert {column for column in columns if re.search(rf"\bs\.{column}\b", said)} == set()
    assert columns


@pytest.mark.parametrize("path", SERVER + SDK, ids=named)
def test_no_function_is_longer_than_a_glance(path):
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path)}
    wiring = {"create_app", "_fleet"}  # one list, or one declaration, read from top to bottom
    assert {name: lines for name, lines in long.items() if lines > 45 and name not in wiring} == {}


@pytest.mark.parametrize("path", SERVER + SDK, ids=named)
def test_modules_are_a_few_screens_long_and_say_what_they_are(path):
    text = path.read_text()
    assert text.count("\n") <= 420
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring"


def test_every_exception_is_caught_in_four_places_only():
    """The handlers' wrapper, the job runner, the group writer and its lane; the SDK has rules of its own."""
    broad = [named(path) for path in SERVER if re.search(r"except (Base)?Exception\b", path.read_text())]
    allowed = {
        "telemetry_server/middleware.py",
        "telemetry_server/jobs/runner.py",
        "telemetry_server/store/ingest/writer.py",
        "telemetry_server/store/job_log.py",
        "telemetry_server/store/ingest/outcomes.py",
    }
    assert (
        set(broad) - allowed - {name for name in broad if "/embedded/" in name or "/cli/failures" in name}
        == set()
    )


def test_one_place_makes_the_tasks_of_jobs():
    makers = [named(path) for path in SERVER if "create_task(" in path.read_text()]
    assert set(makers) <= {
        "telemetry_server/jobs/runner.py",
        "telemetry_server/single_flight.py",
        "telemetry_server/store/database.py",
        "telemetry_server/receive/fast_path.py",
        "telemetry_server/store/ingest/writer.py",
        "telemetry_server/store/upkeep/health.py",
        "telemetry_server/cli/workers.py",
        "telemetry_server/cli/serve.py",
        "telemetry_server/cli/session.py",
    }


def test_jobs_and_their_watermarks_have_their_names_from_one_enum():
    every = Settings(reverse_dns=True, audit_witness_url="https://a", public_figures=True)
    assert {job.name for job in job_table(every)} == set(JobName)
    written_out = {
        name
        for path in (ROOT / "telemetry_server" / "store").rglob("*/*.sql")
        for name in re.findall(r"\bname = '([^']+)'", path.read_text())
        if path.parent.name != "migrations"
    }
    assert written_out <= set(JobName)
    names = "|".join(JobName)
    assert [named(path) for path in SERVER if any(re.fullmatch(names, text) for text in strings(path))] == [
        "telemetry_server/job_names.py"
    ]


def test_only_the_first_start_makes_a_keyring():
    makers = [named(path) for path in SERVER if re.search(r"\bopen_keyring\b", path.read_text())]
    assert makers == ["telemetry_server/keyring.py", "telemetry_server/store/access/keyring_check.py"]


def test_tokens_are_checked_by_joserfc_and_authlib_makes_the_exchange_only():
    """The checks of Authlib have taken keys out of the token itself; joserfc is given the key."""
    imports = {
        named(path): re.findall(r"^ *(?:from|import) (authlib\S*)", path.read_text(), re.MULTILINE)
        for path in SERVER
    }
    assert {name: found for name, found in imports.items() if found} == {
        "telemetry_server/show/access/oidc_client.py": [
            "authlib.common.errors",
            "authlib.integrations.httpx_client",
        ]
    }


def renames(path):
    """The calls that give a file another name; `replace` of a path takes one argument, that of a text two."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, of = node.func.attr, ast.unparse(node.func.value)
            of_a_path = name in {"rename", "hardlink_to", "symlink_to"} and of != "durable"
            if (
                of_a_path
                or (name == "replace" and len(node.args) == 1 and not node.keywords)
                or f"{of}.{name}" in {"os.rename", "os.replace", "os.link", "os.symlink", "shutil.move"}
            ):
                yield ast.unparse(node)


def test_files_get_their_names_in_one_module():
    """It syncs them and their directories: a rename elsewhere would be lost in a power cut."""
    found = {named(path): list(renames(path)) for path in SERVER}
    assert found.pop("telemetry_server/durable.py") == ["path.replace(to)", "to.hardlink_to(path)"]
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_no_span_of_time_is_measured_by_a_clock_that_can_be_set():
    """Rations, caches, deadlines and Retry-After go by the monotonic clock; a Date header is a time of day."""
    users = [
        named(path)
        for path in SERVER
        if re.search(r"\btime\.time(_ns)?\(|datetime\.utcnow", path.read_text())
    ]
    dates = {"telemetry_server/receive/fast_path.py", "telemetry_server/receive/refusal.py"}
    assert set(users) <= {*dates, "telemetry_server/uuid7.py"}
    for name in "receive/limiter", "store/ingest/grant_cache", "store/ingest/product_cache":
        assert "datetime.now" not in (ROOT / "telemetry_server" / f"{name}.py").read_text()


def test_no_vague_module_names():
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "misc.py"}
    assert [named(path) for path in SERVER + SDK if path.name in vague] == []


def test_nothing_committed_speaks_of_one_machine():
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    home = re.compile(r"/(?:root|work|home/\w+)/(?!\.)\w")
    found = []
    for name in filter(None, files):
        if name.startswith("tests/"):  # made-up paths of customers' machines stand there
            continue
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".sql", ".html", ".css", ".js", ".mjs", ".json", ".sh", ""}
            and path.is_file()
        ):
            text = path.read_text("utf-8", errors="replace")
            found += [f"{name}: {match[0]}" for match in home.finditer(text)]
    assert found == []


def test_slow_tests_say_why():
    silent = re.compile(r"mark\.slow\b(?!\(reason=)")
    assert [named(path) for path in TESTS if silent.search(path.read_text())] == []


def test_the_sdk_has_no_dependencies_but_those_of_support_grants_for_who_wants_them():
    import tomllib

    project = tomllib.loads((ROOT / "client_sdk" / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []
    assert set(project["optional-dependencies"]) == {"grants"}
    users = {
        path.name
        for path in SDK
        if re.search(r"^ *(from|import) cryptography", path.read_text(), re.MULTILINE)
    }
    assert users == {"grants.py"}
