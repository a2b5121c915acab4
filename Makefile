# make setup   system packages (as root) and .venv with the package in it
# make demo    gzip under its policy, then a program that is refused a system call
# make test    everything that has to pass; as root, the tests run again as an unprivileged user
# make check   what can be had of that in a minute
# make bench   the promised figures, measured beside the peers
# make proto   the generated code anew

VENV := .venv
PYTHON :=
BIN := $(VENV)/bin

.PHONY: setup demo test check lint bench proto clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/setup.sh
	tools/setup.sh $(VENV) $(PYTHON)

demo: setup
	$(BIN)/python examples/demo/demo.py

test: setup lint
	$(BIN)/python tests/run_all.py

check: setup lint
	$(BIN)/python -m pytest -q -m "not slow"

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup
	failed=0; for each in start compile monitor; do $(BIN)/python benchmarks/$$each.py || failed=1; done; exit $$failed

proto: setup
	$(BIN)/python tools/generate_proto.py

clean:
	rm -rf $(VENV) dist build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
