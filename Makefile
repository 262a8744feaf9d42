# Everything here is an ordinary command, so that each can be run by hand.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-builtin-variables --warn-undefined-variables
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# One of the tools pinned in internal/tools/go.mod.
TOOL := go tool -modfile=internal/tools/go.mod
# Tests wait more than they compute.
PACKAGES_AT_ONCE := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show the whole service at work in one process, against a simulated MX
	go run ./cmd/memberwatch demo

.PHONY: build
build: ## Build the binaries into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -buildid= -X main.version=$(VERSION)" -o bin/ ./cmd/...

.PHONY: test
test: ## Run every test that needs nothing but Go
	go test -p $(PACKAGES_AT_ONCE) ./...
	@[ -n "$${MEMBERWATCH_IMAGE:-}$${REQUIRE_DOCKER:-}" ] || echo "CONTAINER STACKS SKIPPED: make e2e builds the image and runs the same journeys in containers"

.PHONY: race
race: ## Run the same tests under the race detector (needs a C compiler)
	go test -race ./...

.PHONY: lint
lint: tidy-check ## Run go vet, the linters, and the searches for dead code and stale mutants
	go vet ./...
	.ci/mutate --check
	$(TOOL) golangci-lint run
	@echo "$(TOOL) deadcode -test ./..."
	@dead=$$($(TOOL) deadcode -test ./...); if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi

.PHONY: tidy-check
tidy-check: ## Check that go.mod and go.sum say what the code needs
	go mod tidy -diff
	go -C internal/tools mod tidy -diff
	go -C deploy/helm/charttest mod tidy -diff

.PHONY: fmt
fmt: ## Format the code
	$(TOOL) golangci-lint fmt

.PHONY: bench
bench: ## Measure throughput and latency, checked by the oracle
	go run ./internal/bench

.PHONY: cover
cover: ## Write cover.out and print the coverage of each function and of all
	go test -coverpkg=./... -coverprofile=cover.out ./...
	go tool cover -func=cover.out

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME inputs (default 100000x)
	.ci/fuzz

.PHONY: image
image: ## Build the container image localhost/memberwatch:dev
	VERSION=$(VERSION) .ci/images memberwatch

.PHONY: sbom
sbom: build ## Write bin/sbom.cdx.json: what the binaries are made of
	go run ./deploy/sbom -version $(VERSION) bin/memberwatch bin/mxsim >bin/sbom.cdx.json

.PHONY: reproducible
reproducible: ## Build twice, in two directories, and compare (IMAGE=1: with the image too)
	VERSION=$(VERSION) .ci/reproducible

.PHONY: chart
chart: ## Test the Helm chart (a module of its own: it needs Helm and the types of Kubernetes)
	go -C deploy/helm/charttest test -count=1 ./...

.PHONY: up
up: ## Start NATS, a simulated MX, two workers, Prometheus and Grafana (needs Docker and its registries)
	docker compose -f deploy/compose.yaml up -d --build

.PHONY: down
down: ## Stop what make up has started, and forget its data
	docker compose -f deploy/compose.yaml down -v

# Without a registry testcontainers can have no reaper, and inside a container
# it would look for the published ports on the gateway.
e2e chaos deployed: export REQUIRE_DOCKER := 1
e2e chaos deployed: export MEMBERWATCH_IMAGE := localhost/memberwatch:dev
e2e chaos deployed: export NATS_IMAGE = localhost/nats-server:$(patsubst v%,%,$(shell go list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2))
deployed: export PROMETHEUS_IMAGE := localhost/prometheus:debian
e2e chaos deployed: export TESTCONTAINERS_RYUK_DISABLED := true
e2e chaos deployed: export TESTCONTAINERS_HOST_OVERRIDE := 127.0.0.1

.PHONY: e2e
e2e: ## Build the images and run the journeys, containers included (needs Docker)
	VERSION=$(VERSION) .ci/images memberwatch nats
	go test -count=1 -v ./internal/e2e ./internal/e2e/interop

.PHONY: deployed
deployed: ## Do what deploy/README.md says: three NATS servers with TLS and roles, two workers (needs Docker)
	.ci/compose
	VERSION=$(VERSION) .ci/images
	go test -count=1 -v ./internal/e2e/deployed

.PHONY: chaos
chaos: export CHAOS ?= full
chaos: export SEED ?=
chaos: ## Break everything under load and ask the oracle (CHAOS=full or short, SEED=n; needs Docker)
	VERSION=$(VERSION) .ci/images memberwatch nats
	go test -count=1 -v -timeout 25m ./internal/e2e/chaos

DURATION ?= 10m
.PHONY: soak
soak: export SOAK = $(DURATION)
soak: export SEED ?=
soak: ## Load and faults for DURATION (default 10m); memory and goroutines as a table
	go test -count=1 -v -timeout 0 -run '^TestSoak$$' ./internal/e2e/chaos

.PHONY: mutate
mutate: ## Break the lines that keep the invariants, one by one, and want a test to fail (PATTERN=I3)
	.ci/mutate $(PATTERN)
