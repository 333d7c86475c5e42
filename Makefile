# Rollcall: everything a developer runs. Tools are pinned in tools/go.mod and built into bin/.

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(BIN)/.tools
PROTOS  := rollcall/v1/rollcall.proto rollcall/log/v1/log.proto rollcall/peer/v1/peer.proto
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

.PHONY: build release packages test race cluster cluster-boltdb fuzz bench bench-peers bench-watch stock-clients rest-client hostile lint proto tables verify soak powerloss lease-pauses histories members leases failover stalls flips image examples manifests dashboard web web-check web-test web-axe web-perf clean

build: ## the binary, in bin/rollcall
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN)/rollcall ./cmd/rollcall

DIST ?= dist
release: ## what is released, in DIST: for amd64 and arm64 a tar.gz and a .deb, and their checksums; the same source gives the same bytes
	deploy/package/build.sh $(VERSION) $(DIST)

packages: ## builds the packages twice, installs, upgrades and removes them; needs root and Debian's dpkg
	$(GO) test -count=1 -v ./deploy/package -packages

test: ## what the README promises: everything, under five minutes on two cores
	$(GO) test ./...

race: ## the same with the race detector
	$(GO) test -race -timeout 30m ./...

# LOG_STORE=boltdb has nodes and tests of every target below keep their logs there.
ifdef LOG_STORE
export ROLLCALL_LOG_STORE := $(LOG_STORE)
endif

COUNT ?= 100
cluster: ## virtual-time clusters COUNT times under -race, process clusters COUNT/10 times
	$(GO) test -race -run 'TestVirtual' -count=$(COUNT) -timeout 2h ./cluster_test -args -in-memory=false
	$(GO) test -run 'TestProcess' -count=$$(( $(COUNT) / 10 )) -timeout 2h ./cluster_test

cluster-boltdb: ## the same with the log in raft.db
	$(MAKE) cluster LOG_STORE=boltdb

SOAK ?= 10m
soak: ## random kills of real processes under load, checked, for SOAK
	$(GO) test -run 'TestProcessRandomKills' -timeout 24h ./cluster_test -soak=$(SOAK) -v

HISTORIES ?= 10m
histories: ## concurrent clients under faults, checked with porcupine: HISTORIES in virtual time, then as long with processes
	$(GO) test -run 'Test(Virtual|Process)Histories' -timeout 24h ./cluster_test -histories=$(HISTORIES) -v

MEMBERS ?= 1
members: ## members are added, replaced, restarted and removed at 400 writes a second, with 100,000 services and MEMBERS million changes of them, in plain text and with TLS: prints how long each took, and the slowest write
	$(GO) test -count=1 -run 'TestProcessMembersLarge$$' -timeout 2h ./cluster_test -members=$(MEMBERS) -v

SEEDS ?= 1000
leases: ## P10 of leases in virtual time: SEEDS clusters, each with faults of its own, about a second each
	$(GO) test -run 'TestVirtualP10LeaseLives' -timeout 24h ./cluster_test -lease-seeds=$(SEEDS)

KILLS ?= 20
failover: ## from kill -9 of the leader to the next acknowledged write, KILLS times with and without fast failover
	$(GO) test -run 'TestProcessFailoverTime' -timeout 2h ./cluster_test -kills=$(KILLS) -v

FLIPS ?= 100
flips: ## FLIPS times a cell of instances is switched off and on under 2,000 calls/s of a stock client, then all that can fail does: a table of how soon calls move
	$(GO) test -count=1 -run 'TestProcessClients$$' -timeout 2h ./cluster_test -flips=$(FLIPS) -v

examples: ## runs every example against rollcall dev; the first time SQLite is compiled, about a minute
	cd examples && $(GO) test -count=1 ./...

image: ## what the Dockerfile of deploy/docker makes, made with the tools of this machine and run as a container runtime does; needs root
	ROLLCALL_IMAGE=1 $(GO) test -count=1 -v -run 'TestImage$$' ./deploy/docker

manifests: ## the manifests of deploy/kubernetes against Kubernetes' own types, and the rules between them
	cd deploy/kubernetes && $(GO) test -count=1 ./...

# WEB_ARGS are flags of web/browsertest, as "-rollcall bin/rollcall -pictures /tmp/pictures".
web-test: ## the page of real nodes in Debian's Chromium: every view and dialog, pictures of them, faults and keyboard; axe-core where npm is there
	cd web/browsertest && $(GO) test -count=1 -timeout 20m . -args $(WEB_ARGS)

web-axe: ## every view and dialog, light and dark, before axe-core from npm
	cd web/browsertest && $(GO) test -count=1 -timeout 20m -run 'TestAxe|TestScenes' . -args -axe $(WEB_ARGS)

web-perf: ## the page with 100,000 services and 1,000 changes a second, after a night's changes, and what a hundred browsers cost: 20 minutes on a machine with nothing else to do
	cd web/browsertest && $(GO) test -count=1 -v -timeout 1h -run TestPerformance . -args -performance $(WEB_ARGS)

dashboard: ## the dashboard of deploy/grafana and the alert rules: each expression against what nodes export
	cd deploy/grafana && $(GO) test -count=1 ./...

STALLS ?= 10m
stalls: ## full write load with stalling disks for STALLS: no election may come of it
	$(GO) test -run 'TestStallsCauseNoElection' -timeout 24h ./cluster_test -stalls=$(STALLS) -v

PAUSE ?= 60s
lease-pauses: ## the leader, then all nodes, are stopped for PAUSE while reporters renew: no lease may end
	$(GO) test -count=1 -run 'TestProcessLeaseLongPause' -timeout 24h ./cluster_test -lease-pause=$(PAUSE) -v

ROUNDS ?= 20
powerloss: ## ROUNDS losses of power of a cluster's disks, and as many of a data directory in each test of those; needs FUSE
	POWERLOSS_ROUNDS=$(ROUNDS) $(GO) test -count=1 -run 'PowerLoss' -timeout 2h -v ./store ./cluster_test

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

BENCHTIME ?= 200ms
bench: ## every benchmark of ours, for BENCHTIME each: under ten minutes on two cores
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

BENCH_ARGS ?= -page ../docs/benchmarks.md
bench-peers: ## beside health.Server, etcd and NATS, in about 20 minutes, into docs/benchmarks.md; BENCH_ARGS="-only writes,check -rounds 5": bench/README.md
	cd bench && $(GO) run . run $(BENCH_ARGS)

WATCHES ?= 100000
bench-watch: ## WATCHES watches on one node while statuses flip: docs/benchmarks.md
	$(GO) test -short -run '^$$' -bench BenchmarkWatches -benchtime 30x ./cluster_test -args -watches=$(WATCHES)

hostile: ## hostile watchers, a million of each kind
	$(GO) test -run 'TestP8|TestVirtualP8' -v -timeout 1h ./cluster_test \
	  -args -hostile-flips=100000 -hostile-names=1000000 -hostile-resets=1000000 -hostile-streams=100000

STOCK := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4 github.com/grpc-ecosystem/grpc-health-probe@v0.4.63
stock-clients: ## stock clients and the programs of docs/languages.md against real processes: grpcurl, grpc_health_probe, grpc-js from npm, Java and Prometheus if Debian's libgrpc-java and prometheus are here
	for tool in $(STOCK); do GOBIN="$(BIN)" $(GO) install "$$tool" || exit; done
	PATH="$(BIN):$$PATH" ROLLCALL_NPM=1 $(GO) test -run 'TestProcessStock|TestProcessDrain|TestProcessPage(Python|Java)' -v ./cluster_test

rest-client: ## the OpenAPI document against stock validators, and clients generated from it against a node; needs npm and its registry
	ROLLCALL_NPM=1 $(GO) test -count=1 -run 'TestProcessRESTClient$$' -v ./cluster_test

$(TOOLS): tools/go.mod tools/go.sum $(wildcard tools/protogen/*.go tools/protogen/*/*.go tools/nametables/*.go tools/webbuild/*.go)
	@mkdir -p $(BIN)
	cd tools && $(GO) build -o $(BIN)/ tool
	@touch $@

proto: $(TOOLS) ## generated code from the protos
	PATH="$(BIN):$$PATH" $(BIN)/protogen api $(PROTOS)

NAMETABLES := api/rollcall/limits/tables.go
tables: $(TOOLS) ## what names may hold, from Go's own tables of Unicode
	$(BIN)/nametables $(NAMETABLES)

web: $(TOOLS) ## the page: web/dist, which is committed, from web/src
	$(BIN)/webbuild web/src web/dist

TYPESCRIPT := typescript@7.0.2
web-check: ## the types of the page's source, with the TypeScript of npm; says that it did nothing where npm is missing
	@if ! command -v npm >/dev/null; then echo "npm is missing: the types of web/src were not checked"; exit 0; fi; \
	dir=$(BIN)/typescript && mkdir -p $$dir && npm install --no-save --no-audit --no-fund --silent --prefix $$dir $(TYPESCRIPT) && \
	$$dir/node_modules/.bin/tsc -p web

lint: $(TOOLS)
	$(GO) vet ./...
	$(BIN)/staticcheck ./...

verify: $(TOOLS) ## fails where make proto, make tables, make web, gofmt or go mod tidy would change a file; does not compile the peers of bench/
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	@! grep -rnE '^(<<<<<<<|>>>>>>>) ' --include='*.go' --include='*.md' --include='*.proto' --include='*.yaml' . || { echo "conflicts are left"; exit 1; }
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	$(GO) vet ./...
	cd examples && $(GO) mod tidy -diff && $(GO) vet ./...
	cd deploy/kubernetes && $(GO) mod tidy -diff && $(GO) vet ./...
	cd deploy/grafana && $(GO) mod tidy -diff && $(GO) vet ./...
	cd web/browsertest && $(GO) mod tidy -diff && $(GO) vet ./...
	cd bench && $(GO) mod tidy -diff && $(GO) vet . ./report ./workload ./peers/health && $(GO) test ./report
	$(BIN)/staticcheck ./...
	$(BIN)/nametables -check $(NAMETABLES)
	$(BIN)/webbuild -check web/src web/dist
	cd tools && $(GO) vet ./webbuild && $(GO) test ./webbuild
	@rm -rf $(BIN)/verify && mkdir -p $(BIN)/verify && cp -r api $(BIN)/verify/
	PATH="$(BIN):$$PATH" $(BIN)/protogen $(BIN)/verify/api $(PROTOS)
	@diff -r api $(BIN)/verify/api || { echo "generated code is out of date: make proto"; exit 1; }
	@rm -rf $(BIN)/verify

clean:
	rm -rf $(BIN)
