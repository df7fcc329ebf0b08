# `make help` lists what there is. `.ci/run` is everything that a change must pass.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(CURDIR)/target

# The release of cargo-deny that deny.toml is written for.
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(CARGO_TARGET_DIR)/cargo-tools/bin/cargo-deny

.PHONY: help test test-cluster lint fmt deny bench

help: ## Say what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# What a test needs and the machine lacks fails it, unless TESTS_MAY_LEAVE_OUT says otherwise: 1 for everything, or
# words with commas between them: control-groups, browser, prometheus, ipv6, outer-address.
test: ## Set up and run every test: unit, golden, properties, integration, documentation; benchmarks run once each.
	.ci/python-tools clients >/dev/null
	.ci/python-tools schema >/dev/null
	.ci/python-tools helm >/dev/null
	.ci/python-tools admission >/dev/null
	.ci/browser
	.ci/promtool >/dev/null
	.ci/node-clients >/dev/null
	.ci/node-clients page >/dev/null
	.ci/node-clients grafana >/dev/null
	test "$$(id -u)" -ne 0 || .ci/image >/dev/null
	PATH="$$(.ci/python-tools):$$(.ci/python-tools envoy):$$(.ci/python-tools rotel):$$PATH:$$(.ci/node)" \
		cargo test --locked --all-features --all-targets
	cargo test --locked --all-features --doc

test-cluster: ## Try the chart and the webhook against real API servers (needs Go; half an hour the first time).
	tests/cluster/run.sh

lint: ## Check formatting, the wire contract, and clippy with every warning denied.
	cargo fmt --all --check
	"$$(.ci/python-tools)/buf" lint
	cargo clippy --locked --all-targets --all-features -- -D warnings

fmt: ## Format the sources.
	cargo fmt --all

deny: $(CARGO_DENY) ## Check the dependencies against deny.toml: bans, licences, sources.
	$(CARGO_DENY) --locked check bans licenses sources

$(CARGO_DENY):
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --root $(CARGO_TARGET_DIR)/cargo-tools

bench: ## Run the benchmarks.
	cargo bench --locked
