// Greedy generation with an image (encoding, prompt and decoding) and scoring, on the model shape that transformers is measured with
// (224 px, patch 14; LLaMA of width 512, 8 layers, vocabulary 32000; random weights). Generation: 256 image tokens and 32 of text, 64 new
// tokens. Scoring: 256 image tokens and 64 of text, the last 48 supervised; its tokens/s count all 320.
// Run: build/bin/generate_bench [threads [F32|BF16 1|8]]. Medians of 5 after a warm-up; one JSON line for each dtype and batch. The limit: all weights of
// a step read once, at the speed at which these threads read memory.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/memory.h"
#include "base/random.h"
#include "bench/peer_shape.h"
#include "model/nn/generate.h"
#include "model/nn/lanes.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace {

using namespace tephra;
using Clock = std::chrono::steady_clock;

constexpr int kNew = 64, kText = 32, kScoredText = 64, kSupervised = 48, kRuns = 5;

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Bytes a second that the threads read together, from 256 MiB.
double bandwidth() {
  const int64_t count = int64_t{64} << 20, grain = 1 << 15;
  const at::Tensor memory = at::ones({count}, at::kFloat);
  const float* from = memory.const_data_ptr<float>();
  std::atomic<float> total = 0;  // so that the reading is not left out
  std::vector<double> times;
  for (int run = 0; run <= kRuns; ++run) {
    const auto start = Clock::now();
    at::parallel_for(0, count / grain, 1, [&](int64_t begin, int64_t end) {
      model::Lanes sums[8] = {};
      for (int64_t i = begin * grain; i < end * grain; i += 8 * model::kLanes)
        for (int64_t j = 0; j < 8; ++j) sums[j] += model::load(from + i + j * model::kLanes);
      for (const model::Lanes& sum : sums) total = total + model::sum(sum);
    });
    if (run > 0) times.push_back(seconds(start, Clock::now()));
  }
  return static_cast<double>(memory.nbytes()) / bench::median(times);
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

// Seconds to score the samples.
Result<double> run_score(model::Generator& generator, const std::vector<model::TokenizedSample>& samples) {
  const auto start = Clock::now();
  TEPHRA_ASSIGN_OR_RETURN(const auto scores, generator.score(samples, 4096));
  if (scores.front().tokens != kSupervised) return Status(Code::kInternal, "a sample was cut");
  return seconds(start, Clock::now());
}

std::vector<int32_t> image_and_text(uint64_t row, uint64_t count) {
  std::vector<int32_t> ids = {model::kImageToken};
  for (uint64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random_below(32000, {3, row, i})));
  return ids;
}

Status measure(DType dtype, size_t batch, int threads) {
  const model::ModelConfig config = bench::peer_shape();
  const auto units = model::make_units(config, {});
  const auto weights = model::with_initial_values(nullptr, units, 1);
  TEPHRA_ASSIGN_OR_RETURN(const auto generator, model::Generator::create(config, *weights, dtype));
  std::vector<std::vector<float>> images(batch);
  std::vector<model::Prompt> prompts;
  std::vector<model::TokenizedSample> samples;
  for (size_t b = 0; b < batch; ++b) {
    for (uint64_t i = 0; i < 3 * 224 * 224; ++i) images[b].push_back(static_cast<float>(random_normal({2, b, i})));
    prompts.push_back({image_and_text(b, kText), {images[b].data()}, b});
    samples.push_back({image_and_text(b, kScoredText), {}, {images[b].data()}, b});
    samples.back().labels = samples.back().ids;
    std::fill(samples.back().labels.begin(), samples.back().labels.end() - kSupervised, model::kIgnoreLabel);
  }
  std::vector<double> first, decode, score;
  for (int i = 0; i <= kRuns; ++i) {
    TEPHRA_ASSIGN_OR_RETURN(const Times times, run(*generator, prompts));
    TEPHRA_ASSIGN_OR_RETURN(const double scored, run_score(*generator, samples));
    if (i == 0) continue;
    first.push_back(times.first);
    decode.push_back(static_cast<double>(batch) * (kNew - 1) / (times.all - times.first));
    score.push_back(static_cast<double>(batch) * (256 + kScoredText) / scored);
  }
  double bytes = 0;
  for (const auto& unit : units)
    for (const auto& tensor : unit.tensors)
      if (unit.group == "llm" && unit.name != "llm.embed")
        bytes += static_cast<double>(numel(tensor.shape) * size_bytes(dtype));
  std::printf(
      "{\"bench\": \"generate\", \"dtype\": \"%s\", \"batch\": %zu, \"threads\": %d, \"image_and_prompt_ms\": %.1f, "
      "\"decode_tokens_per_s\": %.1f, \"limit_tokens_per_s\": %.1f, \"score_tokens_per_s\": %.1f}\n",
      std::string(dtype_name(dtype)).c_str(), batch, threads, 1000 * bench::median(first), bench::median(decode),
      static_cast<double>(batch) * bandwidth() / bytes, bench::median(score));
  std::fflush(stdout);
  return ok_status();
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  at::set_num_threads(threads);
  keep_freed_memory();  // as every program that loads a model does
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const size_t batch : {size_t{1}, size_t{8}}) {
      if (argc > 3 && (dtype_name(dtype) != argv[2] || std::to_string(batch) != argv[3])) continue;
      if (const Status status = measure(dtype, batch, threads); !status.ok()) {
        std::fprintf(stderr, "generate_bench: %s\n", status.to_string().c_str());
        return 1;
      }
    }
  return 0;
}
