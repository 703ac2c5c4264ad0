.DEFAULT_GOAL := help
.PHONY: help setup demo test proofs page e2e soak lint docs format images clean

BIN := .venv/bin
SCRIPTS := deploy/images/build

help: ## Show this
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

setup: ## Make ready what is missing: the virtual environment, a Docker engine, the sample image
	@sh deploy/setup

demo: setup ## Watch a pool at work
	@$(BIN)/poolctl demo

test: setup ## Run the tests, but for those that take long; ARGS="-k queue" passes arguments to pytest
	@sh deploy/setup prometheus
	@sh deploy/setup systemd
	@$(BIN)/pytest -n 4 --dist worksteal -m "not long" $(ARGS)

proofs: setup ## Run those that take long: many processes, kills, whole suites of users, the tutorial typed in
	@sh deploy/setup prometheus
	@$(BIN)/pytest -n 4 --dist worksteal -m long $(ARGS)

page: setup ## Run the tests of the live page in a real browser; ARGS="-k drain" for some
	@sh deploy/setup browser
	@$(BIN)/pytest tests/page -n 2 $(ARGS)

e2e: setup ## Run the examples, resets, kills and the live page on real browsers; ARGS="-k shop" for some
	@sh deploy/setup browser
	@$(BIN)/python deploy/images/build playwright-mcp playwright-mcp:chromium-full playwright-mcp:firefox
	@$(BIN)/pytest tests/e2e tests/page $(ARGS)

soak: setup ## Run the scripts against the model of the rules, 100,000 operations
	@$(BIN)/python -m tests.model.soak $(ARGS)

lint: ## Check style, formatting, types, layers and documentation
	@sh deploy/setup venv
	$(BIN)/ruff check . $(SCRIPTS)
	$(BIN)/ruff format --check . $(SCRIPTS)
	$(BIN)/mypy
	MYPYPATH=deploy/images $(BIN)/mypy $(SCRIPTS)
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory docs

docs: ## Build the documentation into build/docs; a warning is an error
	@sh deploy/setup venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

format: ## Format the code and apply the safe fixes
	@sh deploy/setup venv
	$(BIN)/ruff check --fix . $(SCRIPTS)
	$(BIN)/ruff format . $(SCRIPTS)

images: setup ## Build the browser image, unless it is up to date; ARGS="playwright-mcp:firefox" builds another variant
	@$(BIN)/python deploy/images/build $(or $(ARGS),playwright-mcp)

clean: ## Remove the virtual environment and the caches
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
