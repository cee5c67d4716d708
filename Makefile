# Two commands do everything: `make report` and `make test`. Both start from nothing but Python, a C compiler and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
KERNELS := build/libkernels.so

.PHONY: report published test test-all test-slow vectors lint mutants trust bounds sweeps fuzz fuzz-files bench dist clean

# Builds the bundled C kernels, validates them for every platform, and names the reports.
report: $(VENV)/.installed
	$(BIN)/golden build -o $(KERNELS)
	$(BIN)/golden generate --suite core --out build/vectors/core
	for platform in host FT78NE MT7004; do \
	  $(BIN)/golden validate $(KERNELS) --platform $$platform --vectors build/vectors/core --out $(OUT)/$$platform || exit $$?; \
	done
	$(BIN)/golden report $(OUT)/host/results.json $(OUT)/FT78NE/results.json $(OUT)/MT7004/results.json \
	  --format html --out $(OUT)/report.html

# Builds the kernels with every compiler there is, and renews the reports on them in reports/published. The accuracy
# matrix has PyTorch's row if the environment has it: .venv/bin/pip install torch.
published: $(VENV)/.installed
	$(BIN)/python reports/published/regenerate.py
	$(BIN)/python reports/published/matrix.py

# One process more than cores: a sixth of the time is spent waiting for what the tests start.
test: $(VENV)/.installed lint
	$(BIN)/python -m pytest -n 3 --dist loadfile

# And what confirms them on more cases: whole suites, every document typed, every emulated machine.
test-all: test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "confirm and not slow" --timeout 900

# Minutes of hard cases against exact rationals.
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 3600

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Writes the committed suites again; their digests must not change unless their cases do.
vectors: $(VENV)/.installed
	$(BIN)/golden generate --suite smoke
	$(BIN)/golden generate --suite core

# Judges every defective and every legal build, and writes what kills which: minutes.
mutants: $(VENV)/.installed
	$(BIN)/python -m tests.mutants.run --jobs 2 --out reports/published/detection-power.md --purposes docs/core.md
	$(BIN)/python -m tests.mutants.arithmetic --jobs 2
	$(BIN)/python -m tests.mutants.beyond --jobs 2 --out reports/published/beyond.md

# Judges damaged and dishonest builds, and honest ones that do similar things: minutes.
trust: $(VENV)/.installed
	$(BIN)/python -m tests.attacks.run --jobs 2 --control --out reports/published/trust.md

# Sweeps every legal order, searches for its worst inputs, and has Gappa (package gappa) prove the figures: minutes.
bounds: $(VENV)/.installed
	$(BIN)/python -m tests.mutants.bounds --out reports/published/bounds.md

# Whole input spaces of the fp16 kernels, 2^32 points each: minutes.
sweeps: $(VENV)/.installed
	$(BIN)/python reports/published/sweep.py

# Fuzzes the bundled kernels, as each compiler builds them, and PyTorch if it is installed: ten minutes each.
fuzz: $(VENV)/.installed
	$(BIN)/python reports/published/fuzz.py

# Mutates every kind of file that golden reads, and reads it: SECONDS of it.
fuzz-files: $(VENV)/.installed
	$(BIN)/python -m tests.fuzz_files --seconds $(or $(SECONDS),120)

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/bench_generate.py

# Builds a source distribution and a wheel, and tries both in fresh environments without a compiler.
dist: $(VENV)/.installed
	$(BIN)/python -m tests.release --out dist

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("golden needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist $(OUT)
