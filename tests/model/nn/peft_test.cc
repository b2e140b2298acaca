// What is exported as adapters, PEFT's own loader reads onto the model that they were trained beside, and the logits are ours.
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

struct Case {
  const char* name;
  std::string connector;  // "": the language model alone
  LoraConfig lora;
};

// The model as the stage before left it: the same frozen weights, another connector.
class Earlier : public TensorSource {
 public:
  Earlier(const TensorSource& now, const TensorSource& other) : now_(now), other_(other) {}
  const std::vector<TensorInfo>& tensors() const override { return now_.tensors(); }
  Status read_float32(const std::string& n, int64_t begin, int64_t count, float* out) const override {
    return (n.starts_with("multi_modal_projector.") ? other_ : now_).read_float32(n, begin, count, out);
  }
  Status read_bytes(const std::string& n, int64_t begin, int64_t count, std::byte* out) const override {
    return read_float32(n, begin, count, reinterpret_cast<float*>(out));
  }

 private:
  const TensorSource &now_, &other_;
};

class Peft : public ::testing::TestWithParam<Case> {};

TEST_P(Peft, LoadsExportedAdaptersAndGivesTheSameLogits) {
  TEPHRA_REQUIRE_PEER_PYTHON("peft");
  const auto& [name, connector, lora] = GetParam();
  const bool llava = !connector.empty();
  const ModelConfig config = tiny_model(llava ? connector : "linear");
  ModelConfig whole = config;
  whole.vision_layer = -1;
  const auto model = tiny_weights(make_units(whole, {}, lora));
  TempDir dir;
  const std::string base = dir.path() + "/model", adapters = dir.path() + "/adapters";
  Status status;
  if (llava) {
    const auto other = tiny_weights(make_units(whole, {}), 8);
    status = export_llava(Env::posix(), base, config, Earlier(*model, *other), {});
    ASSERT_TRUE(status.ok()) << status.to_string();
    status = export_llava_adapters(Env::posix(), adapters, config, lora, *model, {});
  } else {
    status = export_llama(Env::posix(), base, config.text, *model, {});
    ASSERT_TRUE(status.ok()) << status.to_string();
    status = export_original_adapters(Env::posix(), adapters, config, lora, *model, {});
  }
  ASSERT_TRUE(status.ok()) << status.to_string();

  std::vector<float> pixels;
  for (uint64_t i = 0; i < 192; ++i) pixels.push_back(static_cast<float>(random_normal({3, i})));
  std::vector<int32_t> ids = {1, 7, 9, 12, 5, 31, 2};
  if (llava) ids.insert(ids.begin() + 2, kImageToken);
  std::ofstream(dir.path() + "/in.json") << json{{"ids", ids}, {"pixels", llava ? pixels : std::vector<float>()}};
  ASSERT_TRUE(peer_script("model/nn/peft_logits.py", dir.path(), dir.path() + "/log"));
  const json theirs = json::parse(*read_file(Env::posix(), dir.path() + "/out.json"));

  const auto merged = merged_lora(*model, lora);
  ASSERT_TRUE(merged.ok()) << merged.status().to_string();
  auto generator = Generator::create(config, **merged);
  ASSERT_TRUE(generator.ok()) << generator.status().to_string();
  TokenizedSample sample{ids, std::vector<int32_t>(ids.size(), kIgnoreLabel), {}, 0};
  if (llava) sample.images.push_back(pixels.data());
  const auto trace = (*generator)->trace(sample);
  ASSERT_TRUE(trace.ok()) << trace.status().to_string();
  const at::Tensor ours = trace->logits;
  ASSERT_EQ(static_cast<int64_t>(theirs.size()), ours.size(0));
  for (int64_t t = 0; t < ours.size(0); ++t)
    for (int64_t v = 0; v < 40; ++v)
      ASSERT_NEAR(ours[t][v].item<double>(), theirs[static_cast<size_t>(t)][static_cast<size_t>(v)].get<double>(), 2e-4)
          << t << " " << v;
}

INSTANTIATE_TEST_SUITE_P(
    All, Peft,
    ::testing::Values(Case{"llama", "", {.rank = 3, .alpha = 6, .targets = {"q_proj", "v_proj", "down_proj"}}},
                      Case{"llava", "mlp2x_gelu", {.rank = 3, .alpha = 1.5, .targets = {"q_proj", "v_proj"}}},
                      Case{"llava_linear",
                           "linear",
                           {.rank = 2,
                            .alpha = 4,
                            .targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tephra::model
