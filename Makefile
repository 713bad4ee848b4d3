# Needs make (GNU, 3.81 or newer) and Python 3.11 or newer; `make PYTHON=python3.12 run` chooses another Python.

PYTHON ?= python3
UV ?= uv
STORE ?= $(MODELKEEP_STORE)
# How many processes `make test` shares the tests among, by file. They wait for servers now and then, so that one more
# than there are processors is quickest; each starts servers of its own, some 2 GB. 0: no other process than pytest's.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')

PY := .venv/bin/python
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 sam
LOCK := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run verify local invoke minio test test-local test-deployed test-long bench check lint lint-template audit build format lock clean \
	local-environment dev-environment bench-environment sam-environment checkov-environment audit-environment \
	ministack-environment

# $(call install,LOCK,FOLDER): the environment FOLDER with what requirements/LOCK.txt pins. The copy of the lock that is
# left in it says what is installed, so this is done once for each content of the lock.
define install
@if ! cmp -s requirements/$(1).txt $(2)/$(1).installed; then \
	set -e; \
	if ! test -x $(2)/bin/python; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "Modelkeep needs Python 3.11 or newer, found: `$(PYTHON) --version 2>&1`."; \
			echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }; \
		echo "Making $(2)…"; \
		$(PYTHON) -m venv $(2); \
	fi; \
	echo "Installing requirements/$(1).txt into $(2) (once; this takes a few minutes)…"; \
	$(2)/bin/python -m pip install --disable-pip-version-check --progress-bar on \
		--require-hashes --no-deps -r requirements/$(1).txt; \
	cp requirements/$(1).txt $(2)/$(1).installed; \
fi
endef

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: local-environment ## the whole registry on http://localhost:8000 (MODELKEEP_PORT, MODELKEEP_DATA, STORE=minio); Ctrl-C stops it
	@PYTHONPATH=.:layers/registry MODELKEEP_STORE=$(STORE) exec $(PY) -m local

verify: local-environment ## every file against its digest, of `make run`'s data, or of REGISTRY_BUCKET and REGISTRY_TABLE (LOOK=1, ACCEPT=1: docs/deploy.md)
	@PYTHONPATH=.:layers/registry MODELKEEP_STORE=$(STORE) exec $(PY) -m local.verify $(if $(LOOK),--look) $(if $(ACCEPT),--accept)

local: local-environment sam-environment ## the functions as Lambda runs them: SAM, MinIO, DynamoDB Local; needs Docker; Ctrl-C stops it
	@PYTHONPATH=.:layers/registry exec $(PY) -m local.sam_service

invoke: local-environment sam-environment ## call one function once: make invoke FUNCTION=get_model
	@PYTHONPATH=.:layers/registry exec $(PY) -m local.sam_service invoke $(FUNCTION)

minio: local-environment ## MinIO for STORE=minio, `make local` and the tests: built once with Go, unless it is on the PATH
	@PYTHONPATH=. $(PY) -m local.minio

test: dev-environment ## all tests but the long ones, shared among WORKERS processes
	$(PY) -m pytest -m "not long" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-local: dev-environment sam-environment minio ## `make local`, and the end-to-end suite over it; needs Docker
	@PYTHONPATH=.:layers/registry $(PY) -m tests.sam

test-long: dev-environment ## the tests that take minutes
	$(PY) -m pytest -m long

test-deployed: dev-environment sam-environment ministack-environment ## a real `sam deploy` into MiniStack (no AWS account), and the tests over it
	@PYTHONPATH=.:layers/registry $(PY) -m tests.deployed

SIZES ?= full

bench: bench-environment ## ours against others, by time, processor and memory: benchmarks/RESULTS.md and charts (SIZES=tiny: only that it runs)
	@PYTHONPATH=.:layers/registry:client/src exec .venv-bench/bin/python -m benchmarks --sizes $(SIZES)

check: lint audit build test ## everything that CI checks: lint, types, import rules, template, known vulnerabilities, build, tests

lint: dev-environment lint-template ## ruff, mypy, import rules, template
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy -p registry
	$(PY) -m mypy -p modelkeep --python-version 3.10
	PYTHONPATH=.:layers/registry:client/src .venv/bin/lint-imports

# As written, and as CloudFormation gets it for a bucket of our own and for a given one. What cfn-lint says there of what
# SAM has worked out by then is waived: W1030 (where Tracing is Disabled no mode is left), W2001 and W7001 (the parameter
# and the mapping that say whether there is CodeDeploy). I3013, which it keeps to itself unless asked: how long what ends by
# itself is kept.
CFN_LINT := --regions us-east-1 --include-checks I3013 --ignore-checks W1030 W2001 W7001
TRANSLATE := .venv-sam/bin/python tests/template/translating.py template.yaml
GIVEN := BucketName=lake KmsKeyArn=arn:aws:kms:us-east-1:111122223333:key/k CorsOrigins=https://a.example \
	DeploymentPreference=Canary10Percent5Minutes SnapStart=on WorkerConcurrency=10 AlarmEmail=a@example.com

lint-template: sam-environment checkov-environment ## cfn-lint and checkov on the template (waivers: .checkov.yaml)
	$(SAM) validate --lint
	@mkdir -p .aws-sam/lint
	$(TRANSLATE) > .aws-sam/lint/own-bucket.json
	$(TRANSLATE) $(GIVEN) > .aws-sam/lint/given-bucket.json
	.venv-sam/bin/cfn-lint $(CFN_LINT) -- .aws-sam/lint/*.json
	.venv-checkov/bin/checkov --config-file .checkov.yaml --file template.yaml .aws-sam/lint/*.json

audit: audit-environment ## known vulnerabilities in what is pinned, by pip-audit; asks PyPI
	.venv-audit/bin/python tests/audit.py layers/dependencies/requirements.txt requirements/*.txt

build: sam-environment ## what `sam deploy` ships, into .aws-sam/
	$(SAM) build

format: dev-environment ## format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: ## renew the pins from requirements/*.in (needs uv, https://docs.astral.sh/uv/)
	$(LOCK) --upgrade layers/dependencies/requirements.in -o layers/dependencies/requirements.txt
	$(LOCK) --upgrade requirements/local.in -c layers/dependencies/requirements.txt -o requirements/local.txt
	$(LOCK) --upgrade requirements/dev.in client/pyproject.toml --all-extras -c requirements/local.txt -o requirements/dev.txt
	$(LOCK) --upgrade requirements/bench.in client/pyproject.toml -c requirements/local.txt -o requirements/bench.txt
	$(LOCK) --upgrade requirements/sam.in -o requirements/sam.txt
	$(LOCK) --upgrade requirements/checkov.in -o requirements/checkov.txt
	$(LOCK) --upgrade requirements/ministack.in -o requirements/ministack.txt
	$(LOCK) --upgrade requirements/audit.in -o requirements/audit.txt

clean: ## remove what was built and cached; .venv, .cache and .modelkeep (your data) stay
	rm -rf .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

local-environment:
	$(call install,local,.venv)

dev-environment:
	$(call install,dev,.venv)

bench-environment:
	$(call install,bench,.venv-bench)

sam-environment:
	$(call install,sam,.venv-sam)

checkov-environment:
	$(call install,checkov,.venv-checkov)

audit-environment:
	$(call install,audit,.venv-audit)

ministack-environment:
	$(call install,ministack,.venv-ministack)
