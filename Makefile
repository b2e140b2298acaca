# Thin: scripts/setup.sh installs what is missing, CMake presets build, the programs do the work.
PREFIX ?= /usr/local
STORE  ?= tephra-store
PRESET ?= release
BUILD   = $(if $(filter release,$(PRESET)),build,build/$(PRESET))

.PHONY: all setup build demo test slow-test bench install format lint base-models clean
all: build

setup:
	@scripts/setup.sh

$(BUILD)/build.ninja: | setup
	@cmake --preset $(PRESET) > /dev/null

build: setup $(BUILD)/build.ninja
	@cmake --build --preset $(PRESET)

demo: build
	@build/bin/tephra run recipes/demo.yaml --store $(STORE)

test: build
	@ctest --preset $(PRESET)

slow-test: build
	@ctest --test-dir $(BUILD) -L slow --output-on-failure

bench: build
	@bench/run.sh

base-models: build
	@scripts/train_base.sh

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

format:
	@git ls-files '*.h' '*.cc' '*.cu' | xargs clang-format -i

lint: build  # build: sources include generated headers
	@scripts/lint.sh $(BUILD)

clean:
	@rm -rf build
