// What export_llava writes gives the same logits in transformers' LlavaForConditionalGeneration, the real one; and contrastive training
// computes what its CLIPModel and torch's AdamW compute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "cluster/communicator.h"
#include "model/nn/batch.h"
#include "model/nn/generate.h"
#include "model/spec/safetensors.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"
#include "tests/base/peer_python.h"
#include "tests/base/temp_dir.h"
#include "tests/model/nn/chain.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

using nlohmann::json;

std::vector<float> picture(uint64_t seed) {
  std::vector<float> out;
  for (uint64_t i = 0; i < 3 * 8 * 8; ++i) out.push_back(static_cast<float>(random_normal({seed, i})));
  return out;
}

class Transformers : public ::testing::TestWithParam<const char*> {};

ModelConfig model_called(const std::string& name) {
  ModelConfig config = tiny_model(name == "linear" ? "linear" : "mlp2x_gelu");
  if (name == "llama3") {
    config.text.rope_theta = 500000.0;
    config.text.rope_scaling = {"llama3", 8, 1, 4, 16};
  }
  if (name == "class_token") config.drop_class_token = false;
  if (name == "other_layer") config.vision_layer = -1;
  if (name == "tied_head") config.text.tied_head = true;
  if (name == "heads") config.text.num_kv_heads = 4, config.text.head_dim = 6;
  return config;
}

TEST_P(Transformers, LoadsAnExportAndGivesTheSameLogits) {
  TEPHRA_REQUIRE_PEER_PYTHON("transformers");
  const ModelConfig config = model_called(GetParam());
  ModelConfig whole = config;
  whole.vision_layer = -1;
  const auto weights = tiny_weights(make_units(whole, {}));
  TempDir dir;
  ASSERT_TRUE(export_llava(Env::posix(), dir.path() + "/model", config, *weights, {}).ok());

  std::vector<int32_t> ids = {1, 7, kImageToken, 9, 12, 5, 31, 2};
  if (GetParam() == std::string("two_images")) ids = {1, 7, kImageToken, 9, 12, kImageToken, 5, 31, 2};
  if (GetParam() == std::string("first_and_last")) ids = {kImageToken, 7, 9, kImageToken, kImageToken};
  const auto images = static_cast<size_t>(std::count(ids.begin(), ids.end(), kImageToken));
  std::vector<float> pixels;
  for (uint64_t i = 0; i < images * 3 * 8 * 8; ++i) pixels.push_back(static_cast<float>(random_normal({3, i})));
  std::vector<const float*> each;
  for (size_t i = 0; i < images; ++i) each.push_back(pixels.data() + i * 3 * 8 * 8);
  std::ofstream(dir.path() + "/in.json") << json{{"ids", ids}, {"pixels", pixels}};
  ASSERT_TRUE(peer_script("model/nn/transformers_logits.py", dir.path(), dir.path() + "/log"));
  const json theirs = json::parse(*read_file(Env::posix(), dir.path() + "/out.json"));

  auto generator = Generator::create(config, *weights);
  ASSERT_TRUE(generator.ok()) << generator.status().to_string();
  const auto trace = (*generator)->trace({ids, std::vector<int32_t>(ids.size(), kIgnoreLabel), each, 0});
  ASSERT_TRUE(trace.ok()) << trace.status().to_string();
  const at::Tensor ours = trace->logits;
  ASSERT_EQ(static_cast<int64_t>(theirs.size()), ours.size(0));
  for (int64_t t = 0; t < ours.size(0); ++t) {
    const json& row = theirs[static_cast<size_t>(t)];
    ASSERT_EQ(row.size(), 41u) << "the vocabulary and the image token";
    for (int64_t v = 0; v < 40; ++v)
      ASSERT_NEAR(ours[t][v].item<double>(), row[static_cast<size_t>(v)].get<double>(), 2e-4) << t << " " << v;
    EXPECT_NEAR(row[40].get<double>(), row[0].get<double>(), 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Transformers,
                         ::testing::Values("mlp2x_gelu", "linear", "llama3", "class_token", "other_layer", "heads",
                                           "tied_head", "two_images", "first_and_last"),
                         [](const auto& info) { return std::string(info.param); });

// Steps of two micro-batches of pairs, of lengths 3, 4, ... and more than the text tower takes.
std::vector<std::vector<ClipBatch>> clip_steps(const ClipConfig& config, int steps) {
  std::vector<std::vector<ClipBatch>> out;
  uint64_t seed = 0;
  for (int i = 0; i < steps; ++i) {
    out.emplace_back();
    for (const size_t pairs : {3, 4}) {
      std::vector<std::vector<float>> pictures;
      std::vector<ClipSample> samples;
      for (size_t p = 0; p < pairs; ++p) {
        pictures.push_back(picture(++seed));
        ClipSample sample{{static_cast<int32_t>(config.text.bos_token_id)}, nullptr, seed};
        for (uint64_t t = 0; t < 1 + seed % 8; ++t)
          sample.ids.push_back(static_cast<int32_t>(3 + random_below(24, {seed, t})));
        sample.ids.push_back(29);
        samples.push_back(sample);
      }
      for (size_t p = 0; p < pairs; ++p) samples[p].pixels = pictures[p].data();
      auto batch = make_clip_batch(samples, config);
      TEPHRA_CHECK(batch.ok(), batch.status().to_string());
      out.back().push_back(std::move(*batch));
    }
  }
  return out;
}

json clip_input(const std::vector<std::vector<ClipBatch>>& steps) {
  json out = json::array();
  for (const auto& step : steps) {
    json micro_batches = json::array();
    for (const ClipBatch& batch : step) {
      json ids = json::array();
      for (int64_t row = 0; row < batch.ids_BT.size(0); ++row) {
        const auto* first = batch.ids_BT.data_ptr<int64_t>() + row * batch.ids_BT.size(1);
        ids.push_back(std::vector<int64_t>(first, first + batch.ids_BT.size(1)));
      }
      const auto* pixels = batch.pixels_BCHW.data_ptr<float>();
      micro_batches.push_back(
          {{"ids", ids}, {"pixels", std::vector<float>(pixels, pixels + batch.pixels_BCHW.numel())}});
    }
    out.push_back(micro_batches);
  }
  return out;
}

// A tensor of the peer's file by our name for it.
std::vector<float> clip_tensor(const SafetensorsFile& file, const std::string& canonical) {
  constexpr std::string_view kTower = "vision_tower.";
  const auto bytes = file.bytes(canonical.starts_with(kTower) ? canonical.substr(kTower.size()) : canonical);
  EXPECT_TRUE(bytes.ok()) << bytes.status().to_string();
  std::vector<float> out(bytes.ok() ? bytes->size() / sizeof(float) : 0);
  if (bytes.ok()) std::memcpy(out.data(), bytes->data(), bytes->size());
  return out;
}

void expect_near(std::span<const float> ours, std::span<const float> theirs, double allowed, const std::string& name) {
  ASSERT_EQ(ours.size(), theirs.size()) << name;
  for (size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], allowed) << name << " " << i;
}

class Contrastive : public ::testing::TestWithParam<const char*> {};

// The gradients of the first step, each by itself; then four whole steps through the executor.
TEST_P(Contrastive, TrainsAsTransformersAndTorchDo) {
  TEPHRA_REQUIRE_PEER_PYTHON("transformers");
  ClipConfig config = tiny_clip();
  const std::string kind = GetParam();
  if (kind == "gelu") config.vision.hidden_act = config.text.hidden_act = "gelu";
  if (kind == "largest_id") config.text.eos_token_id = 2;  // as in OpenAI's files: the largest id stands for the text
  const auto units = make_clip_units(config, kClipGroups);
  const auto weights = tiny_weights(units);
  const auto steps = clip_steps(config, 4);
  constexpr double kRate = 1e-3;
  TempDir dir;
  ASSERT_TRUE(export_clip(Env::posix(), dir.path() + "/model", config, *weights, {}).ok());
  sharding::OptimizerOptions adam;
  adam.weight_decay = 0.1;
  std::ofstream(dir.path() + "/in.json") << json{
      {"steps", clip_input(steps)}, {"lr", kRate}, {"weight_decay", adam.weight_decay}, {"clip_norm", adam.clip_norm}};
  ASSERT_TRUE(peer_script("model/nn/transformers_clip.py", dir.path(), dir.path() + "/log"));

  Chain chain(units, make_clip_modules(config), *weights);
  const double pairs = 7;
  for (const ClipBatch& batch : steps[0]) (chain.loss(batch) / pairs).backward();
  const auto gradients = SafetensorsFile::open(dir.path() + "/gradients.safetensors");
  ASSERT_TRUE(gradients.ok()) << gradients.status().to_string();
  size_t tensors = 0;
  for (const auto& unit : units)
    for (const auto& tensor : unit.tensors) {
      const at::Tensor ours = chain.at(tensor.name).grad().contiguous();
      expect_near({ours.data_ptr<float>(), static_cast<size_t>(ours.numel())}, clip_tensor(**gradients, tensor.name),
                  1e-5, tensor.name);
      ++tensors;
    }
  EXPECT_EQ(tensors, (*gradients)->tensors().size());

  auto communicator = cluster::make_self_communicator();
  sharding::Policy policy;
  policy.micro_batches = 2;
  auto executor = sharding::Executor::create(units, make_clip_modules(config), communicator.get(), policy, adam,
                                             std::chrono::seconds(60));
  ASSERT_TRUE(executor.ok()) << executor.status().to_string();
  const auto read = [&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count, float* out) {
    return weights->read_float32(tensor, begin, count, out);
  };
  ASSERT_TRUE((*executor)->load(read, false).ok());
  const json theirs = json::parse(*read_file(Env::posix(), dir.path() + "/out.json"));
  ASSERT_EQ(theirs.size(), steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    sharding::StepInput input;
    input.learning_rate.assign(units.size(), kRate);
    input.optimizer_step = static_cast<int64_t>(i) + 1;
    const auto stats = (*executor)->train_step({&steps[i][0], &steps[i][1]}, input);
    ASSERT_TRUE(stats.ok()) << stats.status().to_string();
    EXPECT_NEAR(stats->loss, theirs[i]["loss"].get<double>(), 1e-4) << i;
    EXPECT_NEAR(stats->gradient_norm / theirs[i]["gradient_norm"].get<double>(), 1, 2e-4) << i;
  }
  const auto after = SafetensorsFile::open(dir.path() + "/after.safetensors");
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  const sharding::Snapshot snapshot = (*executor)->snapshot();
  for (const auto& piece : snapshot.pieces) {
    if (piece.kind != sharding::StateKind::kParameter) continue;
    // Attention does not see the bias of its keys: the gradient is rounding alone, and AdamW makes whole steps of it.
    const double allowed = piece.tensor.ends_with("k_proj.bias") ? 2 * kRate * static_cast<double>(steps.size()) : 5e-5;
    expect_near(piece.values, clip_tensor(**after, piece.tensor), allowed, piece.tensor);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Contrastive, ::testing::Values("quick_gelu", "gelu", "largest_id"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tephra::model
