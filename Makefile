# Everything starts here. Each target makes the environment that it needs by itself, with uv where
# it is installed, else with venv and pip.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RECORDINGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
SCALE_VENV ?= .venv-scale
SOAK ?= 2000
MATRIX_ARGS ?=
FUZZ_EXAMPLES ?= 5000
NAME ?= agent
COMPARE_ARGS ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo chat web example docs docs-serve test test-node test-browser test-scale soak fuzz matrix audit integration record bench bench-peers compare package check format clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Watch arguments stream: against Z.ai with ZAI_API_KEY, else a scripted server
	@$(BIN)/langchain-glm probe

chat: $(VENV)/.demo ## Talk to GLM at the prompt: Z.ai with ZAI_API_KEY, else a scripted server
	@$(BIN)/langchain-glm chat

web: $(VENV)/.web ## Open a page that shows an agent at work: Z.ai with ZAI_API_KEY, else a scripted model
	@$(BIN)/python examples/web/app.py

example: $(VENV)/.examples ## Run one of examples/ (NAME=agent): Z.ai with ZAI_API_KEY, else a scripted server
	@$(BIN)/python examples/$(NAME).py $(ARGS)

# The variable silences what Material for MkDocs says of another project.
docs: $(VENV)/.docs ## Make the site of docs/ in site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site: $(CURDIR)/site/index.html (with search: make docs-serve)"

docs-serve: $(VENV)/.docs ## Read the site at http://127.0.0.1:8000, made again at each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --no-strict --livereload

# The key is kept from the tests: they are to cost nothing and to need no network.
test: $(VENV)/.test ## Run the tests (RECORDINGS=DIR also replays the recorded bodies in DIR)
	ZAI_API_KEY= $(BIN)/python -m pytest $(if $(RECORDINGS),--recordings=$(RECORDINGS)) $(PYTEST_ARGS)

test-node: $(VENV)/.test tests/node/node_modules/.installed ## Run the checks that need Node: AG-UI's client and the AI SDK read our streams, the documents' JavaScript runs
	ZAI_API_KEY= $(BIN)/python -m pytest tests/node/check_encoders.py tests/node/check_docs.py $(PYTEST_ARGS)

test-browser: $(VENV)/.browser ## Run the checks that need a browser (chromium): the pages of the examples
	ZAI_API_KEY= $(BIN)/python -m pytest tests/browser/check_web.py $(if $(shell command -v npm),tests/browser/check_use_chat.py) $(PYTEST_ARGS)

tests/node/node_modules/.installed: tests/node/package.json
	cd tests/node && npm install --no-audit --no-fund
	@touch $@

test-scale: $(SCALE_VENV)/.scale ## Run the examples for more than one machine: Ray, LangGraph's Agent Server
	ZAI_API_KEY= $(SCALE_VENV)/bin/python -m pytest --timeout=300 tests/scale/check_ray.py tests/scale/check_agent_server.py $(PYTEST_ARGS)

soak: $(VENV)/.test ## Ask one model 2,000 times (SOAK=N) and find nothing left of it
	ZAI_API_KEY= SOAK=$(SOAK) $(BIN)/python -m pytest -s --timeout=3600 tests/unit_tests/chat_models/test_soak.py $(PYTEST_ARGS)

fuzz: $(VENV)/.test ## Fuzz for long: FUZZ_EXAMPLES=N cases a test (RECORDINGS=DIR damages those too)
	ZAI_API_KEY= FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/fuzz -o timeout=0 --show-capture=no --hypothesis-show-statistics $(if $(RECORDINGS),--recordings=$(RECORDINGS)) $(PYTEST_ARGS)

matrix: ## Run the tests on each Python, on the lowest and the newest packages (PYTHONS="python3.10 ...")
	$(PYTHON) scripts/matrix.py $(MATRIX_ARGS)

audit: $(VENV)/.test ## Ask OSV for known vulnerabilities of all that is installed (needs the network)
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --quiet pip-audit; }
	build/audit/bin/python -m pip --python $(BIN)/python list --exclude-editable --format freeze > build/audit/requirements.txt
	build/audit/bin/pip-audit --vulnerability-service osv --strict --disable-pip --no-deps --requirement build/audit/requirements.txt

integration: $(VENV)/.test ## Run LangChain's integration suite: against Z.ai with ZAI_API_KEY, else GLMServer
	$(BIN)/python -m pytest tests/integration_tests $(PYTEST_ARGS)

record: $(VENV)/.test ## Make cassettes/ again: from Z.ai with ZAI_API_KEY, else from GLMServer
	GLM_RECORD=1 $(BIN)/python -m pytest -q tests/unit_tests/test_cassettes.py

bench: $(VENV)/.test ## Measure what a chunk costs, beside ChatOpenAI and the bare socket
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-peers: $(VENV)/.test ## The same for other packages, each in an environment of its own
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

compare: $(VENV)/.test ## See that other packages do what the README's table says, and run their examples in docs
	$(BIN)/python -m tests.peers $(COMPARE_ARGS)

package: $(VENV)/.package ## Build wheel and sdist, and check them: contents, clean environments, types, licences
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	ZAI_API_KEY= $(BIN)/python -m pytest tests/package/check_*.py --timeout=600 $(PYTEST_ARGS)

check: $(VENV)/.test ## Format, lint, types and import direction, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit_tests/test_exports.py

format: $(VENV)/.test ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and what the tools left behind
	rm -rf $(VENV) $(SCALE_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build site tests/node/node_modules examples/use_chat/node_modules examples/use_chat/dist

$(VENV)/.demo: EXTRAS := cli
$(VENV)/.web: EXTRAS := web
$(VENV)/.examples: EXTRAS := examples
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.test: EXTRAS := cli,test,lint
$(VENV)/.browser: EXTRAS := cli,test,lint,browser
$(VENV)/.package: EXTRAS := cli,test,lint,package

$(SCALE_VENV)/.scale: EXTRAS := test,ray,agent-server
$(SCALE_VENV)/.scale: override VENV := $(SCALE_VENV)
$(SCALE_VENV)/.scale: override BIN := $(SCALE_VENV)/bin

$(VENV)/.demo $(VENV)/.web $(VENV)/.examples $(VENV)/.docs $(VENV)/.test $(VENV)/.browser $(VENV)/.package $(SCALE_VENV)/.scale: pyproject.toml
	@echo "Setting up $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then \
	  { test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); } && \
	  uv pip install --quiet --python $(BIN)/python --editable '.[$(EXTRAS)]'; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'; \
	fi
	@touch $@
