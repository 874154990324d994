# Everything runs in .venv, made from the lock on first use.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: demo team team-down test test-fast test-whole test-faults test-team test-exports check audit sbom bench lock clean

demo: .venv/run  ## the whole pipeline on the project's own data set
	$(BIN)/pas demo

team: .venv/dev  ## PostgreSQL, S3, MLflow, Prefect and two workers on loopback; their data go to .team
	$(BIN)/python -m deploy.team up

team-down: .venv/dev  ## stop them; the data stay
	$(BIN)/python -m deploy.team down

# Threads that spin while they wait bring two busy cores to a crawl; waiting costs an idle one little.
# The models of the tests are too small for two threads, so each of two processes has one thread.
PYTEST := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Every test is in exactly one of test, test-whole, test-faults, test-team and test-exports; test-fast
# is a part of test.
test: .venv/dev  ## the tests, without whole runs, faults, a team's installation and other programs
	$(PYTEST) -m "not (whole or faults or team or exports)" --durations=15

# Without a server to start, a flow in a test that lacks the mark `server` fails.
test-fast: .venv/dev  ## the tests without servers, the demo model and what else takes long
	PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=false $(PYTEST) -m "not (server or demo_model or slow or whole or faults or team or exports)"

test-whole: .venv/dev  ## the demo, studies, every snippet of the docs, benchmarks, packaged models
	$(PYTEST) -m "whole and not (faults or team or exports)" --durations=15

test-faults: .venv/dev  ## processes killed and stopped, files damaged, stores away: nothing lost
	$(PYTEST) -m "faults and not (team or exports)" --durations=15 --fault-table=docs/reliability.md

# `make test-team TESTS=tests/team/test_installation.py` runs one of its files.
test-team: .venv/dev  ## a team's installation on real servers: schedules, promotion, faults
	$(PYTEST) -n 0 -m "team and not exports" --durations=15 $(TESTS)

test-exports: .venv/dev .exports  ## exported vectors in the programs that they are for
	PYTHONPATH=.exports $(PYTEST) -m "exports" --durations=15

check: .venv/dev  ## format, lint, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Both tools have dependencies that the project has not, so they run beside it.
audit: .venv/dev .audit  ## known weaknesses of the locked versions; asks a service on the internet
	.audit/bin/pip-audit --strict --no-deps --disable-pip -r requirements.lock

sbom: .venv/dev .audit  ## what is installed with the project, as CycloneDX: sbom.json
	.audit/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --of JSON --output-reproducible -o sbom.json

.audit:
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --disable-pip-version-check --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0

# The peer pins older transformers than ours; beside them it runs as it is, so it gets no say in pins.
bench: .venv/dev .bench  ## speed against the published loop, careful hooks and steering-vectors; about an hour
	PYTHONPATH=.bench $(BIN)/python -m benchmarks.sweep --items 240 --sample 14 --out bench/sweep.json
	PYTHONPATH=.bench $(BIN)/python -m benchmarks.sweep --items 60 --sample 3 --sample-items 6 --shots 10 --out bench/sweep-icl.json
	PYTHONPATH=.bench $(BIN)/python -m benchmarks.extraction --items 60 --out bench/extraction.json
	$(BIN)/python -m benchmarks.train --out bench/train.json
	$(BIN)/python -m benchmarks.seeds --out bench/seeds.json
	$(BIN)/python -m benchmarks.growth --out bench/growth.json
	$(BIN)/python -m benchmarks.overhead --out bench/overhead.json
	$(BIN)/python -m benchmarks.workers --out bench/workers.json
	$(BIN)/python -m benchmarks.load --out bench/load.json
	$(BIN)/python -m benchmarks.estimator --gigabytes 4 --out bench/estimator

# As for `.bench`: they pin older releases of what they run on.
.exports:
	$(PIP) --no-deps --target .exports steering-vectors==0.12.2 repeng==0.4.0 hotwire-vllm==0.1.2

.bench:
	$(PIP) --no-deps --target .bench steering-vectors==0.12.2

lock: .venv/dev  ## write the locks anew from what .venv holds
	$(BIN)/python .ci/lock.py

clean:
	rm -rf .venv .pas

.venv/run: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.lock
	$(PIP) --no-deps -e .
	@touch $@

.venv/dev: .venv/run requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@
