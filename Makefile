# make run    the server, with a PostgreSQL of its own, on http://127.0.0.1:8080
# make test   every test (PATIENCE=3 on a slow machine) · make check  what CI runs: style, types, directions, tests
# make test-hosts  the SDK in real hosts on every Python from 3.8 on that is here, with the table client_sdk/HOSTS.md
# make bench  ratios measured in one run, written to bench/RESULTS.md
# make bench-scale  a million simulated installations: an hour, and 40 GB in TMPDIR; one size at a time with
#             ARGS="--sizes 300000 --notes FILE"
# make hostile-day  a server as an operator starts it, and attack after attack in real time: a quarter of an hour; by name
#             with ARGS="keyring GeoIP"
# make fields what is written from telemetry_server/fields.toml, docs/commands.md from the commands, and the table of
#             docs/accounts.md from the permissions

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LISTEN ?= 127.0.0.1:8080
# PostgreSQL runs as another user when we are root, and that user has to reach its data.
DATA   ?= $(shell [ "$$(id -u)" != 0 ] || runuser -u nobody -- test -x . && echo data || echo /var/lib/license-telemetry)

.PHONY: run test test-hosts check lint hostile-day bench bench-scale fields clean

run: $(VENV)/run
	@$(BIN)/telemetry-server serve --data "$(DATA)" --listen "$(LISTEN)" --product "My product" || [ $$? = 130 ]

# Bytecode is kept: hundreds of processes of the tests import the server.
unexport PYTHONDONTWRITEBYTECODE

# More workers than processors, as many tests wait for time to pass; a worker runs the tests of a module one after the
# other, so that what they share is made once.
WORKERS ?= $(shell expr 2 \* $$(nproc) + 1)
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: $(VENV)/test
	$(PYTEST) $(ARGS)
	@programs=$$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null) || { echo "PostgreSQL 15 is not here: its tests did not run"; exit 0; }; \
	    $(PYTEST) -n $$(($$(nproc) + 1)) "--postgres=$$programs" -m every_postgres $(ARGS) || [ $$? = 5 ]  # they wait little

test-hosts: $(VENV)/test
	deploy/install-tools redis-server util-linux binutils gcc
	$(BIN)/python -m pytest tests/sdk/hosts --hosts all -n 2 $(or $(ARGS),--hosts-table client_sdk/HOSTS.md)

check: lint test

lint: $(VENV)/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vermin --quiet --no-tips --violations --target=3.8- client_sdk/license_telemetry

hostile-day: $(VENV)/test
	PYTHONPATH=tests $(BIN)/python -m hostile_day $(ARGS)

bench: $(VENV)/test
	deploy/install-tools wrk nginx-light openssl
	$(BIN)/python -m bench

bench-scale: $(VENV)/test
	deploy/install-tools wrk
	$(BIN)/python -m bench.scale $(ARGS)

fields: $(VENV)/test
	UPDATE=1 $(BIN)/python -m pytest -q tests/house/test_published_fields.py tests/house/test_published_commands.py \
	    tests/house/test_published_permissions.py

clean:
	rm -rf $(VENV) dist build client_sdk/dist client_sdk/build

# ── the environment: made once, brought up to date when pyproject.toml changes ─────────────────

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); deploy/install-tools python3-venv; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/run: pyproject.toml client_sdk/pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e . -e client_sdk
	@touch $@

$(VENV)/test: $(VENV)/run
	$(BIN)/python -m pip install --quiet --group test
	deploy/install-tools chromium nodejs php-cli openssh-server postgresql-15 e2fsprogs xfsprogs btrfs-progs faketime
	@touch $@

$(VENV)/check: $(VENV)/test
	$(BIN)/python -m pip install --quiet --group check
	@touch $@
