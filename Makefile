# Packhouse. `make help` lists the targets.
#   CONFIG=file   the configuration to use          ARGS="..."   more arguments for the command
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/node_modules/node/bin:$(PATH)
# What is compiled is kept: with it from its start, a process need not load what strips types.
export NODE_COMPILE_CACHE ?= $(CURDIR)/.cache/compile

INSTALLED := node_modules/.packhouse-installed
PACKHOUSE := node cmd/packhouse/main.ts
CONFIG_FLAG := $(if $(CONFIG),--config '$(CONFIG)')
# as typed: a dollar sign in SQL is the user's, not make's
arguments = $(value ARGS)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done

$(INSTALLED): package.json package-lock.json .npmrc devenv/install.sh devenv/node.sh devenv/postgres-binaries.ts devenv/bundle-packages.ts
	@devenv/install.sh

.PHONY: install
install: $(INSTALLED) ## install Node (when the machine's is too old) and the packages of the lockfile

.PHONY: serve
serve: $(INSTALLED) ## run the server (CONFIG=file ARGS="--http-listen …")
	@exec $(PACKHOUSE) serve $(CONFIG_FLAG) $(arguments)

.PHONY: debug
debug: $(INSTALLED) ## run the server with the inspector on 127.0.0.1:9229 and verbose logs
	@PACKHOUSE_LOG_LEVEL=debug exec node --inspect=127.0.0.1:9229 --enable-source-maps cmd/packhouse/main.ts serve $(CONFIG_FLAG) $(arguments)

.PHONY: packhouse
packhouse: $(INSTALLED) ## run any command of the CLI (ARGS="repo list")
	@exec $(PACKHOUSE) $(arguments) $(CONFIG_FLAG)

.PHONY: psql
psql: $(INSTALLED) ## open psql on the server's database (ARGS="-c '…'")
	@devenv/psql-client.sh
	@exec $(PACKHOUSE) psql $(CONFIG_FLAG) -- $(arguments)

.PHONY: check
check: $(INSTALLED) ## types, format, lint, lost promises, dead code, kernels as compiled, ranks of the rooms
	@exec devenv/check.sh

.PHONY: fix
fix: $(INSTALLED) ## apply the formatter and the safe fixes of the linter
	@exec node_modules/.bin/biome check --write

.PHONY: test
test: $(INSTALLED) ## run all tests, on Ceph too (CEPH=no leaves Ceph out; FILES="…" picks files; JOBS=n)
	@CEPH='$(or $(CEPH),yes)' FILES='$(FILES)' JOBS='$(JOBS)' exec devenv/test.sh

.PHONY: bench
bench: $(INSTALLED) ## run the benchmarks (ARGS="…"; CEPH=yes on a Ceph that it starts itself)
	@CEPH='$(or $(CEPH),no)' exec devenv/bench.sh $(arguments)

.PHONY: corpus
corpus: $(INSTALLED) ## measure what whole histories cost in the store and on the wire, beside git gc (ARGS="--quick")
	@exec node bench/corpus.ts $(arguments)

.PHONY: torture
torture: $(INSTALLED) ## kill servers at every failpoint, let store and catalog fail, then kill at failpoints and at random under load (SECONDS=600 SEED=n KILLS=n CEPH=yes)
	@TORTURE_SECONDS='$(or $(SECONDS),600)' TORTURE_SEED='$(or $(SEED),1)' TORTURE_KILLS='$(or $(KILLS),100000)' JOBS=1 TIMEOUT=$$(($(or $(SECONDS),600) + 3600)) \
	  FILES='cmd/packhouse/e2e/failpoints.test.ts cmd/packhouse/e2e/*-faults.test.ts cmd/packhouse/e2e/fleet.test.ts cmd/packhouse/e2e/clocks.test.ts cmd/packhouse/e2e/stopping.test.ts cmd/packhouse/e2e/rolling-restart.test.ts cmd/packhouse/e2e/torture.test.ts' CEPH='$(or $(CEPH),no)' exec devenv/test.sh

.PHONY: fuzz
fuzz: $(INSTALLED) ## try all that reads bytes from outside with mutated input (SECONDS=20 for each target, SEED=n, COVERAGE=yes)
	@echo 'seed $(or $(SEED),1)'
	@PACKHOUSE_FUZZ_SECONDS='$(or $(SECONDS),20)' PACKHOUSE_FUZZ_SEED='$(or $(SEED),1)' PACKHOUSE_FUZZ_COVERAGE='$(COVERAGE)' JOBS='$(JOBS)' TIMEOUT=$$(($(or $(SECONDS),20) * 20 + 600)) CEPH=no \
	  FILES='$(or $(FILES),internal/fuzz.test.ts internal/*/*-fuzz.test.ts cmd/packhouse/e2e/fuzz.test.ts)' exec devenv/test.sh

.PHONY: soak
soak: $(INSTALLED) ## pushes, clones, sealing, compaction and sweep together, none of which may fail (SECONDS=600 SEED=n; KILLS=yes kills maintenance)
	@SOAK_SECONDS='$(or $(SECONDS),600)' SOAK_SEED='$(or $(SEED),1)' SOAK_KILLS='$(KILLS)' TIMEOUT=$$(($(or $(SECONDS),600) + 1200)) FILES=cmd/packhouse/e2e/soak.test.ts CEPH='$(or $(CEPH),no)' exec devenv/test.sh

.PHONY: ms-migrate
ms-migrate: $(INSTALLED) ## bring the database of CONFIG to the newest schema
	@exec $(PACKHOUSE) migrate $(CONFIG_FLAG) $(arguments)

.PHONY: ms-gen
ms-gen: $(INSTALLED) ## write the query types from db/migrations (ARGS=--check: fail when they are stale)
	@exec devenv/ms-gen.sh $(arguments)

.PHONY: kernels
kernels: $(INSTALLED) ## compile the kernels: kernel.as becomes kernel.wasm.ts (ARGS=--check: fail when one is stale)
	@exec node devenv/kernels.ts $(arguments)

.PHONY: devenv
devenv: $(INSTALLED) ## start Ceph and PostgreSQL for development and write config.devenv.yaml
	@exec devenv/devenv.sh up

.PHONY: devenv-status
devenv-status: ## say what of the development servers runs
	@exec devenv/devenv.sh status

.PHONY: devenv-stop
devenv-stop: ## stop the development servers, keep their data
	@exec devenv/devenv.sh stop

.PHONY: devenv-destroy
devenv-destroy: ## stop the development servers and delete their data
	@exec devenv/devenv.sh destroy

.PHONY: clean
clean: ## delete what install and the tests made (not data, not the development servers)
	@rm -rf node_modules .tools .cache
