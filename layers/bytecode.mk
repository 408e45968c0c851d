# Compiles a layer's Python ahead of time. /opt is read-only on Lambda, so a layer without bytecode is compiled anew by
# every cold start: measured with the runtime layer, 1.0 s of imports instead of 0.45.
# Bytecode belongs to one Python version. Without an interpreter of that version the layer still works, slower.
# unchecked-hash: what a zip does to modification times must not make Python throw the bytecode away.
UV ?= $(firstword $(shell command -v uv) $(wildcard $(HERE)../../.venv/bin/uv))
PYTHON_VERSION ?= 3.13
LAMBDA_PYTHON ?= $(if $(UV),$(shell $(UV) python find --no-python-downloads $(PYTHON_VERSION) 2>/dev/null))

# $(call compile_bytecode,INTERPRETER)
define compile_bytecode
@if [ -n "$(1)" ]; then \
	"$(1)" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$(ARTIFACTS_DIR)/python"; \
else \
	echo "no Python $(PYTHON_VERSION) found: the layer ships without bytecode, and every cold start compiles it."; \
	echo "Give one with LAMBDA_PYTHON=/path/to/python$(PYTHON_VERSION) (or: uv python install $(PYTHON_VERSION))."; \
fi
endef
