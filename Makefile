# Everything that a developer types. `make help` lists it.
#
# Nothing has to be installed but Go and a C compiler (for the race detector):
# tools come in pinned versions through `go run`, nats-server is built from the
# module that go.mod requires, Postgres is found or, as root on Debian,
# installed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Long runs are behind build tags, so that `make test` stays quick and skips
# nothing. lint and tidy see them all.
TAGS := chaos,sim

# What is not tested with the race detector is built without cgo, everywhere with
# the same flags, so that one build cache serves lint, programs and e2e tests.
STATIC := CGO_ENABLED=0 GOFLAGS="$(strip $(shell go env GOFLAGS) -trimpath)"

# lint vets everything, with all checks and all tags; that go test would do a part
# of it again, for the race detector's build of each dependency too, takes minutes
# when the caches are cold.
TEST := -vet=off

# The simulation is virtual time and many seeds: most of them without the race
# detector, which makes it ten times as slow.
SIM := internal/events/simtest

# Its disks are as good in memory, where there is room: no seed is about fsync.
# The seeds of one process run one after the other, so two processes share them.
SIMTMP = $(shell [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR==2 {print $$4}')" -gt 2000000 ] 2>/dev/null && echo "GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=/dev/shm")

# Folders with test files of a tag, as packages.
tagged = $(shell grep -rlE --include='*_test.go' '^//go:build .*\<$(1)\>' . | xargs -r -n1 dirname | sort -u)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

.PHONY: build
build: ## Build the programs into bin/, static
	$(STATIC) go build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: test
test: need-cc ## Run all tests, with the race detector
	CGO_ENABLED=1 go test $(TEST) -race -timeout 14m $$(go list ./... | grep -v '/$(SIM)$$')
	CGO_ENABLED=1 go test $(TEST) -race -timeout 10m ./$(SIM) -seeds 10
	$(STATIC) go test $(TEST) -timeout 10m ./internal/runtime -run '^TestScenariosWithCrashes$$'
	$(STATIC) $(SIMTMP) go test $(TEST) -timeout 10m ./$(SIM) -run '^TestProtocol$$' -seeds 120 & other=$$!; \
	$(STATIC) $(SIMTMP) go test $(TEST) -timeout 10m ./$(SIM) -run '^TestProtocol$$' -seed 121 -seeds 60 && \
	$(STATIC) $(SIMTMP) go test $(TEST) -timeout 10m ./$(SIM) -run '^TestDispatch$$' -seeds 30 && wait $$other

.PHONY: need-cc
need-cc:
	@command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null || \
		{ echo "no C compiler: the race detector needs one (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }

.PHONY: lint
lint: ## Check form and known mistakes
	@unformatted=$$($(STATIC) go run $(GOFUMPT) -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(STATIC) go vet -tags $(TAGS) ./...
	$(STATIC) go run $(STATICCHECK) -tags $(TAGS) ./...
	cd deploy/check && $(STATIC) go vet ./... && $(STATIC) go run $(STATICCHECK) ./...

# From cold caches it compiles everything for Windows, for minutes: no part of the gate.
.PHONY: cross
cross: ## Check that the command line and the client build for Windows and macOS
	for os in windows darwin; do echo "$$os"; GOOS=$$os $(STATIC) go vet ./cmd/holdfast ./client; done

.PHONY: fmt
fmt: ## Format all Go files
	go run $(GOFUMPT) -w .

.PHONY: tidy
tidy: ## Check that go.mod and go.sum are as go mod tidy leaves them
	go mod tidy -diff
	cd deploy/check && go mod tidy -diff

.PHONY: generate
generate: ## Rewrite everything that is generated
	$(STATIC) go generate ./...

.PHONY: deploy-check
deploy-check: ## Check docker-compose.yml and deploy/Dockerfile without Docker
	cd deploy/check && $(STATIC) go test ./... && $(STATIC) go run . ../..

.PHONY: bench
bench: ## Print the figures of docs/benchmarks.md; BENCH=pattern chooses, BENCHFLAGS='-kills 200 -parked 100000' makes more of it
	go test ./internal/bench -run '^$$' -bench '$(or $(BENCH),.)' -benchtime 1x -timeout 60m $(BENCHFLAGS)
	go test -run '^$$' -bench '$(or $(BENCH),Deltas|Turn)' -benchmem -timeout 60m ./internal/model/...

.PHONY: bench-parts
bench-parts: ## Run the benchmarks that packages have of their own; BENCH=pattern chooses
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -timeout 60m $$(go list ./... | grep -v /internal/bench$$)

.PHONY: bench-peers
bench-peers: ## Measure Holdfast beside Temporal and Restate, which it fetches; BENCH=pattern chooses
	cd internal/bench/peers && go test -run '^$$' -bench '$(or $(BENCH),.)' -benchtime 1x -timeout 60m

.PHONY: conformance
conformance: ## Run the official MCP suite against the whole product and write docs/conformance.md
	$(STATIC) go test ./internal/conformance -count 1 -timeout 60m -v -args -all -write $(CURDIR)/docs/conformance.md

.PHONY: chaos
chaos: ## Kill and freeze real processes under load for minutes
	$(if $(call tagged,chaos),,$(error no test has the build tag chaos))
	go test -tags chaos -count 1 -timeout 60m -v -run '^TestChaos' $(call tagged,chaos)

.PHONY: versions
versions: ## The same among processes of this version and of another: OLD=REVISION, such as a tag
	$(if $(OLD),,$(error OLD must name a revision))
	set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; mkdir "$$dir/src"; git archive $(OLD) | tar -x -C "$$dir/src"; \
	(cd "$$dir/src" && $(STATIC) go build -ldflags '-s -w' -o "$$dir/" ./cmd/api ./cmd/worker); \
	CHAOS_OLD="$$dir" go test -tags chaos -count 1 -timeout 60m -v -run '^TestVersions$$' ./internal/e2e

.PHONY: readers
readers: ## Cut 10,000 connections of readers, and hold on to 1,000 that do not read
	go test -tags chaos -count 1 -timeout 30m -v -run '^TestChaos(Disconnects|SlowReaders)$$' ./internal/e2e

.PHONY: sim
sim: ## Run the long simulation
	$(if $(call tagged,sim),,$(error no test has the build tag sim))
	$(SIMTMP) go test -tags sim -count 1 -timeout 120m -v -run '^TestSim' $(call tagged,sim)

.PHONY: clean
clean: ## Remove what build made
	rm -rf bin dist
