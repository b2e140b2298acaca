// Greedy generation with an image: encoding, prompt and decoding, on the model shape that transformers is measured with
// (224 px, patch 14; LLaMA of width 512, 8 layers, vocabulary 32000; random weights), 256 image tokens and 32 of text, 64 new tokens.
// Run: build/bin/generate_bench [threads]. Medians of 5 after a warm-up; one JSON line for each dtype and batch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/random.h"
#include "model/nn/generate.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace {

using namespace tephra;
using Clock = std::chrono::steady_clock;

constexpr int kNew = 64, kText = 32, kRuns = 5;

model::ModelConfig shape() {
  model::ModelConfig c;
  c.vision.hidden_size = 256, c.vision.intermediate_size = 1024, c.vision.num_layers = 6, c.vision.num_heads = 4;
  c.vision.image_size = 224, c.vision.patch_size = 14;
  c.vision_layer = -1;
  c.text.hidden_size = 512, c.text.intermediate_size = 1376, c.text.num_layers = 8, c.text.num_heads = 8;
  c.text.num_kv_heads = 8, c.text.head_dim = 64, c.text.vocab_size = 32000;
  c.connector = {"linear", 256, 512};
  return c;
}

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Bytes a second of a matrix times a vector, 256 MiB: what a decode step at batch 1 is made of.
double bandwidth(at::ScalarType type) {
  const int64_t columns = 4096, rows = (int64_t{256} << 20) / static_cast<int64_t>(at::elementSize(type)) / columns;
  const at::Tensor matrix = at::full({rows, columns}, 1, at::TensorOptions(type)),
                   vector = at::full({columns}, 1, at::TensorOptions(type));
  std::vector<double> times;
  for (int i = 0; i < 8; ++i) {
    const auto start = Clock::now();
    const at::Tensor product = matrix.mv(vector);
    if (i > 0) times.push_back(seconds(start, Clock::now()));
  }
  return static_cast<double>(matrix.numel()) * static_cast<double>(matrix.element_size()) / median(times);
}

struct Times {
  double first = 0, all = 0;  // seconds from the start to the first new token, and to the last
};

Result<Times> run(model::Generator& generator, const std::vector<model::Prompt>& prompts) {
  model::GenerateOptions options;
  options.max_new_tokens = kNew;
  options.stop_ids = {};
  const auto start = Clock::now();
  Clock::time_point first = start;
  options.on_token = [&](size_t row, int32_t) {
    if (row == 0 && first == start) first = Clock::now();
    return true;
  };
  TEPHRA_ASSIGN_OR_RETURN(const auto replies, generator.generate(prompts, options));
  if (replies.front().ids.size() != kNew) return Status(Code::kInternal, "a reply ended early");
  return Times{seconds(start, first), seconds(start, Clock::now())};
}

Status measure(DType dtype, at::ScalarType type, size_t batch, int threads) {
  const model::ModelConfig config = shape();
  const auto units = model::make_units(config, {});
  const auto weights = model::with_initial_values(nullptr, units, 1);
  TEPHRA_ASSIGN_OR_RETURN(const auto generator, model::Generator::create(config, *weights, dtype));
  std::vector<std::vector<float>> images(batch);
  std::vector<model::Prompt> prompts;
  for (size_t b = 0; b < batch; ++b) {
    for (uint64_t i = 0; i < 3 * 224 * 224; ++i) images[b].push_back(static_cast<float>(random_normal({2, b, i})));
    model::Prompt prompt{{model::kImageToken}, {images[b].data()}, b};
    for (uint64_t i = 0; i < kText; ++i) prompt.ids.push_back(static_cast<int32_t>(random_below(32000, {3, b, i})));
    prompts.push_back(std::move(prompt));
  }
  std::vector<double> first, decode;
  for (int i = 0; i <= kRuns; ++i) {
    TEPHRA_ASSIGN_OR_RETURN(const Times times, run(*generator, prompts));
    if (i == 0) continue;
    first.push_back(times.first);
    decode.push_back(static_cast<double>(batch) * (kNew - 1) / (times.all - times.first));
  }
  double bytes = 0;
  for (const auto& unit : units)
    for (const auto& tensor : unit.tensors)
      if (unit.group == "llm" && unit.name != "llm.embed")
        bytes += static_cast<double>(numel(tensor.shape) * size_bytes(dtype));
  std::printf(
      "{\"bench\": \"generate\", \"dtype\": \"%s\", \"batch\": %zu, \"threads\": %d, \"image_and_prompt_ms\": %.1f, "
      "\"decode_tokens_per_s\": %.1f, \"limit_tokens_per_s\": %.1f}\n",
      std::string(dtype_name(dtype)).c_str(), batch, threads, 1000 * median(first), median(decode),
      static_cast<double>(batch) * bandwidth(type) / bytes);
  std::fflush(stdout);
  return ok_status();
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  at::set_num_threads(threads);
  for (const auto& [dtype, type] : {std::pair{DType::kFloat32, at::kFloat}, std::pair{DType::kBFloat16, at::kBFloat16}})
    for (const size_t batch : {size_t{1}, size_t{8}})
      if (const Status status = measure(dtype, type, batch, threads); !status.ok()) {
        std::fprintf(stderr, "generate_bench: %s\n", status.to_string().c_str());
        return 1;
      }
  return 0;
}
