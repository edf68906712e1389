# What needs more than cargo alone. The gate is .ci/run.

cold := bench/cold

# Cold starts against Node.js and Python; as root, ARGS=--constrained measures them over TLS at a
# seventh of a core, too. Needs Node.js 20, Python 3.11 with venv, and openssl for TLS.
.PHONY: bench-cold
bench-cold: .ci/venv/bin/sam $(cold)/node/dist/index.js $(cold)/python/venv/installed
	cargo build --release --locked --package twofa --bins
	cargo build --release --locked --manifest-path $(cold)/hello/Cargo.toml
	cargo build --locked --bin twofa-local
	.ci/venv/bin/python $(cold)/run.py $(ARGS)

# Instructions of the calls and parts against bench/baseline.json; ARGS=--update makes it anew, ARGS
# may also name some of them. Needs valgrind.
.PHONY: bench-compare
bench-compare:
	python3 bench/compare.py $(ARGS)

# Throughput, the product's and the engine's shares of the CPU, growth; needs wrk. ARGS=--update writes
# bench/measured.json, from which bench-cost works out what a million verifications cost.
.PHONY: bench-load
bench-load:
	python3 bench/load.py $(ARGS)

# Whether the time of an answer tells what the answer does not.
.PHONY: bench-timing
bench-timing:
	cargo build --release --locked --bin twofa-local
	python3 bench/timing/run.py $(ARGS)

.PHONY: bench-cost
bench-cost:
	@python3 bench/cost.py $(ARGS)

.ci/venv/bin/sam: .ci/requirements.txt
	python3 -m venv .ci/venv
	.ci/venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(cold)/node/dist/index.js: $(cold)/node/index.mjs $(cold)/node/node_modules/.package-lock.json
	cd $(cold)/node && npm run build

# The runtime client for Node.js is compiled, for two minutes.
$(cold)/node/node_modules/.package-lock.json: $(cold)/node/package-lock.json
	@for tool in g++ cmake autoconf automake libtoolize; do command -v $$tool >/dev/null || { \
		echo "missing: $$tool (apt-get install g++ cmake autoconf automake libtool)"; exit 1; }; done
	cd $(cold)/node && npm ci --no-audit --no-fund
	touch $@

$(cold)/python/venv/installed: $(cold)/python/requirements.txt
	python3.11 -m venv $(cold)/python/venv
	$(cold)/python/venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
