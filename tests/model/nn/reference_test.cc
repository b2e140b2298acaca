// Numbers of transformers and of the original LLaVA on the parity set, within the tolerances of its README (equal
// pixels).
#include "tests/model/nn/reference.h"

#include <cmath>
#include <cstring>

#include "model/nn/generate.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

class Reference : public ::testing::TestWithParam<const char*> {
 protected:
  struct Set {
    std::unique_ptr<Generator> generator;
    nlohmann::json samples;
    std::map<std::string, std::vector<float>> pixels;  // by sample id
    std::unique_ptr<SafetensorsFile> tensors;
    int64_t stride = 1;
  };

  static Set load(const std::string& dir) {
    Set set;
    const std::string name = GetParam();
    ModelPaths paths = reference_model(dir, name);
    auto source = must(open_model(paths));
    set.generator = must(Generator::create(must(load_model_config(paths)), *source));
    nlohmann::json model = reference_json(dir + "/forward.json")["models"][name];
    set.samples = model["samples"];
    set.stride = model["vocab_stride"];
    set.tensors = must(SafetensorsFile::open(dir + "/" + model["tensors"].get<std::string>()));
    auto pixels = must(SafetensorsFile::open(dir + "/preprocess.safetensors"));
    const std::string processor = name == "llava" ? "llava-tiny" : "clip-tiny", aspect = model["image_aspect_ratio"];
    for (const auto& sample : reference_json(dir + "/data/forward.json"))
      if (sample.contains("image"))
        set.pixels[sample["id"]] =
            reference_tensor(*pixels, processor + "." + sample["image"].get<std::string>() + "." + aspect);
    return set;
  }

  static TokenizedSample tokenized(const Set& set, const nlohmann::json& sample) {
    TokenizedSample out{sample["input_ids"], sample["labels"], {}, 0};
    auto found = set.pixels.find(sample["id"]);
    if (found != set.pixels.end()) out.images.push_back(found->second.data());
    return out;
  }
};

void expect_near(const at::Tensor& actual, const std::vector<float>& expected, double tolerance,
                 const std::string& what) {
  at::Tensor flat = actual.contiguous().view(-1);
  ASSERT_EQ(flat.numel(), static_cast<int64_t>(expected.size())) << what;
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(double{flat.const_data_ptr<float>()[i]} - expected[i]));
  EXPECT_LE(worst, tolerance) << what;
}

TEST_P(Reference, FeaturesAndLogits) {
  TEPHRA_MODEL_REFERENCE(dir);
  Set set = load(dir);
  for (const auto& sample : set.samples) {
    const std::string id = sample["id"];
    auto trace = must(set.generator->trace(tokenized(set, sample)));
    EXPECT_EQ(trace.logits.size(0), sample["sequence_length"].get<int64_t>()) << id;
    if (trace.vision.defined()) {
      expect_near(trace.vision, reference_tensor(*set.tensors, id + ".vision"), 1e-4, id + ".vision");
      expect_near(trace.projected, reference_tensor(*set.tensors, id + ".projected"), 1e-4, id + ".projected");
    }
    expect_near(trace.logits[-1], reference_tensor(*set.tensors, id + ".logits_last"), 2e-4, id + ".logits_last");
    std::vector<at::Tensor> rows;
    for (int64_t position : sample["strided_positions"])
      rows.push_back(trace.logits[position].slice(0, 0, std::nullopt, set.stride));
    expect_near(at::stack(rows), reference_tensor(*set.tensors, id + ".logits_strided"), 2e-4, id + ".logits_strided");
  }
}

TEST_P(Reference, LossesAndTokenCountsOneByOneAndTogether) {
  TEPHRA_MODEL_REFERENCE(dir);
  Set set = load(dir);
  std::vector<TokenizedSample> all;
  for (const auto& sample : set.samples) all.push_back(tokenized(set, sample));
  auto together = must(set.generator->score(all, 2048));
  for (size_t i = 0; i < all.size(); ++i) {
    auto alone = must(set.generator->score({&all[i], 1}, 2048))[0];
    for (const SampleScore& score : {alone, together[i]}) {
      EXPECT_NEAR(score.loss, set.samples[i]["loss"].get<double>(), 1e-4) << set.samples[i]["id"];
      EXPECT_EQ(score.tokens, set.samples[i]["tokens"].get<int64_t>()) << set.samples[i]["id"];
    }
  }
}

TEST_P(Reference, GreedyIdsOneByOneAndTogether) {
  TEPHRA_MODEL_REFERENCE(dir);
  Set set = load(dir);
  std::vector<Prompt> prompts;
  for (const auto& sample : set.samples) {
    TokenizedSample t = tokenized(set, sample);
    prompts.push_back({sample["generate"]["prompt_ids"], t.images, 0});
  }
  GenerateOptions options{.max_new_tokens = 24};
  auto together = must(set.generator->generate(prompts, options));
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::vector<int32_t> expected = set.samples[i]["generate"]["token_ids"];
    EXPECT_EQ(together[i].ids, expected) << set.samples[i]["id"];
    EXPECT_EQ(must(set.generator->generate({&prompts[i], 1}, options))[0].ids, expected) << set.samples[i]["id"];
  }
}

INSTANTIATE_TEST_SUITE_P(All, Reference, ::testing::Values("llava", "linear"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tephra::model
