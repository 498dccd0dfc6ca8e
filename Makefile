# What a developer types. build.sh does the building; src/Makefile has the rules of our own objects.
SHELL := /bin/bash

.DEFAULT_GOAL := build
.PHONY: build test demo bench lint fmt docs chaos fuzz valgrind reproducible update-deps clean help
.PHONY: up down restart ps health debug logs kafka-topics kafka-ui shell-pg shell-collector check-pg-stats \
	start-simulator stop-simulator collect-test-data image check-environment

# SANITIZE=1 takes the binary with AddressSanitizer and UndefinedBehaviorSanitizer instead of the one that ships.
ifeq ($(SANITIZE),1)
TOOLCHAIN := sanitize
DBOBS := $(CURDIR)/build/sanitize/dbobs
# A small quarantine, so that the specs of memory under repeats measure the program and not the sanitizer.
export ASAN_OPTIONS ?= abort_on_error=1:detect_stack_use_after_return=0:quarantine_size_mb=4:thread_local_quarantine_size_kb=64
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
else
TOOLCHAIN := musl
DBOBS := $(CURDIR)/build/dbobs
endif
export DBOBS

build: ## build/dbobs, the static binary (installs what building needs)
	@./build.sh install build
	@./build.sh $(TOOLCHAIN)

test: build ## every test, on real PostgreSQL and Kafka (SANITIZE=1: with the sanitizers)
	@./build.sh install test
	@tests/run.sh

demo: build ## a throwaway PostgreSQL, its telemetry decoded on the terminal
	@./build.sh install demo
	@tests/demo.sh

bench: build ## figures beside a peer's: producing, start-up, idle, scrapes, statements, logs, load tests (or one: make bench-metrics)
	@./build.sh install bench
	@./build.sh glibc
	@DBOBS_GLIBC=$(CURDIR)/build/glibc/dbobs tests/bench/run.sh

bench-%: build
	@./build.sh install bench
	@./build.sh glibc
	@DBOBS_GLIBC=$(CURDIR)/build/glibc/dbobs tests/bench/run.sh $*

lint: build ## format, Lua, C and shell checks, and that dependencies point down
	@./build.sh install lint
	@src/lint.sh

fmt: ## reformat the C sources
	@./build.sh install lint
	@clang-format -i $$(git ls-files -co --exclude-standard 'src/*.[ch]')

docs: build ## write the reference of the Lua API, lua/README.md, anew
	@$(DBOBS) run src/reference.lua >lua/README.md

chaos: build ## KILLS=100: logs in all formats, rotated, dbobs killed, broker and disk failing; counts what is lost
	@./build.sh install test
	@tests/chaos/run.sh

fuzz: ## every fuzz target for FUZZ_RUNS (default 20000) inputs
	@./build.sh install build
	@./build.sh install test
	@./build.sh fuzz
	@src/fuzz.sh

valgrind: ## the specs under valgrind's memory checker (glibc build)
	@./build.sh install build
	@./build.sh install test
	@./build.sh glibc
	@DBOBS=$(CURDIR)/build/glibc/dbobs src/valgrind.sh

reproducible: ## build everything twice, in two places, and compare
	@./build.sh install build
	@./build.sh reproducible

update-deps: ## lock the newest sources that Debian has
	@./build.sh install build
	@./build.sh update-deps

clean: ## remove the environment's data and build/ (the cache of downloads and built dependencies stays)
	@docker/environment.sh clean
	@rm -rf build

# ---- the development environment: docker/README.md ----

ENVIRONMENT := @docker/environment.sh

up: build ## PostgreSQL, Kafka, collector, load simulator, topic monitor: containers where an engine runs, else processes
	$(ENVIRONMENT) up

down: ## stop it; its data stays
	$(ENVIRONMENT) down

restart: build ## down, then up
	$(ENVIRONMENT) restart

ps: ## its services
	$(ENVIRONMENT) ps

health: ## whether all is well
	$(ENVIRONMENT) health

debug: ## all that a bug report needs, without secrets
	$(ENVIRONMENT) debug

logs: ## the end of all logs; logs-collector, logs-simulator, logs-kafka, logs-postgres, logs-ui: of one
	$(ENVIRONMENT) logs

logs-%:
	$(ENVIRONMENT) logs $*

kafka-topics: ## the topics
	$(ENVIRONMENT) topics

kafka-consume-metrics kafka-consume-logs kafka-consume-queries: ## the newest records decoded; FOLLOW=1, FROM=, COUNT=
	$(ENVIRONMENT) consume $(@:kafka-consume-%=%)

kafka-ui: ## the well-known Kafka UI beside our topic monitor (needs an engine)
	$(ENVIRONMENT) kafka-ui

shell-pg: ## psql
	$(ENVIRONMENT) psql

shell-collector: ## a shell with the collector's settings and dbobs in the PATH
	$(ENVIRONMENT) shell-collector

check-pg-stats: ## the statements that took most time
	$(ENVIRONMENT) check-pg-stats

start-simulator: ## go on with the load
	$(ENVIRONMENT) start simulator

stop-simulator: ## no load
	$(ENVIRONMENT) stop simulator

collect-test-data: ## samples of each topic into build/test-data, validated; DIR=, COUNT=
	$(ENVIRONMENT) collect-test-data

image: build ## the container image, with docker, podman or buildah
	@./build.sh install image
	@docker/image.sh

check-environment: build ## every target above without an engine, the image, the compose file
	@./build.sh install test
	@./build.sh install image
	@docker/check.sh

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { n = split($$1, names, " "); for (i = 1; i <= n; i++) printf "  make %-22s %s\n", names[i], $$2 }' Makefile
