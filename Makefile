# make lab and make test need only git, make, python3 (3.11 or newer) and python3-venv; everything else is optional.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOTFLAG := $(if $(filter 0,$(shell id -u)),--allow-root)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Extra words for JupyterLab and for pytest, for example: make test TESTFLAGS="-k netkit"
LABFLAGS ?=
TESTFLAGS ?=
# Another kernel than the course's, for make test-vm
KERNEL ?=
SYSTEM := clang llvm libbpf-dev python3-bpfcc qemu-system-x86 zstd chromium nodejs npm
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# What runs on every other Python: all that does not start a browser, node, whole notebooks, or is about a kernel.
LIGHT := not (browser or pyodide or notebook or binder or slow or kernel or vm or door or host or bcc or guest)

.PHONY: help lab test test-all test-others test-host test-host-all test-vm test-tools system doctor bench lint clean

help:
	@echo "make lab         open the course in JupyterLab"
	@echo "make test        run the tests; what this machine cannot do is skipped with its reason"
	@echo "make doctor      say what this machine can do, and what brings the rest"
	@echo "make system      install the optional parts with apt (clang, QEMU, BCC, Chromium) and the VM"
	@echo "make bench       print the figures: import, edit to journey, interpreter, packets, notebooks"
	@echo "make test-others the tests that need nothing special, on every other Python from 3.11 up that is found"
	@echo "make test-all    make test-others, then make test"
	@echo "make test-host   the tests of labs on a kernel with netkit of one's own, a guest that needs neither root nor KVM"
	@echo "make test-host-all  the whole contract inside of that guest as well, where Python is slow: half an hour"
	@echo "make test-vm     the contract tests on Linux in the virtual machine; KERNEL=path/to/vmlinuz on another kernel"
	@echo "make test-tools  what only the full tests need: Pyodide, repo2docker, py-rattler"
	@echo "make lint        ruff and nbstripout, as the tests ask them"
	@echo "make clean       remove what the other words made"

lab: $(VENV)/.ready
	@$(BIN)/python -m netkit_edu doctor
	$(BIN)/jupyter lab $(ROOTFLAG) $(LABFLAGS) notebooks

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(TESTFLAGS)

doctor: $(VENV)/.ready
	@$(BIN)/python -m netkit_edu doctor

bench: $(VENV)/.ready-test
	@$(BIN)/python -m benchmarks

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id --extra-keys "metadata.language_info cell.metadata.execution" notebooks/*.ipynb

# A wheel brings a compiler where the system has none with a BPF target: it needs no root.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed (try: make PYTHON=/path/to/python3.12 lab)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing (Debian, Ubuntu: $(SUDO) apt-get install python3-venv)"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@$(BIN)/python -c 'import sys; from netkit_edu.program.compiler import find_compiler; sys.exit(find_compiler() is None)' || \
		{ echo "No clang with a BPF target: adding the ziglang wheel"; $(PIP) -e '.[compiler]'; }
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@$(PIP) -e '.[test]'
	@touch $@

# Each other Python gets an environment of its own, and the tests that can differ between Pythons. All of them are tried.
test-others: $(VENV)/.ready-test
	@mine=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); failed=; \
	for v in 3.11 3.12 3.13 3.14 3.15; do \
		[ $$v != $$mine ] || continue; \
		for p in "$$(command -v python$$v)" $$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$v.*/bin/python3 2>/dev/null); do \
			[ -n "$$p" ] && "$$p" -c 'import ensurepip, venv' 2>/dev/null || continue; \
			echo "Python $$v: $$p"; \
			[ -e .venv-$$v/.ready ] || { "$$p" -m venv .venv-$$v && \
				.venv-$$v/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]' && \
				touch .venv-$$v/.ready; } && \
			NETKIT_EDU_REQUIRE= .venv-$$v/bin/python -m pytest -q -p no:cacheprovider --ignore=tests/test_repository.py -m "$(LIGHT)" || failed="$$failed $$v"; \
			break; \
		done; \
	done; \
	[ -z "$$failed" ] || { echo "Failed on Python$$failed"; exit 1; }

test-all: test-others
	@$(MAKE) --no-print-directory test

# Boots Debian's 6.12 kernel by virtme-ng; what runs on it is said in tests/host/guest.py.
test-host: $(VENV)/.ready-test
	@$(PIP) -e '.[guest]'
	@$(BIN)/python -m tests.host.guest

test-host-all: $(VENV)/.ready-test
	@$(PIP) -e '.[guest]'
	@$(BIN)/python -m tests.host.guest all

# The contract tests on Linux in the virtual machine: a fresh machine for each test. The kernel is the course's, or
# KERNEL=path/to/vmlinuz (KERNELS.md says where there are some, and what they do otherwise).
test-vm: $(VENV)/.ready-test
	$(if $(KERNEL),NETKIT_EDU_KERNEL="$(abspath $(KERNEL))") NETKIT_EDU_TEST_BACKENDS=vm NETKIT_EDU_REQUIRE=vm \
		$(BIN)/python -m pytest -q $(TESTFLAGS) tests/contract tests/linux/test_kernels.py

test-tools: .venv-binder/.ready node_modules/.ready

.venv-binder/.ready: pyproject.toml
	@$(PYTHON) -m venv .venv-binder
	@.venv-binder/bin/python -m pip install -q --disable-pip-version-check "jupyter-repo2docker>=2026.4" "py-rattler>=0.23" "packaging>=24"
	@touch $@

# The version that jupyterlite-pyodide-kernel 0.8 builds on.
node_modules/.ready:
	@npm install --silent --no-save --no-package-lock --no-audit --no-fund pyodide@314.0.7
	@touch $@

# The guest's kernel is not installed, only downloaded: vm build does that, and takes no root.
system:
	@command -v apt-get >/dev/null || { echo "This is not an apt system; the packages are: $(SYSTEM)"; exit 1; }
	@[ -z "$(SUDO)" ] || command -v sudo >/dev/null || { echo "There is no sudo here: run make system as root"; exit 1; }
	@. /etc/os-release; echo "$$PRETTY_NAME: tried on Debian 12 and 13 and on Ubuntu 24.04 (whose Chromium is a snap);"; \
		echo "the guest's kernel comes from the same sources: Debian's 6.12 (cloud), or Ubuntu's nearest to it."
	$(SUDO) apt-get update -q
	@known=; for p in $(SYSTEM); do \
		if dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || \
			{ [ $$p = npm ] && command -v npm >/dev/null; }; then echo "here already: $$p"; \
		elif apt-cache show $$p >/dev/null 2>&1; then echo "missing: $$p"; known="$$known $$p"; \
		else echo "not in this system's apt sources: $$p"; fi; \
	done; \
	[ -z "$$known" ] || $(SUDO) apt-get install -y --no-install-recommends $$known
	@[ ! -x $(BIN)/python ] || { $(BIN)/python -m netkit_edu vm build; $(BIN)/python -m netkit_edu doctor; }

clean:
	rm -rf $(VENV) .venv-* node_modules build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
