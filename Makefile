# `make` alone lists what there is. Everything runs in .venv, which `make setup` makes and every target brings up to date.

PY := .venv/bin/python
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup up test test-images test-kube coverage check format proto reference lock corpus prove faults bench bench-quick clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with everything in requirements.lock (PYTHON=... names an interpreter, 3.11 or newer)
	@deploy/bootstrap.sh

up: setup ## the whole of Rulecast with a demo on this machine, until Ctrl-C
	@exec $(PY) -m deploy.local.up

test: setup ## all tests but the long ones, on real PostgreSQL and Prometheus (ARGS=... for pytest)
	$(PY) -m pytest -m "not prove and not images and not kube" -n 2 --dist loadfile $(ARGS)

test-images: setup ## the images and Compose, built and started; fails where there is no Docker engine
	$(PY) -m pytest -m images tests/images $(ARGS)

test-kube: setup ## the manifests, applied to the cluster of KUBECONFIG in a namespace of their own; needs kubectl
	$(PY) -m pytest -m kube tests/kube $(ARGS)

coverage: setup ## the tests once more, and how much of our code they run; fails below 90 % (ARGS=... for pytest)
	@rm -rf .cache/coverage && mkdir -p .cache/coverage
	$(PY) -m coverage run -m pytest -m "not prove and not images and not kube" $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

check: setup ## format, lint, types, import contracts, generated code and pages, locks, manifests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PY) -m deploy.proto --check
	$(PY) -m deploy.lock --check
	$(PY) -m deploy.metrics --check
	$(PY) -m deploy.alerts --check
	$(PY) -m deploy.manifests --check
	$(PY) -m deploy.reference --check

format: setup ## puts every Python file into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: setup ## Python code and stubs from protos/rulecast/v1/*.proto
	$(PY) -m deploy.proto

reference: setup ## docs/en/reference/*.md, and the rule file of the alerts on Rulecast, from the code
	$(PY) -m deploy.reference
	$(PY) -m deploy.metrics
	$(PY) -m deploy.alerts

lock: setup ## requirements.lock from pyproject.toml, with the newest versions it allows
	$(PY) -m deploy.lock

corpus: setup ## checks every expression of a file with both parsers: make corpus CORPUS=FILE
	$(PY) -m tests.corpus $(CORPUS)

prove: setup ## the long campaigns
	$(PY) -m pytest -m prove tests
	$(PY) -m tests.property.mutate

faults: setup ## 300 random kill -9 under a stream of edits (ARGS='--kills 40 --seed 7')
	$(PY) -m tests.faults.campaign $(ARGS)

bench: setup ## how fast it is, beside what Prometheus itself needs; a quarter of an hour (ARGS='edit_rpc_* writes' for some)
	$(PY) -m tests.benchmarks $(ARGS)

bench-quick: setup ## the same in a few minutes: fewer repetitions, and not the largest
	$(PY) -m tests.benchmarks --quick $(ARGS)

clean: ## removes .venv and everything that tools left
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
