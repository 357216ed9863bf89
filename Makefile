# Needs Python 3.11 or newer and make, nothing else. Each target sets up what it uses; set up already, that takes no time.
#   make setup CUDA=13      adds JAX's CUDA plugin (12 or 13)
#   make setup PYTHON=...   takes this interpreter instead of the first good one on the path
#   make test ARGS="-k container"

CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python)
RUN := .venv/bin/python
WORKERS ?= 2
CUDA ?=
ARGS ?=
SECONDS ?= 480
OUT ?=
COMMIT ?=

# A stamp carries the checksum of what was installed, so that a changed file, and only that, installs again.
checksum = $(shell cksum < $(1) | tr ' ' '-')
READY := .venv/.ready-$(call checksum,requirements.txt)
CUDA_READY := $(if $(CUDA),.venv/.cuda$(CUDA)-$(call checksum,requirements.txt))
NNCODEC_READY := .venv-peers/nncodec/.ready-$(call checksum,tests/peers/requirements-nncodec.txt)
NNCODEC_FULL_READY := .venv-peers/nncodec-full/.ready-$(call checksum,tests/peers/requirements-nncodec-full.txt)
CODERS_READY := .venv-peers/coders/.ready-$(call checksum,tests/peers/requirements-coders.txt)
NETKET_READY := .venv-peers/netket/.ready-$(call checksum,tests/peers/requirements-netket.txt)
ZENNIT_READY := .venv-peers/zennit/.ready-$(call checksum,tests/peers/requirements-zennit.txt)
QUANTUS_READY := .venv-peers/quantus/.ready-$(call checksum,tests/peers/requirements-quantus.txt)
NETWORKS_READY := .venv-peers/networks/.ready-$(call checksum,tests/peers/requirements-networks.txt)
FOOLBOX_READY := .venv-peers/foolbox/.ready-$(call checksum,tests/peers/requirements-foolbox.txt)
ARVIZ_READY := .venv-peers/arviz/.ready-$(call checksum,tests/peers/requirements-arviz.txt)
LRP_READY := .venv-peers/lrp/.ready-$(call checksum,tests/peers/requirements-lrp.txt)
INNVESTIGATE_READY := .venv-peers/innvestigate/.ready-$(call checksum,tests/peers/requirements-innvestigate.txt)
SPRAY_READY := .venv-peers/spray/.ready-$(call checksum,tests/peers/requirements-spray.txt)
SIONNA_READY := .venv-peers/sionna/.ready-$(call checksum,tests/peers/requirements-sionna.txt)
FEDERATED_READY := .venv-peers/federated/.ready-$(call checksum,tests/peers/requirements-federated.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all bench bench-device peers peers-nncodec peers-coders peers-full peers-netket peers-zennit peers-lrp peers-quantus peers-foolbox peers-networks peers-arviz peers-federated peers-innvestigate peers-spray peers-sionna lint lock

help:
	@echo "make setup     environment in .venv, nothing else"
	@echo "make demo      compress a trained network and see the report (minutes)"
	@echo "make test      the tests, about thirteen minutes on two idle cores the first time"
	@echo "make test-all  the long ones too"
	@echo "make bench     kernels against their peers"
	@echo "make bench-device SECONDS=480 OUT=folder   kernels on an accelerator, in a time box"
	@echo "make peers     what we measure against, in .venv-peers, and the live comparison"
	@echo "make lint      ruff, the import contracts, the types of kernels/ and common/"

setup: $(READY) $(CUDA_READY)

demo: setup
	@$(MAKE) --no-print-directory peers-coders || echo "note: no constriction on this machine; the report leaves its row out"
	$(RUN) -m projects.deepcabac.demo $(ARGS)

test: setup
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

test-all: setup
	$(RUN) -m pytest -n $(WORKERS) --run-slow $(ARGS)

bench: setup
	@$(MAKE) --no-print-directory peers-nncodec || echo "note: nncodec could not be built; the benchmark runs without it"
	$(RUN) -m kernels.bench $(ARGS)

# On a bare machine with an accelerator: needs a Python with JAX, Numba and pytest, and no network. A copy without its history
# says which it is of: COMMIT=...
DEVICE_PYTHON = $(if $(PYTHON),$(PYTHON),$(if $(wildcard $(RUN)),$(RUN),python3))
bench-device:
	$(DEVICE_PYTHON) -m kernels.bench_device --seconds $(SECONDS) $(if $(OUT),--output $(OUT)) $(if $(COMMIT),--commit $(COMMIT)) $(ARGS)

peers: setup peers-nncodec peers-coders $(ZENNIT_READY) $(LRP_READY) $(QUANTUS_READY) $(NETKET_READY) $(FOOLBOX_READY) $(NETWORKS_READY) $(ARVIZ_READY) $(FEDERATED_READY) $(INNVESTIGATE_READY) $(SPRAY_READY) $(SIONNA_READY)
	$(RUN) -m pytest tests/peers --run-slow $(ARGS)

peers-nncodec: $(NNCODEC_READY)

peers-coders: $(CODERS_READY)

# NetKet and torch: hundreds of MB, or several GB where the registry has no CPU build.
peers-netket: $(NETKET_READY)

# torch and Zennit: hundreds of MB, or several GB where the registry has no CPU build.
peers-zennit: $(ZENNIT_READY)

# torch, lxt and autolrp: hundreds of MB, or several GB where the registry has no CPU build.
peers-lrp: $(LRP_READY)

# torch and Quantus: hundreds of MB, or several GB where the registry has no CPU build.
peers-quantus: $(QUANTUS_READY)

# Networks of public packages on a JAX of their own, to explain them.
peers-networks: $(NETWORKS_READY)

# Foolbox, ART and torch: hundreds of MB, or several GB where the registry has no CPU build.
peers-foolbox: $(FOOLBOX_READY)

# ArviZ and emcee: diagnostics of weights and chains.
peers-arviz: $(ARVIZ_READY)

# iNNvestigate on TensorFlow 2.14, for Python 3.9 to 3.11: more than a GB.
peers-innvestigate: $(INNVESTIGATE_READY)

# CoRelAy and ViRelAy, for Python 3.12 and newer: name one with PYTHON=... where the first on the path is older.
peers-spray: $(SPRAY_READY)

# Sionna and torch: hundreds of MB, or several GB where the registry has no CPU build.
peers-sionna: $(SIONNA_READY)

# FedJAX on an older JAX, Flower with Ray: hundreds of MB.
peers-federated: $(FEDERATED_READY)

# nncodec's whole pipeline, which needs torch: hundreds of MB, or several GB where the registry has no CPU build.
peers-full: setup $(NNCODEC_FULL_READY)
	$(RUN) -m pytest tests/peers/test_nncodec_full_live.py $(ARGS)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/lint-imports
	$(RUN) -m mypy

# Maintainers, with uv: resolve requirements.in for every supported Python, keeping the pins there are (ARGS=--upgrade: the
# newest). Windows is not supported, its lines go.
lock:
	@cp requirements.txt requirements.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header $(ARGS) requirements.in -o requirements.lock
	@printf '%s\n' "# Every package that the checkout uses, exactly: made from requirements.in by \`make lock\`, not by hand." \
	  "# Python 3.11 keeps jax 0.10.2 and flax 0.12.8; 3.12 and later take the newer set." > requirements.txt
	@grep -v "== 'win32'$$" requirements.lock | sed "s/ ; sys_platform != 'win32'//; s/ ; platform_python_implementation != 'PyPy'//" >> requirements.txt
	@rm requirements.lock

# $(call environment,folder,oldest minor,newest minor,candidates): finds a Python 3.x in the range and makes an environment
# in the folder, by uv where there is one. An environment of another Python there is replaced.
define environment
	if ! $(1)/bin/python -c "import sys; sys.exit(not (3, $(2)) <= sys.version_info[:2] <= (3, $(3)))" 2>/dev/null; then \
	  found=; \
	  for candidate in $(4); do \
	    if "$$candidate" -c "import sys; sys.exit(not (3, $(2)) <= sys.version_info[:2] <= (3, $(3)))" 2>/dev/null; then \
	      found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "needs Python 3.$(2) $(if $(filter 99,$(3)),or newer,to 3.$(3)), and found none as: $(4). Name one: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	  rm -rf $(1); mkdir -p $(dir $(1)); \
	  if command -v uv >/dev/null 2>&1 && uv venv --quiet --python "$$("$$found" -c 'import sys; print(sys.executable)')" $(1); \
	  then :; else rm -rf $(1); "$$found" -m venv $(1) || { rm -rf $(1); exit 1; }; fi; \
	fi
endef

# $(call install,folder,arguments): uv where there is one, else pip, which is put there by the standard library if missing.
define install
	if command -v uv >/dev/null 2>&1 && uv pip install --quiet --compile-bytecode --python $(1)/bin/python $(2); then :; else \
	  $(call install_by_pip,$(1),$(2)); \
	fi
endef

define install_by_pip
	{ $(1)/bin/python -m pip --version >/dev/null 2>&1 || $(1)/bin/python -m ensurepip >/dev/null || exit 1; \
	  $(1)/bin/python -m pip install --quiet --disable-pip-version-check --retries 10 $(2) || exit 1; }
endef

$(READY):
	@echo "setting up .venv (about 1.2 GB, some minutes)"
	@$(call environment,.venv,11,99,$(CANDIDATES))
	@$(call install,.venv,-r requirements.txt)
	@rm -f .venv/.ready-* && touch $@

$(CUDA_READY): $(READY)
	@$(call install,.venv,-c requirements.txt "jax[cuda$(CUDA)]")
	@rm -f .venv/.cuda*-* && touch $@

$(NNCODEC_READY):
	@echo "building nncodec in .venv-peers/nncodec (a C++ extension: 2 to 5 minutes)"
	@$(call environment,.venv-peers/nncodec,9,12,python3.11 python3.12 $(CANDIDATES))
	@$(call install,.venv-peers/nncodec,--no-deps -r tests/peers/requirements-nncodec.txt)
	@rm -f .venv-peers/nncodec/.ready-* && touch $@

$(NNCODEC_FULL_READY):
	@echo "building nncodec and torch in .venv-peers/nncodec-full (minutes)"
	@$(call environment,.venv-peers/nncodec-full,9,12,python3.11 python3.12 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/nncodec-full,-r tests/peers/requirements-nncodec-full.txt)
	@$(call install_by_pip,.venv-peers/nncodec-full,--no-deps nncodec==2.1.3)
	@rm -f .venv-peers/nncodec-full/.ready-* && touch $@

$(CODERS_READY):
	@echo "setting up .venv-peers/coders"
	@$(call environment,.venv-peers/coders,11,99,$(CANDIDATES))
	@$(call install,.venv-peers/coders,--no-deps -r tests/peers/requirements-coders.txt)
	@rm -f .venv-peers/coders/.ready-* && touch $@

$(NETKET_READY):
	@echo "setting up NetKet and torch in .venv-peers/netket (a minute or two)"
	@$(call environment,.venv-peers/netket,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/netket,-r tests/peers/requirements-netket.txt)
	@rm -f .venv-peers/netket/.ready-* && touch $@

# Zennit asks for Python 3.11.11; it runs on any 3.11.
$(ZENNIT_READY):
	@echo "setting up torch and Zennit in .venv-peers/zennit (a minute or two)"
	@$(call environment,.venv-peers/zennit,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/zennit,--ignore-requires-python -r tests/peers/requirements-zennit.txt)
	@$(call install_by_pip,.venv-peers/zennit,--ignore-requires-python --no-deps zennit==1.0.0)
	@rm -f .venv-peers/zennit/.ready-* && touch $@

$(LRP_READY):
	@echo "setting up torch, lxt and autolrp in .venv-peers/lrp (a minute or two)"
	@$(call environment,.venv-peers/lrp,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/lrp,-r tests/peers/requirements-lrp.txt)
	@$(call install_by_pip,.venv-peers/lrp,--no-deps lxt==2.1 autolrp==0.2.0)
	@rm -f .venv-peers/lrp/.ready-* && touch $@

$(QUANTUS_READY):
	@echo "setting up torch and Quantus in .venv-peers/quantus (a minute or two)"
	@$(call environment,.venv-peers/quantus,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/quantus,-r tests/peers/requirements-quantus.txt)
	@rm -f .venv-peers/quantus/.ready-* && touch $@

$(FOOLBOX_READY):
	@echo "setting up Foolbox, ART and torch in .venv-peers/foolbox (a minute or two)"
	@$(call environment,.venv-peers/foolbox,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/foolbox,-r tests/peers/requirements-foolbox.txt)
	@rm -f .venv-peers/foolbox/.ready-* && touch $@

$(NETWORKS_READY):
	@echo "setting up Equinox, Haiku and networks written with them in .venv-peers/networks (a minute or two)"
	@$(call environment,.venv-peers/networks,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/networks,-r tests/peers/requirements-networks.txt)
	@$(call install_by_pip,.venv-peers/networks,--no-deps flaxmodels==0.1.3 jax-image-models==0.3.4)
	@rm -f .venv-peers/networks/.ready-* && touch $@

$(ARVIZ_READY):
	@echo "setting up ArviZ and emcee in .venv-peers/arviz"
	@$(call environment,.venv-peers/arviz,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/arviz,-r tests/peers/requirements-arviz.txt)
	@rm -f .venv-peers/arviz/.ready-* && touch $@

$(INNVESTIGATE_READY):
	@echo "setting up TensorFlow and iNNvestigate in .venv-peers/innvestigate (minutes)"
	@$(call environment,.venv-peers/innvestigate,9,11,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/innvestigate,-r tests/peers/requirements-innvestigate.txt)
	@rm -f .venv-peers/innvestigate/.ready-* && touch $@

$(SPRAY_READY):
	@echo "setting up CoRelAy and ViRelAy in .venv-peers/spray (minutes)"
	@$(call environment,.venv-peers/spray,12,99,python3.12 python3.13 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/spray,-r tests/peers/requirements-spray.txt)
	@rm -f .venv-peers/spray/.ready-* && touch $@

$(SIONNA_READY):
	@echo "setting up torch and Sionna in .venv-peers/sionna (a minute or two)"
	@$(call environment,.venv-peers/sionna,11,13,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/sionna,-r tests/peers/requirements-sionna.txt)
	@rm -f .venv-peers/sionna/.ready-* && touch $@

$(FEDERATED_READY):
	@echo "setting up FedJAX and Flower in .venv-peers/federated (a minute or two)"
	@$(call environment,.venv-peers/federated,11,12,python3.11 $(CANDIDATES))
	@$(call install_by_pip,.venv-peers/federated,-r tests/peers/requirements-federated.txt)
	@rm -f .venv-peers/federated/.ready-* && touch $@
