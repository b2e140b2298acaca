# Thin: scripts/setup.sh installs what is missing, CMake presets build, the programs do the work.
PREFIX ?= /usr/local
STORE  ?= tephra-store
PRESET ?= release
BUILD   = $(if $(filter release,$(PRESET)),build,build/$(PRESET))

.PHONY: all setup build programs demo test slow-test bench install format lint base-models clean
all: build

setup:
	@scripts/setup.sh

$(BUILD)/build.ninja: | setup
	@cmake --preset $(PRESET) > /dev/null

build: setup $(BUILD)/build.ninja
	@cmake --build --preset $(PRESET)

programs: setup $(BUILD)/build.ninja
	@cmake --build --preset $(PRESET) --target tephra tephra-worker

demo: programs
	@build/bin/tephra run recipes/demo.yaml --store $(STORE)

test: build
	@ctest --preset $(PRESET)

slow-test: build
	@ctest --test-dir $(BUILD) -L slow --output-on-failure

bench: build
	@bench/run.sh

base-models: programs
	@scripts/train_base.sh

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

format:
	@git ls-files '*.h' '*.cc' | xargs clang-format -i

lint:
	@git ls-files '*.cc' | xargs -P 2 -n 1 clang-tidy --quiet -p $(BUILD)

clean:
	@rm -rf build
