# Commands. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-down check lint unit test test-app test-host verify dev nightly-timer audit \
	bench-serving soak soak-app soak-edge soak-hand soak-keys soak-main soak-releases soak-unattended setup setup-lab

AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
RUN := .venv/bin/python -m
# A test on a lab host takes up to five minutes. One that hangs is reported as failed, with where it
# hung, and three failures end the run, so that they are reported before CI's time is up.
BOUNDS := --timeout 900 --maxfail 3
APP := ../.tools/bin/uv run --frozen --quiet
export ONEBOX_INVENTORY ?= inventory.py
# Without bytecode, each of the tests' hundreds of pyinfra runs compiles for two seconds.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup:
	@sh lab/bootstrap.sh

setup-lab:
	@sh lab/bootstrap.sh lab

demo: setup-lab ## boot a throwaway Debian host here, deploy the sample app, verify it
	@$(AS_ROOT) $(RUN) lab.demo

demo-down: setup-lab ## remove the demo's server
	@$(AS_ROOT) $(RUN) lab down demo

check: lint unit ## lint, types and unit tests, two minutes

lint: setup
	@$(RUN) ruff check --quiet . && $(RUN) ruff format --quiet --check .
	@$(RUN) mypy --no-error-summary .
	@cd app && $(APP) ruff check --quiet . && $(APP) ruff format --quiet --check . && $(APP) mypy --no-error-summary .
	@.venv/bin/zizmor --offline --quiet --persona pedantic .github
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml

unit: setup
	@$(RUN) pytest --quiet -n 2 tests/unit
	@$(RUN) bench.results

test: setup-lab check test-app test-host ## everything: check, the app's tests, end to end and faults on lab hosts

test-app: setup-lab
	@cd app && $(APP) pytest --quiet --cov

test-host: setup-lab
	@$(AS_ROOT) $(RUN) pytest --quiet $(BOUNDS) tests/e2e/test_lab.py
	@$(AS_ROOT) $(RUN) pytest -n 2 $(BOUNDS) --dist loadfile --no-loadscope-reorder --ignore tests/e2e/test_lab.py tests/e2e tests/faults

verify: setup ## verify the deployed server of ONEBOX_INVENTORY independently (read-only)
	@$(RUN) pytest --quiet tests/host

dev: setup-lab ## the sample app here, reloading, with a database of its own
	@cd app && $(APP) python dev.py

nightly-timer: setup ## have this machine redeploy ONEBOX_INVENTORY every night, where there is no CI
	@.ci/nightly-timer

audit: setup ## check pinned dependencies for known vulnerabilities
	@.ci/audit

soak: setup-lab ## run tests with stale results, oldest first, for BUDGET=60 minutes; resumes
	@$(AS_ROOT) $(RUN) bench.soak $(BUDGET)

soak-app: setup-lab ## load the sample app and kill its workers for half an hour
	@$(RUN) bench.soak_app

bench-serving: setup-lab ## compare the sample app with the tutorials' set-up, 20 minutes
	@$(AS_ROOT) $(RUN) bench.serving

soak-releases: setup-lab ## test releases under load, kills, power cuts and full disks, 40 minutes
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_releases.py

soak-edge: setup-lab ## test request smuggling, floods, and disks that nginx could fill
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_edge.py

soak-hand: setup-lab ## test every kind of drift, other projects' apps, limits and migration
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_drift.py tests/soak/test_harm.py tests/soak/test_apps.py tests/soak/test_moving.py

soak-keys: setup-lab ## test hostile packages and archives over a deploy key, 6 minutes
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_keys.py

soak-main: setup-lab ## test the first deploy for each user on each Debian, and the demo
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_main.py

soak-unattended: setup-lab ## test monitoring, timers and the gates of CI
	@$(AS_ROOT) $(RUN) pytest tests/soak/test_unattended.py tests/soak/test_gates.py
