// Adapters without LibTorch: the units that they make, their initial values, merging against plain loops, and the files for PEFT.
#include "model/spec/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/spec/connector_file.h"
#include "model/spec/safetensors.h"
#include "tests/base/temp_dir.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const LoraConfig kLora{.rank = 3, .alpha = 12, .targets = {"q_proj", "v_proj", "down_proj"}};
const std::string kBlock1 = "language_model.model.layers.1.";

std::vector<float> values(const TensorSource& source, const std::string& name) {
  const TensorInfo* info = source.find(name);
  if (info == nullptr) return {};
  std::vector<float> out(static_cast<size_t>(numel(info->shape)));
  EXPECT_TRUE(source.read_float32(name, 0, numel(info->shape), out.data()).ok());
  return out;
}

std::vector<std::string> marked(const std::vector<sharding::UnitSpec>& units) {
  std::vector<std::string> out;
  for (const auto& unit : units)
    out.push_back(unit.name + (unit.trainable ? "+" : "") + (unit.needs_backward ? "*" : ""));
  return out;
}

TEST(LoraUnits, LearnInPlaceOfTheFrozenLanguageModel) {
  EXPECT_THAT(marked(make_units(tiny_model(), {"connector", "llm"}, kLora)),
              ElementsAre("vision.embed", "vision.block.0", "vision.block.1", "connector+*", "llm.embed*", "llm.lora+*",
                          "llm.block.0*", "llm.block.1*", "llm.head*"));
  EXPECT_THAT(marked(make_units(tiny_model(), {"connector"}, kLora)),
              ElementsAre("vision.embed", "vision.block.0", "vision.block.1", "connector+*", "llm.embed*", "llm.lora*",
                          "llm.block.0*", "llm.block.1*", "llm.head*"));
  EXPECT_THAT(marked(make_lm_units(tiny_llama(), {"llm"}, kLora)),
              ElementsAre("llm.embed", "llm.lora+*", "llm.block.0*", "llm.block.1*", "llm.head*"));
}

TEST(LoraUnits, HoldBothMatricesOfEachTargetBlockByBlock) {
  const auto units = make_lm_units(tiny_llama(), {"llm"}, kLora);
  const sharding::UnitSpec& unit = units[1];
  ASSERT_EQ(unit.tensors.size(), 2u * 2 * 3);
  EXPECT_EQ(unit.group, "lora");
  const auto expect = [&](size_t place, const std::string& name, const Shape& shape) {
    EXPECT_EQ(unit.tensors[place].name, name);
    EXPECT_EQ(unit.tensors[place].shape, shape);
  };
  expect(0, "language_model.model.layers.0.self_attn.q_proj.lora_A.weight", {3, 16});
  expect(1, "language_model.model.layers.0.self_attn.q_proj.lora_B.weight", {16, 3});
  expect(9, kBlock1 + "self_attn.v_proj.lora_B.weight", {8, 3});
  expect(10, kBlock1 + "mlp.down_proj.lora_A.weight", {3, 24});
  EXPECT_EQ(unit.activation_fixed, 2 * 3 * (16 + 16 + 16 + 8 + 24 + 16));
  EXPECT_EQ(unit.macs_per_token, unit.activation_fixed);
  EXPECT_GT(units[2].activation_per_token, make_lm_units(tiny_llama(), {"llm"})[1].activation_per_token);
}

TEST(LoraInitialValues, AreThoseOfPeft) {
  std::vector<float> a(3200), b(400, 1.0f);
  init_tensor(kBlock1 + "self_attn.q_proj.lora_A.weight", {8, 400}, 3, 0, 3200, a.data());
  init_tensor(kBlock1 + "self_attn.q_proj.lora_B.weight", {50, 8}, 3, 0, 400, b.data());
  // kaiming_uniform_(a = sqrt(5)): uniform within sqrt(6 / ((1 + 5) * 400)) = 0.05.
  EXPECT_LE(*std::max_element(a.begin(), a.end()), 0.05f);
  EXPECT_GE(*std::min_element(a.begin(), a.end()), -0.05f);
  double squares = 0;
  for (float v : a) squares += v * v;
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(a.size())), 0.05 / std::sqrt(3.0), 1e-3);
  EXPECT_EQ(b, std::vector<float>(400, 0.0f));
}

TEST(MergedLora, AddsTheScaledProductToEachTargetAndHidesTheAdapters) {
  const auto units = make_units(tiny_model(), {}, kLora);
  const auto model = tiny_weights(units);
  const auto merged = merged_lora(*model, kLora);
  ASSERT_TRUE(merged.ok()) << merged.status().to_string();
  EXPECT_EQ(to_string(check_against_units(**merged, make_units(tiny_model(), {}), "merged")), "");
  for (const TensorInfo& info : (*merged)->tensors()) {
    std::vector<float> expected = values(*model, info.name);
    if (model->find(lora_name(info.name, 'A')) != nullptr) {
      const auto a = values(*model, lora_name(info.name, 'A')), b = values(*model, lora_name(info.name, 'B'));
      const size_t in = static_cast<size_t>(info.shape[1]);
      for (size_t i = 0; i < expected.size(); ++i) {
        double sum = 0;
        for (size_t r = 0; r < 3; ++r) sum += static_cast<double>(b[i / in * 3 + r]) * a[r * in + i % in];
        expected[i] += static_cast<float>(4 * sum);  // alpha / rank
      }
      EXPECT_NE(expected, values(*model, info.name));
    }
    EXPECT_THAT(values(**merged, info.name), ::testing::Pointwise(::testing::FloatNear(1e-5f), expected)) << info.name;
  }
  const std::string down = kBlock1 + "mlp.down_proj.weight";
  const std::vector<float> whole = values(**merged, down);
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 0}, {5, 7}, {23, 26}, {100, 284}}) {
    std::vector<float> part(static_cast<size_t>(count)), bytes(part);
    ASSERT_TRUE((*merged)->read_float32(down, begin, count, part.data()).ok());
    ASSERT_TRUE((*merged)->read_bytes(down, begin, count, reinterpret_cast<std::byte*>(bytes.data())).ok());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin)) << begin;
    EXPECT_EQ(part, bytes);
  }
}

TEST(MergedLora, RefusesAdaptersThatDoNotFit) {
  auto units = make_lm_units(tiny_llama(), {}, kLora);
  const auto words = [&](const LoraConfig& lora) { return merged_lora(*tiny_weights(units), lora).status().message(); };
  EXPECT_THAT(words({.rank = 4, .alpha = 8}), HasSubstr("which do not fit it at rank 4"));
  units[1].tensors.pop_back();
  EXPECT_THAT(words(kLora), HasSubstr("lacks " + kBlock1 + "mlp.down_proj.lora_B.weight"));
  units.erase(units.begin() + 1);
  EXPECT_THAT(words(kLora), HasSubstr("no adapters"));
}

std::vector<std::string> names_in(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  EXPECT_TRUE(file.ok()) << file.status().to_string();
  std::vector<std::string> names;
  for (const TensorInfo& info : (*file)->tensors()) names.push_back(info.name);
  return names;
}

json read_config(const std::string& folder) {
  return json::parse(*read_file(Env::posix(), folder + "/adapter_config.json"));
}

TEST(ExportAdapters, OntoTheLanguageModelWithTheConnectorBesideThem) {
  TempDir dir;
  const ModelConfig config = tiny_model();
  const LoraConfig lora{.rank = 2, .alpha = 2.5, .targets = {"k_proj"}};
  const auto model = tiny_weights(make_units(config, {}, lora));
  ExportOptions options;
  options.base_model = "vicuna";
  const Status status = export_original_adapters(Env::posix(), dir.path() + "/out", config, lora, *model, options);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_THAT(names_in(dir.path() + "/out/adapter_model.safetensors"),
              ElementsAre("base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
                          "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight",
                          "base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight",
                          "base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"));
  const json written = read_config(dir.path() + "/out");
  EXPECT_EQ(written["r"], 2);
  EXPECT_EQ(written["lora_alpha"], 2.5);
  EXPECT_EQ(written["target_modules"], json::array({"k_proj"}));
  EXPECT_EQ(written["base_model_name_or_path"], "vicuna");
  // The connector opens as a part of a model, with the layer that the original's config.json names.
  auto connector = open_model({.connector = dir.path() + "/out/mm_projector.safetensors"});
  ASSERT_TRUE(connector.ok()) << connector.status().to_string();
  ASSERT_EQ((*connector)->tensors().size(), 4u);
  for (const TensorInfo& info : (*connector)->tensors())
    EXPECT_EQ(values(**connector, info.name), values(*model, info.name)) << info.name;
}

TEST(ExportAdapters, OntoALlavaModelWithTheConnectorAmongThem) {
  TempDir dir;
  const ModelConfig config = tiny_model("linear");
  const LoraConfig lora{.rank = 2, .alpha = 4, .targets = {"q_proj", "o_proj"}};
  const auto model = tiny_weights(make_units(config, {}, lora));
  const Status status = export_llava_adapters(Env::posix(), dir.path() + "/out", config, lora, *model, {});
  ASSERT_TRUE(status.ok()) << status.to_string();
  const auto names = names_in(dir.path() + "/out/adapter_model.safetensors");
  EXPECT_EQ(names.size(), 2u * 2 * 2 + 4);
  EXPECT_THAT(names,
              ::testing::IsSupersetOf({"base_model.model.model.language_model.layers.1.self_attn.o_proj.lora_B.weight",
                                       "base_model.model.model.multi_modal_projector.linear_1.weight",
                                       "base_model.model.model.multi_modal_projector.linear_2.bias"}));
  const json written = read_config(dir.path() + "/out");
  EXPECT_EQ(written["modules_to_save"], json::array({"multi_modal_projector"}));
  EXPECT_EQ(written["target_modules"], ".*language_model.*\\.(q_proj|o_proj)");
  EXPECT_TRUE(written["base_model_name_or_path"].is_null());
  EXPECT_EQ(written["lora_alpha"], 4);
}

}  // namespace
}  // namespace tephra::model
