# Every command a person needs. PYTHON is the only thing taken from the system, besides git and make.
PYTHON ?= python3
VENV := .venv/bin

.PHONY: help install up demo stop status test unit check fix lock clean-data bench rebuild replay verify faults drill
help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: ## install everything that the locks name; what is installed stays
	@$(PYTHON) -m deploy.install

up: install ## start the whole stack, stay up until Ctrl-C
	@$(VENV)/python -m deploy.local up

demo: install ## start the stack and send a study through it (STUDY=folder, ONCE=1 to stop afterwards)
	@$(VENV)/python -m deploy.demo $(if $(ONCE),--once) $(if $(STUDY),--study "$(STUDY)")

stop: ## stop the stack that runs
	@$(VENV)/python -m deploy.local stop

status: ## what runs, and where
	@$(VENV)/python -m deploy.local status

test: install check ## every check and every test, on real servers
	@$(VENV)/python -m tests

unit: install ## the tests that need no server
	@$(VENV)/python -m tests tests/unit tests/audit tests/support

faults: install ## every fault of docs/guarantees.md in its full form, and the table of what became of the archive
	@FLUORO_TEST_FAULTS=full $(VENV)/python -m pytest -m fault

drill: install ## lose broker and database of a stack of its own, restore and rebuild it, and print the time (ARGS=--help)
	@$(VENV)/python -m tests.drill $(ARGS)

check: ## formatting, lint, types, layers
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports --no-logo

fix: ## format, and fix what ruff can fix
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

lock: ## resolve the locks again: requirements.lock and deploy/install/jars/*/jgo.lock.toml
	@.tools/bin/uv pip compile pyproject.toml --group local --group dev --generate-hashes --universal \
		--no-annotate --custom-compile-command "make lock" -q -o requirements.lock
	@for jars in deploy/install/jars/*/; do (cd $$jars && ../../../../$(VENV)/jgo --ignore-config --resolver python lock); done

bench: install ## measure rates, delays and CPU on a stack of its own, with Orthanc beside it (docs/benchmarks.md)
	@$(VENV)/python -m tests.bench

rebuild: install ## publish again what the objects of the stack that runs tell (ARGS="--run NAME", ARGS=--help)
	@$(VENV)/python -m deploy.local run $(VENV)/python -m pipelines.batch.rebuild $(ARGS)

replay: install ## send what the jobs of the stack that runs have rejected to its topics again (ARGS=--send, ARGS=--help)
	@$(VENV)/python -m deploy.local run $(VENV)/python -m pipelines.batch.replay $(ARGS)

verify: install ## compare every object of the stack that runs with its catalog (ARGS=--repair, ARGS=--help)
	@$(VENV)/python -m deploy.local run $(VENV)/python -m pipelines.batch.verify $(ARGS)

clean-data: ## remove everything the local stack has stored
	@$(VENV)/python -m deploy.local clean-data
