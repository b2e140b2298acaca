#include "worker/calibrate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/diagnostic.h"
#include "base/random.h"
#include "cluster/mpi/mpi_communicator.h"
#include "model/nn/batch.h"
#include "model/nn/units.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "recipes/recipe.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"
#include "sharding/plan/step_time.h"
#include "worker/link.h"

namespace tephra::worker {
namespace {

constexpr int64_t kLayers = 2;             // of each tower
constexpr int64_t kCopyFloats = 16 << 20;  // 64 MiB: beyond the caches
constexpr int64_t kGatheredFloats = 4 << 20;
constexpr int kWarmUps = 2, kLeastSteps = 5, kMostSteps = 200, kCopies = 7;
constexpr double kMeasuredSeconds = 6;
constexpr std::chrono::seconds kTimeout{120};

double seconds_of(const std::function<void()>& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

// A stage's model with few layers, and one micro-batch of samples of one length.
struct Probe {
  std::vector<sharding::UnitSpec> units;
  model::Modules modules;
  std::unique_ptr<sharding::MicroBatch> batch;
  sharding::MicroBatchSize size;
};

Result<Probe> make_probe(const recipes::Recipe& recipe, const recipes::StageRecipe& stage, int64_t tokens) {
  const std::set<std::string> train(stage.train.begin(), stage.train.end());
  const auto lora = model::lora_config(stage.lora);
  Probe probe;
  model::ModelConfig config;
  const bool pictures = stage.kind == "train";
  if (pictures) {
    const model::ModelPaths paths{recipe.model.llava, recipe.model.vision, "", recipe.model.language};
    model::PartsOptions parts;
    if (paths.model.empty()) parts = {recipe.model.connector.kind, static_cast<int>(recipe.model.vision_layer)};
    TEPHRA_ASSIGN_OR_RETURN(config, model::load_model_config(paths, parts));
    config.vision.num_layers = std::min(kLayers, config.vision_layers_used());
    config.vision_layer = static_cast<int>(config.vision.num_layers);
  } else {
    TEPHRA_ASSIGN_OR_RETURN(config.text, model::load_llama_config(recipe.model.language));
  }
  config.text.num_layers = std::min(kLayers, config.text.num_layers);
  probe.units = pictures ? model::make_units(config, train, lora) : model::make_lm_units(config.text, train, lora);
  probe.modules = pictures ? model::make_modules(config, lora) : model::make_lm_modules(config.text, lora);

  const int64_t image_tokens = pictures ? config.tokens_per_image() : 0;
  if (tokens <= image_tokens + 1)
    return Status(Code::kInvalidArgument, "--tokens " + std::to_string(tokens) + " has no room for a picture of " +
                                              std::to_string(image_tokens) + " tokens and text; use more");
  const std::vector<float> pixels(pictures ? 3 * config.vision.image_size * config.vision.image_size : 0, 0.5f);
  std::vector<model::TokenizedSample> samples(static_cast<size_t>(stage.micro_batch));
  for (size_t s = 0; s < samples.size(); ++s) {
    model::TokenizedSample& sample = samples[s];
    for (int64_t t = 0; t < tokens - image_tokens; ++t)
      sample.ids.push_back(static_cast<int32_t>(
          random_below(static_cast<uint64_t>(config.text.vocab_size), {s, static_cast<uint64_t>(t)})));
    sample.labels = sample.ids;
    sample.position = s;
    if (!pictures) continue;
    sample.ids.insert(sample.ids.begin() + 1, model::kImageToken);
    sample.labels.insert(sample.labels.begin() + 1, model::kIgnoreLabel);
    sample.images.push_back(pixels.data());
  }
  Result<model::LlavaBatch> batch =
      pictures ? model::make_batch(samples, config, tokens) : model::make_lm_batch(samples, config.text, tokens);
  if (!batch.ok()) return batch.status();
  probe.batch = std::make_unique<model::LlavaBatch>(std::move(batch).value());
  probe.size = {
      .tokens = stage.micro_batch * tokens, .image_tokens = stage.micro_batch * image_tokens, .length = tokens};
  return probe;
}

class Calibration {
 public:
  Calibration(const recipes::Recipe& recipe, const recipes::StageRecipe& stage, cluster::Communicator& communicator)
      : recipe_(recipe), stage_(stage), communicator_(communicator) {
    policy_ = {.world_size = communicator.world_size(), .shard = sharding::shard_level(stage.sharding.shard)};
    at::set_num_threads(static_cast<int>(recipe.gang.threads_per_rank));
  }

  Result<std::string> run(int64_t tokens) {
    const int64_t process_bytes = resident_bytes();
    sharding::Device& device = cluster_.device;
    cluster_.devices_per_node = policy_.world_size;
    device.flops_share = device.link_share = 1;
    device.memory_bandwidth = copy_bandwidth();
    TEPHRA_RETURN_IF_ERROR(measure_link());
    TEPHRA_ASSIGN_OR_RETURN(Probe probe, make_probe(recipe_, stage_, tokens));
    TEPHRA_ASSIGN_OR_RETURN(const double step, step_seconds(probe));
    const double rate = rate_for(probe, step);
    if (communicator_.rank() != 0) return std::string();
    return nlohmann::json{{"ranks", policy_.world_size},
                          {"threads_per_rank", recipe_.gang.threads_per_rank},
                          {"stage", stage_.name},
                          {"tokens_per_sample", tokens},
                          {"probe_step_seconds", step},
                          {"flops", rate},
                          {"memory_bandwidth", device.memory_bandwidth},
                          {"link_bandwidth", device.link_bandwidth},
                          {"message_seconds", device.link_seconds},
                          {"process_bytes", process_bytes}}
        .dump(2);
  }

 private:
  Status barrier() { return communicator_.barrier(Deadline::after(kTimeout)); }

  // Bytes read and written in a second, while the other ranks do the same.
  double copy_bandwidth() {
    const at::Tensor from = at::ones({kCopyFloats}), to = at::empty({kCopyFloats});
    to.copy_(from);
    std::vector<double> seconds;
    for (int i = 0; i < kCopies && barrier().ok(); ++i) seconds.push_back(seconds_of([&] { to.copy_(from); }));
    return seconds.empty() ? 0 : 2.0 * static_cast<double>(from.nbytes()) / median(seconds);
  }

  Result<double> gather_seconds(int64_t floats) {
    const int64_t shard = floats / policy_.world_size;
    std::vector<float> mine(static_cast<size_t>(shard), 1), all(static_cast<size_t>(shard * policy_.world_size));
    std::vector<double> seconds;
    for (int i = 0; i < kCopies; ++i) {
      TEPHRA_RETURN_IF_ERROR(barrier());
      Status status;
      seconds.push_back(seconds_of([&] {
        status = communicator_.all_gather({mine.data(), shard, DType::kFloat32},
                                          {all.data(), shard * policy_.world_size, DType::kFloat32},
                                          Deadline::after(kTimeout));
      }));
      TEPHRA_RETURN_IF_ERROR(status);
    }
    return median(seconds);
  }

  Status measure_link() {
    if (policy_.world_size == 1) return ok_status();
    TEPHRA_ASSIGN_OR_RETURN(const double message, gather_seconds(policy_.world_size));
    TEPHRA_ASSIGN_OR_RETURN(const double large, gather_seconds(kGatheredFloats));
    const double received = static_cast<double>(kGatheredFloats * 4) * (policy_.world_size - 1) / policy_.world_size;
    cluster_.device.link_seconds = message / (policy_.world_size - 1);
    cluster_.device.link_bandwidth = received / std::max(large - message, 1e-9);
    return ok_status();
  }

  Result<double> step_seconds(Probe& probe) {
    TEPHRA_ASSIGN_OR_RETURN(const auto executor, sharding::Executor::create(probe.units, std::move(probe.modules),
                                                                            &communicator_, policy_, {}, kTimeout));
    std::map<std::string, Shape> shapes;
    for (const sharding::UnitSpec& unit : probe.units)
      for (const sharding::TensorSpec& tensor : unit.tensors) shapes[tensor.name] = tensor.shape;
    TEPHRA_RETURN_IF_ERROR(executor->load(
        [&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count, float* out) {
          model::init_tensor(tensor, shapes.at(tensor), 1, begin, count, out);
          return ok_status();
        },
        false));
    sharding::StepInput input;
    input.learning_rate.assign(probe.units.size(), 1e-5);
    std::vector<double> seconds;
    // So many steps for all ranks: a rank's own clock must not decide when to stop.
    int steps = kWarmUps + kLeastSteps;
    for (int step = 0; step < steps; ++step) {
      input.optimizer_step = step + 1;
      Status status;
      const double taken = seconds_of([&] { status = executor->train_step({probe.batch.get()}, input).status(); });
      TEPHRA_RETURN_IF_ERROR(status);
      if (step >= kWarmUps) seconds.push_back(taken);
      if (step + 1 == kWarmUps + kLeastSteps) {
        TEPHRA_ASSIGN_OR_RETURN(const double slowest, largest(median(seconds)));
        steps += std::min(kMostSteps, static_cast<int>(kMeasuredSeconds / std::max(slowest, 1e-6)));
      }
    }
    return largest(median(seconds));
  }

  Result<double> largest(double mine) {
    std::vector<double> all(static_cast<size_t>(policy_.world_size));
    TEPHRA_RETURN_IF_ERROR(communicator_.all_gather(
        {&mine, 1, DType::kFloat64}, {all.data(), policy_.world_size, DType::kFloat64}, Deadline::after(kTimeout)));
    return *std::max_element(all.begin(), all.end());
  }

  // The rate at which the planner's own clock gives the measured step, so that what its formulas leave out counts.
  double rate_for(const Probe& probe, double measured) {
    const auto schedule = sharding::make_schedule(probe.units, policy_);
    double low = 1e6, high = 1e16;
    for (int i = 0; i < 100; ++i) {
      const double rate = std::sqrt(low * high);
      cluster_.device.flops.fill(rate);
      const auto seconds =
          sharding::op_seconds(probe.units, policy_, probe.size, cluster_, sharding::Numbers::kFloat32);
      (sharding::step_time(schedule, probe.units, policy_, seconds).total > measured ? low : high) = rate;
    }
    return low;
  }

  const recipes::Recipe& recipe_;
  const recipes::StageRecipe& stage_;
  cluster::Communicator& communicator_;
  sharding::Policy policy_;
  sharding::Cluster cluster_;
};

}  // namespace

Result<std::string> calibrate(const CalibrateOptions& options, cluster::Communicator& communicator) {
  const recipes::LoadResult loaded = recipes::load_recipe(options.recipe, options.overrides);
  if (!loaded.ok()) return Status(Code::kInvalidArgument, to_string(loaded.diagnostics));
  const recipes::StageRecipe* stage =
      options.stage.empty() ? &loaded.recipe.stages.back() : loaded.recipe.find_stage(options.stage);
  if (stage == nullptr)
    return Status(Code::kInvalidArgument, "--stage " + options.stage + ": the recipe has no such stage");
  if (stage->kind == "contrastive")
    return Status(Code::kUnsupported, "stage " + stage->name + " is contrastive; calibrate with another stage");
  const int64_t tokens = options.tokens > 0 ? options.tokens : std::min<int64_t>(512, stage->max_length);
  return Calibration(loaded.recipe, *stage, communicator).run(tokens);
}

Result<std::string> calibrate_under_mpi(const CalibrateOptions& options) {
  TEPHRA_RETURN_IF_ERROR(cluster::mpi_init());
  Result<std::string> result = std::string();
  {
    auto communicator = cluster::make_mpi_communicator();
    result = communicator.ok() ? calibrate(options, **communicator) : Result<std::string>(communicator.status());
    if (communicator.ok() && !result.ok()) (*communicator)->abort(result.status());
  }
  cluster::mpi_finalize();
  return result;
}

}  // namespace tephra::worker
