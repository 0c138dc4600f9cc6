# Outrigger: one Makefile, not recursive but for variants of itself. `make help` lists the targets.
#   BUILD=dir     where everything goes (default build)
#   SAN=list      sanitizers, e.g. SAN=address,undefined
#   V=1           show the commands
#   CC, AR, PKG_CONFIG   of the target; BUILD_CC for witc, which runs here
BUILD ?= build
CC ?= cc
BUILD_CC ?= cc
PKG_CONFIG ?= pkg-config
OPT ?= -O2
# Debian keeps nats-server in sbin, where a user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
CFLAGS = -std=c11 -D_GNU_SOURCE $(OPT) -g -fno-omit-frame-pointer -fstack-protector-strong $(FORTIFY) \
	-ffunction-sections -fdata-sections $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
FORTIFY = $(if $(SAN),,-D_FORTIFY_SOURCE=2)
WARN = -Wall -Wextra -Wno-unused-parameter -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wimplicit-fallthrough -Wformat=2 -Werror
LDFLAGS = -Wl,--gc-sections -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))
SDK_PKGS = libnats libuv json-c libsodium
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(SDK_PKGS) 2>/dev/null) $(shell $(PKG_CONFIG) --cflags libpq 2>/dev/null)
SDK_LIBS := $(shell $(PKG_CONFIG) --libs $(SDK_PKGS) 2>/dev/null)

# What a provider or example needs besides the SDK: adapters from sdk/adapters, and libraries.
ADAPTERS_keyvalue-redis = hiredis redis_queue redis_url
LIBS_keyvalue-redis = -lhiredis
ADAPTERS_sqldb-postgres = pq pq_pool
LIBS_sqldb-postgres = -lpq -lssl -lm
ADAPTERS_test_redis = hiredis redis_queue redis_url
LIBS_test_redis = -lhiredis
LIBS_test_postgres = $(BUILD)/gen/sqldb-postgres/gen.a $(LIB) -lm
LIBS_postgres = $(LIBS_test_postgres)

PROVIDERS := $(notdir $(patsubst %/main.c,%,$(wildcard providers/*/main.c)))
EXAMPLES := $(notdir $(patsubst %/main.c,%,$(wildcard sdk/examples/*/main.c)))
PROGRAMS := $(PROVIDERS) $(EXAMPLES)
dir_of = $(patsubst %/main.c,%,$(wildcard providers/$1/main.c sdk/examples/$1/main.c))
# HTTP/1.1 is of the admin port, too, and so is in the library.
SDK_SRC := $(wildcard sdk/src/*/*.c) sdk/adapters/http1.c sdk/adapters/http1_parse.c
WIT_SRC := $(wildcard sdk/wit/*.c)
WAVE_SRC := $(wildcard sdk/wave/*.c)
CLI_SRC := $(wildcard sdk/cli/*.c)
# What of wcp has tests of its own, with msgpack-c. Debian 13 calls its package msgpack-c, Debian 12 msgpack.
CLI_PARTS = sdk/cli/measure.c sdk/cli/recording.c sdk/cli/compare.c sdk/cli/tap.c
CLI_LIBS := $(shell $(PKG_CONFIG) --libs msgpack-c 2>/dev/null || $(PKG_CONFIG) --libs msgpack 2>/dev/null)
TEST_PROGRAMS = bench floor vec wrpc-call
SRC_bench = tests/bench/bench.c
SRC_floor = tests/bench/floor.c
SRC_vec = $(wildcard tests/vec/*.c)
SRC_wrpc-call = $(wildcard tests/wrpc/*.c) sdk/cli/session.c
TESTS := $(notdir $(basename $(wildcard tests/unit/test_*.c)))
FUZZERS := $(filter-out replay,$(notdir $(basename $(wildcard tests/fuzz/*.c))))
OBJ = $(BUILD)/obj
LIB = $(BUILD)/libwcp.a
WITC = $(BUILD)/bin/witc
INCLUDES = -Isdk/include
PRIVATE = -Isdk/include -Isdk/src -Isdk

ifndef V
.SILENT:
endif
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --jobs=$(shell nproc)
endif

all: $(addprefix $(BUILD)/bin/,$(PROGRAMS) witc $(if $(CLI_SRC),wcp) $(TEST_PROGRAMS)) ## Build every executable into build/bin

# --- the SDK ---
$(LIB): $(SDK_SRC:%.c=$(OBJ)/%.o)
	@rm -f $@ && $(AR) rcs $@ $^
$(OBJ)/sdk/%.o: sdk/%.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(CC) $(CFLAGS) $(WARN) $(PRIVATE) $(PKG_CFLAGS) -MMD -MP -c $< -o $@
$(OBJ)/tests/%.o: tests/%.c $(BUILD)/gen/tests/gen.a
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(CC) $(CFLAGS) $(WARN) $(PRIVATE) -Itests -I$(BUILD)/gen/tests $(PKG_CFLAGS) -MMD -MP -c $< -o $@

# --- witc runs on the building machine: its objects and its copy of sdk/src/base are apart ---
HOST_SRC = $(wildcard sdk/witc/*.c) $(WIT_SRC) $(wildcard sdk/src/base/*.c)
$(WITC): $(HOST_SRC:%.c=$(BUILD)/host/%.o)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(BUILD_CC) $(if $(SAN),-fsanitize=$(SAN)) $^ -o $@
$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(BUILD_CC) $(CFLAGS) $(WARN) $(PRIVATE) -MMD -MP -c $< -o $@

# --- generated code: witc on a program's wit/ folder, compiled into one archive ---
INTERFACES = $(wildcard sdk/interfaces/*/*.wit)
.SECONDEXPANSION:
.SECONDARY:
$(BUILD)/gen/%/gen.a: $(WITC) $(INTERFACES) $$(wildcard $$(call dir_of,$$*)/wit/*.wit) $(wildcard tests/wit/*.wit tests/wit/deps/*.wit)
	@rm -rf $(@D) && mkdir -p $(@D)
	@echo "  WITC $(@D)"
	$(WITC) -I sdk/interfaces -o $(@D) $(or $(patsubst %,%/wit,$(call dir_of,$*)),$*/wit)
	@for c in $(@D)/*.c; do $(CC) $(CFLAGS) $(WARN) $(INCLUDES) -I$(@D) -c $$c -o $${c%.c}.o || exit 1; done
	@$(AR) rcs $@ $(@D)/*.o

# --- providers and examples ---
define program
$1_SRC := $$(wildcard $(call dir_of,$1)/*.c) $$(ADAPTERS_$1:%=sdk/adapters/%.c)
$1_OBJ := $$(patsubst %.c,$(OBJ)/%.o,$$($1_SRC))
$$(filter-out $(OBJ)/sdk/adapters/%,$$($1_OBJ)): $(OBJ)/%.o: %.c $(BUILD)/gen/$1/gen.a
	@mkdir -p $$(@D)
	@echo "  CC   $$@"
	$(CC) $(CFLAGS) $(WARN) $(INCLUDES) -Isdk/adapters -I$(BUILD)/gen/$1 $$(PKG_CFLAGS) -MMD -MP -c $$< -o $$@
$(BUILD)/bin/$1: $$($1_OBJ) $(BUILD)/gen/$1/gen.a $(LIB)
	@mkdir -p $$(@D)
	@echo "  LINK $$@"
	$(CC) $(LDFLAGS) $$^ $(LIB) $$(LIBS_$1) $(SDK_LIBS) -lpthread -o $$@
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$p)))

$(BUILD)/bin/wcp: $(patsubst %.c,$(OBJ)/%.o,$(CLI_SRC) $(WAVE_SRC) $(WIT_SRC)) $(LIB)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(CC) $(LDFLAGS) $^ $(LIB) $(SDK_LIBS) $(CLI_LIBS) -lpthread -o $@

# --- tests: each test_*.c is an executable of its own ---
TEST_OBJ = $(patsubst %.c,$(OBJ)/%.o,$(wildcard tests/*.c))
$(BUILD)/test/%: $(OBJ)/tests/unit/%.o $(TEST_OBJ) $$(addprefix $(OBJ)/sdk/adapters/,$$(addsuffix .o,$$(ADAPTERS_$$*))) $(BUILD)/gen/tests/gen.a $(patsubst %.c,$(OBJ)/%.o,$(CLI_PARTS) $(WAVE_SRC) $(WIT_SRC)) $(LIB)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(CC) $(LDFLAGS) $^ $(LIB) $(LIBS_$*) $(SDK_LIBS) $(CLI_LIBS) -lpthread -o $@
# These test a provider's own values.
POSTGRES_TESTS = $(OBJ)/tests/unit/test_postgres.o $(OBJ)/tests/fuzz/postgres.o
$(POSTGRES_TESTS): $(BUILD)/gen/sqldb-postgres/gen.a
$(POSTGRES_TESTS): private PKG_CFLAGS += -I$(BUILD)/gen/sqldb-postgres
# Programs that tests run: the load generator, what it compares with, a provider and a caller of every type.
$(TEST_PROGRAMS:%=$(BUILD)/bin/%): $(BUILD)/bin/%: $$(addprefix $(OBJ)/,$$(SRC_$$*:.c=.o)) $(BUILD)/gen/tests/gen.a $(LIB)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(CC) $(LDFLAGS) $^ $(LIB) $(SDK_LIBS) -lpthread -o $@

# A fuzz target with libFuzzer's main, and with one that replays tests/fuzz/corpus in make check.
FUZZ_USES_host = fake_transport
FUZZ_USES_rpc = fake_transport
FUZZ_USES_frames = fake_transport fake_conn
FUZZ_USES_watch = fake_transport
FUZZ_OBJ = $(OBJ)/tests/fuzz/%.o $$(addprefix $(OBJ)/tests/,$$(addsuffix .o,$$(FUZZ_USES_$$*))) \
	$(patsubst %.c,$(OBJ)/%.o,$(CLI_PARTS) $(WIT_SRC) $(WAVE_SRC) $(filter-out %/witc.c,$(wildcard sdk/witc/*.c))) \
	$(BUILD)/gen/tests/gen.a $(LIB)
$(BUILD)/fuzz/%: $(FUZZ_OBJ)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(CC) $(LDFLAGS) -fsanitize=fuzzer $^ $(LIB) $(LIBS_$*) $(SDK_LIBS) $(CLI_LIBS) -lpthread -o $@
$(BUILD)/replay/%: $(FUZZ_OBJ) $(OBJ)/tests/fuzz/replay.o
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(CC) $(LDFLAGS) $^ $(LIB) $(LIBS_$*) $(SDK_LIBS) $(CLI_LIBS) -lpthread -o $@

tests-built: all $(TESTS:%=$(BUILD)/test/%) $(FUZZERS:%=$(BUILD)/replay/%)
.PHONY: all tests-built

-include $(shell find $(BUILD)/obj $(BUILD)/host -name '*.d' -type f 2>/dev/null)

# --- what people run ---
# Debian 12 has nats-server 2.9; what is about servers is tested with a newer one, too, where go can build it.
NEWER_NATS = newer=$$(tests/peers/build.sh nats-server) || [ $$? -eq 3 ] && NEWER_NATS="$$newer"
SAN_MAKE = $(MAKE) --no-print-directory BUILD=$(BUILD)/san SAN=address,undefined OPT=-O1

.PHONY: help deps demo check check-run check-release soak check-host check-peers check-lattice check-wit check-layers check-trixie bench kube peers peers-wash images lint fmt fuzz valgrind install clean
help: ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

deps: ## Install the system packages that are missing (apt, with sudo when not root)
	@tests/deps.sh

demo: deps ## Build, run a component on our providers, swap its key-value store under load
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/demo.py

check: deps check-layers ## Build with sanitizers and run every unit, vector and integration test
	+@$(SAN_MAKE) tests-built
	@$(NEWER_NATS) /usr/bin/python3 tests/run.py $(BUILD)/san

check-release: deps ## The same tests on the optimised build
	+@$(MAKE) --no-print-directory tests-built
	@$(NEWER_NATS) /usr/bin/python3 tests/run.py $(BUILD)

SEEDS ?= 10000
soak: deps ## Calls over a bad network, SEEDS per kind of fault, from seed FIRST on; 10 GiB up and down
	+@$(SAN_MAKE) $(BUILD)/san/test/test_simulation $(BUILD)/san/bin/blobstore-fs
	@BIN=$(BUILD)/san/bin MIB=10240 /usr/bin/python3 tests/e2e/test_blobstore_bulk.py constant_memory
	@SEEDS=$(SEEDS) FIRST=$(or $(FIRST),1) $(BUILD)/san/test/test_simulation

check-host: ## The chain on a real wasmCloud 1.9 host; CHECK_HOST="--requests N --only WORDS"
	@tests/deps.sh podman runc redis-tools
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/host/check.py $(CHECK_HOST)

check-peers: deps ## The published Rust crates call us and are called; CHECK_PEERS="--calls N --only WORDS"
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/wrpc/check.py $(CHECK_PEERS)

check-lattice: deps ## Our providers as hosts to real wadm and, after make peers-wash, wash; CHECK_LATTICE="--calls N --only WORDS"
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/lattice/check.py $(CHECK_LATTICE)

kube: ## keyvalue-redis as a pod of a real kubelet; as root
	@tests/deps.sh podman runc containerd containernetworking-plugins iproute2
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/kube/run.py

check-wit: ## witc against wasm-tools, on the WIT of published crates; CHECK_WIT="WORDS"
	@tests/deps.sh clang-14
	+@$(MAKE) --no-print-directory $(WITC)
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/wit/check.py $(CHECK_WIT)

check-layers: ## Prove that includes point one way only
	@tests/layers.sh

check-trixie: ## make check in a Debian 13 chroot, cached
	@tests/deps.sh mmdebstrap
	@tests/trixie.sh

bench: deps ## CPU, time and memory per call, as ratios to the floor; PEER=executable: to that
	+@$(MAKE) --no-print-directory all
	@BIN=$(BUILD)/bin /usr/bin/python3 tests/bench/run.py

peers: deps ## Build the wasmCloud host, the test component, the wRPC peers, nats-server and wadm into the cache
	@tests/peers/build.sh nats-server lattice-host component load wrpc-29 wrpc-31 wadm-server

peers-wash: deps ## Build wash, which check-lattice then runs, too (20 minutes)
	@tests/peers/build.sh wash

images: ## Build a container image of each provider
	@tests/deps.sh podman runc
	+@$(MAKE) --no-print-directory all
	@for p in $(PROVIDERS); do images/build.sh $(BUILD)/bin/$$p || exit 1; done

LINT_SRC = $(SDK_SRC) $(WIT_SRC) $(WAVE_SRC) $(CLI_SRC) $(wildcard sdk/witc/*.c sdk/adapters/*.c providers/*/*.c sdk/examples/*/*.c)
FMT_SRC = $(wildcard sdk/*/*.[ch] sdk/*/*/*.[ch] providers/*/*.[ch] tests/*.[ch] tests/*/*.[ch])
lint: ## clang-tidy, cppcheck, gcc -fanalyzer, formatting
	@tests/deps.sh clang-14 clang-tidy-14 clang-format-14 cppcheck
	@clang-format-14 --dry-run -Werror $(FMT_SRC) || { echo "lint: make fmt changes these"; exit 1; }
	+@$(MAKE) --no-print-directory --keep-going --output-sync $(LINT_SRC:%.c=$(BUILD)/lint/%.ok)
	@echo "lint: clean"
$(BUILD)/lint/%.ok: $(OBJ)/%.o .clang-tidy tests/lint.sh
	@mkdir -p $(@D)
	@echo "  LINT $*.c"
	@tests/lint.sh $*.c $(CFLAGS) $(PRIVATE) -Isdk/adapters -I$(BUILD)/gen/$(notdir $(patsubst %/,%,$(dir $*))) $(PKG_CFLAGS)
	@touch $@

fmt: ## Format every C file
	@tests/deps.sh clang-format-14
	clang-format-14 -i $(FMT_SRC)

FUZZ_SECONDS ?= 60
fuzz: ## Run each fuzz target for FUZZ_SECONDS (default 60)
	@tests/deps.sh clang-14 libclang-rt-14-dev
	+@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang-14 BUILD_CC=clang-14 SAN=address,undefined,fuzzer-no-link OPT=-O1 $(FUZZERS:%=$(BUILD)/fuzz/fuzz/%)
	@for f in $(FUZZERS); do mkdir -p $(BUILD)/corpus/$$f; log=$(BUILD)/corpus/$$f.log; \
	  $(BUILD)/fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=$(BUILD)/corpus/$$f. $(BUILD)/corpus/$$f tests/fuzz/corpus/$$f >$$log 2>&1 || { tail -n 60 $$log; exit 1; }; \
	  echo "fuzz $$f: $$(sed -n 's/^stat::number_of_executed_units: *//p' $$log) inputs, nothing found"; done

# The core's tests: no sockets, and no clock that valgrind would slow down.
VALGRIND_TESTS = $(filter-out test_http1 test_redis test_io_% test_witc,$(TESTS))
valgrind: ## The core's unit tests under valgrind, with its leak check
	@tests/deps.sh valgrind
	+@$(MAKE) --no-print-directory $(VALGRIND_TESTS:%=$(BUILD)/test/%)
	@for t in $(VALGRIND_TESTS); do echo "valgrind $$t" && \
	  valgrind --quiet --trace-children=no --leak-check=full --show-leak-kinds=definite,indirect,possible --error-exitcode=9 \
	  $(BUILD)/test/$$t || exit 1; done
	@echo "valgrind: clean"

PREFIX ?= /usr/local
install: all ## Install executables, manual pages, headers, interfaces and the library (PREFIX, DESTDIR)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib include/wcp share/wcp share/man/man1)
	rm -rf $(BUILD)/man && mkdir -p $(BUILD)/man
	$(BUILD)/bin/wcp --man $(BUILD)/man
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install $(addprefix $(BUILD)/bin/,$(PROVIDERS) witc wcp) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib
	install -m 644 sdk/include/wcp/*.h $(DESTDIR)$(PREFIX)/include/wcp
	cp -r sdk/interfaces $(DESTDIR)$(PREFIX)/share/wcp/

clean: ## Remove the build folder
	rm -rf $(BUILD)
