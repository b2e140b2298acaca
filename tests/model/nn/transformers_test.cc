// What export_llava writes gives the same logits in transformers' LlavaForConditionalGeneration, the real one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "model/nn/generate.h"
#include "sharding/exec/aten.h"
#include "tests/base/peer_python.h"
#include "tests/base/temp_dir.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

using nlohmann::json;

class Transformers : public ::testing::TestWithParam<const char*> {};

ModelConfig model_called(const std::string& name) {
  ModelConfig config = tiny_model(name == "linear" ? "linear" : "mlp2x_gelu");
  if (name == "llama3") {
    config.text.rope_theta = 500000.0;
    config.text.rope_scaling = {"llama3", 8, 1, 4, 16};
  }
  if (name == "class_token") config.drop_class_token = false;
  if (name == "other_layer") config.vision_layer = -1;
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

  std::vector<float> pixels;
  for (uint64_t i = 0; i < 3 * 8 * 8; ++i) pixels.push_back(static_cast<float>(random_normal({3, i})));
  const std::vector<int32_t> ids = {1, 7, kImageToken, 9, 12, 5, 31, 2};
  std::ofstream(dir.path() + "/in.json") << json{{"ids", ids}, {"pixels", pixels}};
  ASSERT_TRUE(peer_script("model/nn/transformers_logits.py", dir.path(), dir.path() + "/log"));
  const json theirs = json::parse(*read_file(Env::posix(), dir.path() + "/out.json"));

  auto generator = Generator::create(config, *weights);
  ASSERT_TRUE(generator.ok()) << generator.status().to_string();
  const auto trace = (*generator)->trace({ids, std::vector<int32_t>(ids.size(), kIgnoreLabel), {pixels.data()}, 0});
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
                         ::testing::Values("mlp2x_gelu", "linear", "llama3", "class_token", "other_layer", "heads"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tephra::model
