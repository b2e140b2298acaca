# Thin: scripts/setup.sh installs what is missing, CMake presets build, the programs do the work.
PREFIX ?= /usr/local
STORE  ?= tephra-store
PRESET ?= release
BUILD   = $(if $(filter release,$(PRESET)),build,build/$(PRESET))

.PHONY: all setup build programs demo real-small test cuda-plugin slow-test bench install format lint base-models clean
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

# SCIENCEQA: folder of problems.json, pid_splits.json and, if one has them, images/<split>/<pid>/image.png; trained on and asked too.
# Questions of more than 800 bytes are not trained on: they would not fit the small language model's context of 512 tokens.
ifdef SCIENCEQA
scienceqa = $(abspath $(SCIENCEQA))
with_scienceqa = \
  --set 'datasets.science={kind: scienceqa, problems: $(scienceqa)/problems.json, splits: $(scienceqa)/pid_splits.json, images: $(scienceqa)/images, longest_prompt: 800}' \
  --set 'stages.instruct.data=[{dataset: easy, part: train}, {dataset: science, part: train}]' \
  --set 'benches.science={kind: scienceqa, dataset: science, split: test, answer_rule: letter, max_new_tokens: 4, swap_images: true, batch: 8}'
endif

real-small: programs
	@scripts/fetch_real_small.sh
	@build/bin/tephra run recipes/real-small.yaml --store $(STORE) $(with_scienceqa)

# Other people's programs that tests compare with; a test whose program is not there says that it did not run.
test: build
	@scripts/install_packages.sh test $$(grep -v '^#' scripts/test_packages.txt) || true
	@scripts/eval_venv.sh || true
	@ctest --preset $(PRESET)

# The GPU plugin and its tests, where there is CUDA's toolkit: compiled and linked; without a GPU its tests say that they did not run.
cuda-plugin: setup
	@cmake --preset cuda > /dev/null
	@cmake --build --preset cuda --target tephra_cuda cluster_nccl_test
	@build/cuda/bin/cluster_nccl_test --gtest_brief=1

slow-test: build
	@ctest --test-dir $(BUILD) -L slow --output-on-failure

bench: build
	@bench/run.sh

base-models: programs
	@scripts/train_base.sh

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

format:
	@git ls-files '*.h' '*.cc' '*.cu' | xargs clang-format -i

lint: build  # build: sources include generated headers
	@scripts/lint.sh $(BUILD)

clean:
	@rm -rf build
