// The recorded optimisation steps of the original LLaVA's trainer, run through the executor on one rank: losses,
// gradient norms and the parameters afterwards, within the tolerances of the parity set's README.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "cluster/communicator.h"
#include "data/conversation.h"
#include "data/template.h"
#include "data/tokenizer.h"
#include "model/nn/units.h"
#include "model/spec/units.h"
#include "sharding/exec/executor.h"
#include "sharding/plan/schedule.h"
#include "tests/model/nn/reference.h"

namespace tephra::model {
namespace {

// Everything a recorded run needs: batches of tokenized samples in the recorded order.
struct RecordedRun {
  nlohmann::json record;
  ModelConfig config;
  std::unique_ptr<TensorSource> source;
  std::vector<sharding::UnitSpec> units;
  std::vector<std::vector<LlavaBatch>> steps;  // per step, its micro-batches
};

std::vector<LlavaBatch> read_batches(const std::string& dir, const RecordedRun& run, int64_t samples_per_batch) {
  const bool llava = run.record["model"] == "llava";
  const std::string tokenizer_dir = dir + (llava ? "/llava-tiny" : "/llama-tiny"),
                    aspect = run.record["image_aspect_ratio"];
  auto tokenizer = must(data::Tokenizer::load(tokenizer_dir));
  auto pixels = must(SafetensorsFile::open(dir + "/preprocess.safetensors"));
  auto conversations = must(data::load_conversations(dir + "/" + run.record["data"].get<std::string>()));
  std::vector<std::vector<float>> kept;
  kept.reserve(conversations.size());
  std::vector<TokenizedSample> samples;
  for (const data::Sample& conversation : conversations) {
    auto encoded = must(data::encode_sample(conversation, *tokenizer, run.record["template"].get<std::string>(), 2048));
    data::finish_encoding(encoded, tokenizer->unk_id(), 2048);
    TokenizedSample sample{encoded.ids, encoded.labels, {}, samples.size()};
    if (!conversation.image.empty()) {
      kept.push_back(reference_tensor(
          *pixels, std::string(llava ? "llava-tiny." : "clip-tiny.") + conversation.image + "." + aspect));
      sample.images.push_back(kept.back().data());
    }
    samples.push_back(std::move(sample));
  }
  std::vector<LlavaBatch> out;
  for (size_t i = 0; i < samples.size(); i += static_cast<size_t>(samples_per_batch))
    out.push_back(
        must(make_batch(std::span(samples).subspan(i, static_cast<size_t>(samples_per_batch)), run.config, 2048)));
  return out;
}

RecordedRun read_run(const std::string& dir, const std::string& name, int64_t micro_batches) {
  RecordedRun run;
  const nlohmann::json all = reference_json(dir + "/train.json");
  for (const auto& record : all["runs"])
    if (record["name"] == name) run.record = record;
  ModelPaths paths = reference_model(dir, run.record["model"]);
  run.config = must(load_model_config(paths));
  run.source = must(open_model(paths));
  std::set<std::string> trainable = {"connector"};
  if (run.record["stage"] != "stage1") trainable.insert("llm");
  run.units = make_units(run.config, trainable);
  auto batches = read_batches(dir, run, 4 / micro_batches);
  for (size_t i = 0; i < batches.size(); i += static_cast<size_t>(micro_batches))
    run.steps.emplace_back(
        std::make_move_iterator(batches.begin() + static_cast<ptrdiff_t>(i)),
        std::make_move_iterator(batches.begin() + static_cast<ptrdiff_t>(i + static_cast<size_t>(micro_batches))));
  return run;
}

std::string canonical(const std::string& name) {
  static const std::pair<std::string, std::string> kPrefixes[] = {
      {"model.mm_projector.0.", "multi_modal_projector.linear_1."},
      {"model.mm_projector.2.", "multi_modal_projector.linear_2."},
      {"model.mm_projector.", "multi_modal_projector.linear_1."}};
  for (const auto& [from, to] : kPrefixes)
    if (name.starts_with(from)) return to + name.substr(from.size());
  return "language_model." + name;
}

// After the last step: recorded elements of every trained parameter within 5e-5, and its sum within 1e-3.
void expect_parameters(const nlohmann::json& expected, sharding::Executor& executor) {
  std::map<std::string, std::vector<float>> trained;
  sharding::Snapshot snapshot = executor.snapshot();
  for (const auto& piece : snapshot.pieces) {
    if (piece.kind != sharding::StateKind::kParameter) continue;
    auto& values = trained[piece.tensor];
    values.resize(static_cast<size_t>(numel(piece.shape)));
    std::copy(piece.values.begin(), piece.values.end(), values.begin() + piece.begin);
  }
  EXPECT_EQ(trained.size(), expected.size());
  for (const auto& [name, record] : expected.items()) {
    const std::vector<float>& values = trained[canonical(name)];
    ASSERT_FALSE(values.empty()) << name;
    double sum = 0;
    for (float v : values) sum += v;
    EXPECT_NEAR(sum, record["sum"].get<double>(), 1e-3) << name;
    for (const auto& element : record["elements"])
      EXPECT_NEAR(values[element["index"].get<size_t>()], element["value"].get<double>(), 5e-5) << name;
  }
}

struct Case {
  const char* run;
  int64_t micro_batches;
};

class Training : public ::testing::TestWithParam<Case> {};

TEST_P(Training, FollowsTheRecordedSteps) {
  TEPHRA_MODEL_REFERENCE(dir);
  RecordedRun run = read_run(dir, GetParam().run, GetParam().micro_batches);
  auto communicator = cluster::make_self_communicator();
  sharding::Policy policy;
  policy.micro_batches = static_cast<int>(GetParam().micro_batches);
  auto executor = must(sharding::Executor::create(run.units, make_modules(run.config), communicator.get(), policy, {},
                                                  std::chrono::seconds(60)));
  auto read = [&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count, float* out) {
    return run.source->read_float32(tensor, begin, count, out);
  };
  ASSERT_TRUE(executor->load(read, false).ok());
  ASSERT_EQ(run.steps.size(), run.record["steps"].size());
  for (size_t i = 0; i < run.steps.size(); ++i) {
    const auto& expected = run.record["steps"][i];
    std::vector<const sharding::MicroBatch*> local;
    for (const LlavaBatch& batch : run.steps[i]) local.push_back(&batch);
    sharding::StepInput input;
    input.learning_rate.assign(run.units.size(), expected["lr"].get<double>());
    input.optimizer_step = static_cast<int64_t>(i) + 1;
    auto stats = must(executor->train_step(local, input));
    EXPECT_EQ(stats.loss_tokens, expected["tokens"].get<int64_t>()) << "step " << i + 1;
    EXPECT_NEAR(stats.loss, expected["loss"].get<double>(), 1e-4) << "step " << i + 1;
    EXPECT_NEAR(stats.gradient_norm / expected["grad_norm"].get<double>(), 1.0, 2e-4) << "step " << i + 1;
  }
  expect_parameters(run.record["params_after"], *executor);
}

// Two micro-batches of 2 are weighed by tokens here, and so equal one of 4.
INSTANTIATE_TEST_SUITE_P(All, Training,
                         ::testing::Values(Case{"llava/stage1", 1}, Case{"llava/stage2", 1}, Case{"llava/stage2", 2},
                                           Case{"linear/stage1", 1}, Case{"linear/stage2", 1}),
                         [](const auto& info) {
                           std::string name =
                               std::string(info.param.run) + "_x" + std::to_string(info.param.micro_batches);
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

}  // namespace
}  // namespace tephra::model
