// Folders: what is exported opens again with equal bytes and configuration, and bad folders are refused with file, key
// and tensor.
#include "model/spec/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "model/spec/connector_file.h"
#include "model/spec/safetensors.h"
#include "tests/base/temp_dir.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

using ::testing::HasSubstr;

std::vector<float> values(const TensorSource& source, const std::string& name) {
  const TensorInfo* info = source.find(name);
  if (info == nullptr) return {};
  std::vector<float> out(static_cast<size_t>(numel(info->shape)));
  Status status = source.read_float32(name, 0, numel(info->shape), out.data());
  EXPECT_TRUE(status.ok()) << status.to_string();
  return out;
}

void expect_equal(const TensorSource& a, const TensorSource& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& info : a.tensors()) EXPECT_EQ(values(a, info.name), values(b, info.name)) << info.name;
}

void write_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

class ExportKinds : public ::testing::TestWithParam<const char*> {};

TEST_P(ExportKinds, LlavaRoundTripKeepsBytesAndConfig) {
  TempDir dir;
  ModelConfig config = tiny_model(GetParam());
  ModelConfig whole = config;
  whole.vision_layer = -1;
  auto weights = tiny_weights(make_units(whole, {}));
  ExportOptions options;
  options.max_shard_bytes = 4000;
  Status status = export_llava(Env::posix(), dir.path() + "/out", config, *weights, options);
  ASSERT_TRUE(status.ok()) << status.to_string();
  auto opened = open_model({.model = dir.path() + "/out"});
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  // The image token, 40, gets a row of its own behind the 40 of the vocabulary: that of token 0.
  for (const TensorInfo& info : weights->tensors()) {
    std::vector<float> expected = values(*weights, info.name);
    if (info.name.ends_with("embed_tokens.weight") || info.name.ends_with("lm_head.weight"))
      for (int64_t i = 0; i < config.text.hidden_size; ++i) expected.push_back(expected[static_cast<size_t>(i)]);
    EXPECT_EQ(expected, values(**opened, info.name)) << info.name;
  }
  ModelConfig padded = config;
  padded.text.vocab_size = 41;
  auto loaded = load_model_config({.model = dir.path() + "/out"});
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(*loaded, padded);
  EXPECT_EQ(to_string(check_against_units(**opened, make_units(padded, {}), "out")), "");
}

TEST_P(ExportKinds, TheOriginalLayoutRoundTrips) {
  TempDir dir;
  ModelConfig config = tiny_model(GetParam());
  config.vision_layer = -1;  // all of the tower, so that nothing is initialised
  const auto weights = tiny_weights(make_units(config, {}));
  const Status status = export_original(Env::posix(), dir.path(), config, *weights, {});
  ASSERT_TRUE(status.ok()) << status.to_string();
  const ModelPaths paths{.vision = dir.path() + "/vision_tower", .connector = dir.path(), .llm = dir.path()};
  const auto opened = open_model(paths);
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  for (const TensorInfo& info : weights->tensors())
    EXPECT_EQ(values(*weights, info.name), values(**opened, info.name)) << info.name;
  const auto loaded = load_model_config(paths);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(*loaded, config);
  const auto file = SafetensorsFile::open(dir.path() + "/model.safetensors");
  ASSERT_TRUE(file.ok());
  std::set<std::string> names;
  for (const TensorInfo& info : (*file)->tensors()) names.insert(info.name);
  EXPECT_TRUE(names.contains("lm_head.weight") && names.contains("model.layers.1.self_attn.q_proj.weight"));
  EXPECT_TRUE(
      names.contains(config.connector.kind == "linear" ? "model.mm_projector.weight" : "model.mm_projector.2.bias"));
}

// Writes a file of float32 tensors whose elements are their index plus `offset`.
void write_counting(const std::string& path, const std::vector<TensorInfo>& tensors, float offset) {
  const auto count_up = [&](const TensorInfo&, int64_t begin, int64_t count, std::byte* out) {
    for (int64_t i = 0; i < count; ++i) reinterpret_cast<float*>(out)[i] = offset + static_cast<float>(begin + i);
    return ok_status();
  };
  const Status status = write_safetensors(Env::posix(), path, tensors, {}, count_up);
  ASSERT_TRUE(status.ok()) << status.to_string();
}

TEST(ModelFolder, TheConnectorIsFoundAmongSeveralFilesAndOverTwo) {
  TempDir dir;
  const auto write = [&](const std::string& file, const std::vector<TensorInfo>& tensors, float offset) {
    write_counting(dir.path() + "/" + file, tensors, offset);
  };
  const auto f32 = DType::kFloat32;
  write("model-00001-of-00003.safetensors", {{"model.embed_tokens.weight", f32, {16, 8}}}, 0);
  EXPECT_THAT(find_connector_files(dir.path() + "/none").status().message(), HasSubstr("does not exist"));
  write("model-00002-of-00003.safetensors",
        {{"model.mm_projector.0.bias", f32, {16}}, {"model.mm_projector.0.weight", f32, {16, 8}}}, 1000);
  EXPECT_EQ(*find_connector_files(dir.path()),
            std::vector<std::string>{dir.path() + "/model-00002-of-00003.safetensors"});
  write("model-00003-of-00003.safetensors",
        {{"model.mm_projector.2.bias", f32, {16}}, {"model.mm_projector.2.weight", f32, {16, 16}}}, 2000);
  const auto files = find_connector_files(dir.path());
  ASSERT_TRUE(files.ok()) << files.status().to_string();
  ASSERT_EQ(files->size(), 2u);
  const auto config = read_connector_config(*files);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(*config, (ConnectorConfig{"mlp2x_gelu", 8, 16}));
  const auto source = open_model({.connector = dir.path()});
  ASSERT_TRUE(source.ok()) << source.status().to_string();
  EXPECT_EQ((*source)->tensors().size(), 4u);
  EXPECT_EQ(values(**source, "multi_modal_projector.linear_1.weight")[9], 1009.0f);
  EXPECT_EQ(values(**source, "multi_modal_projector.linear_2.weight")[9], 2009.0f);

  // A copy beside it: which one is meant is not guessed.
  write("mm_projector.safetensors", {{"mm_projector.2.weight", f32, {16, 16}}}, 3000);
  const Status twice = read_connector_config(*find_connector_files(dir.path())).status();
  EXPECT_THAT(twice.message(), HasSubstr("name the one to take"));
  EXPECT_THAT(twice.message(), HasSubstr("mm_projector.safetensors"));
  EXPECT_EQ(open_model({.connector = dir.path()}).status().code(), Code::kAlreadyExists);
}

INSTANTIATE_TEST_SUITE_P(All, ExportKinds, ::testing::Values("linear", "mlp2x_gelu"));

TEST(ModelFolder, ALinearConnectorIsExportedWithAnIdentityThatTransformersCanLoad) {
  TempDir dir;
  ModelConfig config = tiny_model("linear");
  auto weights = tiny_weights(make_units(config, {}));
  ASSERT_TRUE(export_llava(Env::posix(), dir.path(), config, *weights, {}).ok());
  auto file = SafetensorsFile::open(dir.path() + "/model.safetensors");
  ASSERT_TRUE(file.ok());
  auto bytes = (*file)->bytes("multi_modal_projector.linear_2.weight");
  ASSERT_TRUE(bytes.ok());
  const float* matrix = reinterpret_cast<const float*>(bytes->data());
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) EXPECT_EQ(matrix[16 * i + j], i == j ? 1.0f : 0.0f);
  EXPECT_THAT(*read_file(Env::posix(), dir.path() + "/config.json"), HasSubstr("\"projector_hidden_act\": \"linear\""));
}

TEST(ModelFolder, LlamaAndClipRoundTrip) {
  TempDir dir;
  auto llama = tiny_weights(make_lm_units(tiny_llama(), {}));
  ASSERT_TRUE(export_llama(Env::posix(), dir.path() + "/llm", tiny_llama(), *llama, {}).ok());
  auto llama_again = open_model({.llm = dir.path() + "/llm"});
  ASSERT_TRUE(llama_again.ok()) << llama_again.status().to_string();
  expect_equal(*llama, **llama_again);
  EXPECT_EQ(*load_llama_config(dir.path() + "/llm"), tiny_llama());

  auto clip = tiny_weights(make_clip_units(tiny_clip(), {}));
  ASSERT_TRUE(export_clip(Env::posix(), dir.path() + "/clip", tiny_clip(), *clip, {}).ok());
  auto clip_again = open_clip(dir.path() + "/clip");
  ASSERT_TRUE(clip_again.ok()) << clip_again.status().to_string();
  expect_equal(*clip, **clip_again);
  EXPECT_EQ(*load_clip_config(dir.path() + "/clip"), tiny_clip());

  // The two as parts of a LLaVA model whose connector is to be initialised.
  ModelPaths parts{.vision = dir.path() + "/clip", .llm = dir.path() + "/llm"};
  auto config = load_model_config(parts, {.connector_kind = "linear"});
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(*config, tiny_model("linear"));
  EXPECT_THAT(load_model_config(parts).status().message(), HasSubstr("linear or mlp2x_gelu"));
  auto source = open_model(parts);
  ASSERT_TRUE(source.ok());
  auto units = make_units(*config, {});
  EXPECT_EQ(check_against_units(**source, units, "parts").size(), 2u);
  EXPECT_EQ(check_against_units(**source, units, "parts", {"connector"}).size(), 0u);
}

TEST(ModelFolder, ExportsRoundedBfloat16) {
  TempDir dir;
  auto llama = tiny_weights(make_lm_units(tiny_llama(), {}));
  ASSERT_TRUE(export_llama(Env::posix(), dir.path(), tiny_llama(), *llama, {.dtype = DType::kBFloat16}).ok());
  auto again = open_model({.llm = dir.path()});
  ASSERT_TRUE(again.ok());
  const std::string name = "language_model.lm_head.weight";
  EXPECT_EQ((*again)->find(name)->dtype, DType::kBFloat16);
  std::vector<float> a = values(*llama, name), b = values(**again, name);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], std::abs(a[i]) / 256);
}

// Numbers that both half types hold exactly come back as they are, whole or in a range.
TEST(ModelFolder, ReadsHalfPrecisionFiles) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    TempDir dir;
    const LlamaConfig config = tiny_llama();
    const auto units = make_lm_units(config, {});
    std::vector<float> exact;
    for (int i = 0; i < 5000; ++i) exact.push_back(static_cast<float>(i % 200 - 100) / 64.0f);
    class Exact : public MemorySource {
     public:
      Exact(const std::vector<sharding::UnitSpec>& all, const std::vector<float>* exact_values)
          : MemorySource(all, 1), exact_(exact_values) {}
      Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
        for (int64_t i = 0; i < count; ++i)
          out[i] = (*exact_)[static_cast<size_t>(begin + i + static_cast<int64_t>(name.size())) % exact_->size()];
        return ok_status();
      }

     private:
      const std::vector<float>* exact_;
    };
    const Exact weights(units, &exact);
    ASSERT_TRUE(export_llama(Env::posix(), dir.path(), config, weights, {.dtype = dtype}).ok());
    const auto opened = open_model({.llm = dir.path()});
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    for (const TensorInfo& info : (*opened)->tensors()) {
      EXPECT_EQ(info.dtype, dtype);
      EXPECT_EQ(values(**opened, info.name), values(weights, info.name)) << info.name;
    }
    std::vector<float> part(7), expected(7);
    ASSERT_TRUE((*opened)->read_float32("language_model.lm_head.weight", 33, 7, part.data()).ok());
    ASSERT_TRUE(weights.read_float32("language_model.lm_head.weight", 33, 7, expected.data()).ok());
    EXPECT_EQ(part, expected);
  }
}

TEST(ModelFolder, AddsAnImageTokenToAPlainTokenizer) {
  TempDir dir;
  ASSERT_TRUE(Env::posix().make_directories(dir.path() + "/tok").ok());
  write_text(dir.path() + "/tok/tokenizer.model", "model");
  write_text(dir.path() + "/tok/tokenizer_config.json", R"({"legacy": false})");
  auto weights = tiny_weights(make_units(tiny_model(), {}));
  Status status = export_llava(Env::posix(), dir.path() + "/out", tiny_model(), *weights,
                               {.tokenizer_folder = dir.path() + "/tok"});
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_THAT(*read_file(Env::posix(), dir.path() + "/out/added_tokens.json"), HasSubstr("\"<image>\": 40"));
  EXPECT_EQ(*read_file(Env::posix(), dir.path() + "/out/tokenizer.model"), "model");
}

TEST(ModelFolder, RefusesPickles) {
  TempDir dir;
  write_text(dir.path() + "/mm_projector.bin", "x");
  write_text(dir.path() + "/pytorch_model.bin", "x");
  for (const std::string& connector : {dir.path() + "/mm_projector.bin", dir.path()}) {
    Status status = open_model({.connector = connector}).status();
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_THAT(status.message(), HasSubstr(".bin is a torch.save file"));
  }
  EXPECT_THAT(open_model({.model = dir.path()}).status().message(), HasSubstr("torch.save"));
}

TEST(ModelFolder, AnIndexNamesFilesOfItsFolderOnly) {
  TempDir dir;
  write_text(dir.path() + "/config.json", R"({"model_type": "llama"})");
  for (const char* name : {"../outside.safetensors", "/etc/passwd", "a/b.safetensors", ""}) {
    write_text(dir.path() + "/model.safetensors.index.json",
               nlohmann::json{{"weight_map", {{"a", name}}}}.dump());
    const Status status = open_model({.llm = dir.path()}).status();
    EXPECT_THAT(status.message(), HasSubstr("does not name a file of this folder")) << name;
  }
}

TEST(ModelFolder, NamesAMissingShardAndAnEmptyFolder) {
  TempDir dir;
  EXPECT_THAT(open_model({.model = dir.path()}).status().message(), HasSubstr("holds no model.safetensors"));
  EXPECT_EQ(open_model({.model = dir.path() + "/none"}).status().code(), Code::kNotFound);
  write_text(dir.path() + "/model.safetensors.index.json",
             R"({"weight_map": {"a": "model-00001-of-00001.safetensors"}})");
  EXPECT_THAT(open_model({.model = dir.path()}).status().message(),
              HasSubstr("model-00001-of-00001.safetensors is missing"));
}

TEST(ModelFolder, NamesValuesThatAreNotFiniteAndIntegers) {
  TempDir dir;
  const auto units = make_lm_units(tiny_llama(), {});
  ASSERT_TRUE(export_llama(Env::posix(), dir.path(), tiny_llama(), *tiny_weights(units), {}).ok());
  const std::string file = dir.path() + "/model.safetensors", name = "language_model.model.norm.weight";
  std::string bytes = *read_file(Env::posix(), file);
  const auto opened = SafetensorsFile::open(file);
  const auto stored = (*opened)->bytes("model.norm.weight");
  const std::vector<TensorInfo> all = (*opened)->tensors();
  ASSERT_TRUE(stored.ok());
  // Its place in the file, found by its bytes.
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(stored->data()), stored->size()));
  ASSERT_NE(at, std::string::npos);
  std::string broken = bytes;
  broken.replace(at + 4 * 5, 4, std::string("\0\0\xC0\x7F", 4));  // element 5: NaN
  std::ofstream(file, std::ios::binary) << broken;
  const auto source = open_model({.llm = dir.path()});
  ASSERT_TRUE(source.ok()) << source.status().to_string();
  std::vector<float> out(16);
  EXPECT_TRUE((*source)->read_float32(name, 6, 10, out.data()).ok());
  for (const Status& status : {(*source)->read_float32(name, 2, 14, out.data()),
                               (*source)->read_bytes(name, 2, 14, reinterpret_cast<std::byte*>(out.data()))}) {
    EXPECT_EQ(status.code(), Code::kCorruption);
    EXPECT_THAT(status.message(), HasSubstr(file + ": tensor model.norm.weight: element 5 is not a finite number"));
  }
  // The same bytes, said to be integers.
  const size_t entry = bytes.find("\"F32\"", bytes.find("\"model.norm.weight\""));
  bytes.replace(entry, 5, "\"I32\"");
  std::ofstream(file, std::ios::binary) << bytes;
  const auto integers = check_against_units(**open_model({.llm = dir.path()}), units, dir.path());
  ASSERT_EQ(integers.size(), 1u);
  EXPECT_THAT(integers[0].to_string(), HasSubstr(name + ": its elements are I32"));
}

TEST(ModelFolder, NamesMissingMisshapenAndUnknownTensors) {
  auto weights = tiny_weights(make_units(tiny_model(), {}));
  ModelConfig wide = tiny_model();
  wide.text.intermediate_size = 25;
  auto shapes = check_against_units(*weights, make_units(wide, {}), "f");
  ASSERT_EQ(shapes.size(), 6u);
  EXPECT_THAT(shapes[0].to_string(), HasSubstr("[24, 16] and the configuration gives [25, 16]"));
  ModelConfig deep = tiny_model();
  deep.text.num_layers = 3;
  EXPECT_EQ(check_against_units(*weights, make_units(deep, {}), "f").size(), 9u);
  auto unknown = check_against_units(*weights, make_units(tiny_model("linear"), {}), "f");
  ASSERT_EQ(unknown.size(), 2u);
  EXPECT_THAT(unknown[0].to_string(), HasSubstr("it has multi_modal_projector.linear_1.bias"));
  // Layers past the one that vision_layer names are no surprise.
  ModelConfig shallow = tiny_model();
  shallow.vision_layer = 1;
  EXPECT_EQ(to_string(check_against_units(*weights, make_units(shallow, {}), "f")), "");
}

struct BadConfig {
  const char* name;
  const char* json;
  const char* words;
};
class BadConfigs : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigs, AreRefusedWithFileAndKey) {
  TempDir dir;
  write_text(dir.path() + "/config.json", GetParam().json);
  Status status = load_model_config({.model = dir.path()}).status();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr(dir.path() + "/config.json"));
  EXPECT_THAT(status.message(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfigs,
    ::testing::Values(
        BadConfig{"kind", R"({"model_type":"llama"})", "model_type is 'llama', not 'llava'"},
        BadConfig{"text", R"({"model_type":"llava","text_config":{"hidden_size":"big"}})",
                  "text_config.hidden_size is \"big\", not a whole number"},
        BadConfig{"heads", R"({"model_type":"llava","text_config":{"num_attention_heads":30,"num_key_value_heads":4}})",
                  "num_key_value_heads"},
        BadConfig{"act", R"({"model_type":"llava","vision_config":{"hidden_act":"relu"}})", "hidden_act is 'relu'"},
        BadConfig{"tower", R"({"model_type":"llava","vision_config":{"model_type":"siglip_vision_model"}})",
                  "vision_config.model_type is 'siglip_vision_model'"},
        BadConfig{"layer", R"({"model_type":"llava","vision_feature_layer":-40})", "vision layer -40"},
        BadConfig{"rope", R"({"model_type":"llava","text_config":{"rope_scaling":{"type":"yarn","factor":2}}})",
                  "rope_scaling.rope_type is 'yarn'; there are default, linear and llama3"},
        BadConfig{"ropefactor",
                  R"({"model_type":"llava","text_config":{"rope_scaling":{"rope_type":"llama3","factor":8}}})",
                  "rope_scaling.low_freq_factor is missing"},
        BadConfig{"ropebelow",
                  R"({"model_type":"llava","text_config":{"rope_scaling":{"type":"linear","factor":0.5}}})",
                  "a factor of at least 1"},
        BadConfig{"object", R"({"model_type":"llava","vision_config":3})", "vision_config is not an object"},
        BadConfig{"json", "[1,", "not a JSON object"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ModelConfig, TakesDefaultsAndNewNames) {
  TempDir dir;
  write_text(
      dir.path() + "/config.json",
      R"({"model_type":"llava","image_token_id":31999,"vision_config":{"hidden_size":1024,"num_attention_heads":16},
                 "text_config":{"rope_parameters":{"rope_theta":500000.0,"rope_type":"default"},"max_position_embeddings":4096}})");
  auto config = load_model_config({.model = dir.path()});
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->image_token_index, 31999);
  EXPECT_EQ(config->text.rope_theta, 500000.0);
  EXPECT_EQ(config->text.num_kv_heads, 32);
  EXPECT_EQ(config->text.rms_norm_eps, 1e-6);
  EXPECT_EQ(config->vision.hidden_act, "quick_gelu");
  EXPECT_EQ(config->connector, (ConnectorConfig{"mlp2x_gelu", 1024, 4096}));
}

// The sizes of the published CLIP vision towers, in the layouts that their config.json has or may have: what equals
// transformers' default left out, under vision_config or vision_config_dict, or the vision tower alone.
TEST(ModelConfig, ReadsThePublishedVisionTowers) {
  struct Tower {
    const char* json;
    ClipVisionConfig expected;
    int64_t patches;
  };
  const ClipVisionConfig base{.hidden_size = 768, .intermediate_size = 3072, .num_layers = 12, .num_heads = 12};
  const auto sized = [](ClipVisionConfig c, int64_t image, int64_t patch) {
    c.image_size = image, c.patch_size = patch;
    return c;
  };
  const ClipVisionConfig large{.hidden_size = 1024, .intermediate_size = 4096, .num_layers = 24, .num_heads = 16};
  const std::string large_text =
      R"("hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":24,"num_attention_heads":16,"projection_dim":768)";
  const std::string l14 = R"({"model_type":"clip","projection_dim":768,"text_config_dict":{"hidden_size":768},
      "vision_config_dict":{)" +
                          large_text + R"(,"patch_size":14}})";
  const std::string l336 = R"({"model_type":"clip","projection_dim":768,"text_config":{"model_type":"clip_text_model"},
      "vision_config":{"model_type":"clip_vision_model","dropout":0.0,)" +
                           large_text + R"(,"patch_size":14,"image_size":336}})";
  const std::string alone =
      R"({"model_type":"clip_vision_model",)" + large_text + R"(,"patch_size":14,"image_size":336})";
  for (const Tower& tower :
       {Tower{R"({"model_type":"clip","vision_config":{}})", sized(base, 224, 32), 49},
        Tower{R"({"model_type":"clip","vision_config":{"patch_size":16}})", sized(base, 224, 16), 196},
        Tower{l14.c_str(), sized(large, 224, 14), 256}, Tower{l336.c_str(), sized(large, 336, 14), 576},
        Tower{alone.c_str(), sized(large, 336, 14), 576}}) {
    TempDir dir;
    write_text(dir.path() + "/config.json", tower.json);
    const auto config = load_clip_vision_config(dir.path());
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    EXPECT_EQ(*config, tower.expected) << tower.json;
    EXPECT_EQ(config->hidden_act, "quick_gelu");
    EXPECT_EQ(config->layer_norm_eps, 1e-5);
    EXPECT_EQ(config->patches(), tower.patches);
  }
}

// The shapes of the published towers with weights of little width: a folder with only the vision tower (224 or 336
// pixels, patches of 14 or 32, vision_config short) opens, fits its units, and its position table has a row for each patch.
TEST(ModelFolder, TowersOfEveryPublishedGridOpen) {
  for (const auto& [image, patch, rows] : {std::tuple{224, 32, 50}, {224, 16, 197}, {224, 14, 257}, {336, 14, 577}}) {
    TempDir dir;
    ClipConfig config = tiny_clip();
    config.vision.image_size = image, config.vision.patch_size = patch;
    ASSERT_TRUE(export_clip(Env::posix(), dir.path(), config, *tiny_weights(make_clip_units(config, {})), {}).ok());
    std::string vision = R"("hidden_size":8,"intermediate_size":12,"num_hidden_layers":3,"num_attention_heads":2)";
    if (image != 224) vision += R"(,"image_size":)" + std::to_string(image);
    if (patch != 32) vision += R"(,"patch_size":)" + std::to_string(patch);
    write_text(dir.path() + "/config.json", R"({"model_type":"clip","vision_config":{)" + vision + "}}");
    const auto loaded = load_clip_vision_config(dir.path());
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    EXPECT_EQ(*loaded, config.vision);
    const auto source = open_model({.vision = dir.path()});
    ASSERT_TRUE(source.ok()) << source.status().to_string();
    const TensorInfo* table = (*source)->find("vision_tower.vision_model.embeddings.position_embedding.weight");
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(table->shape, (Shape{rows, 8}));
    ModelConfig whole = tiny_model();
    whole.vision = *loaded;
    auto units = make_units(whole, {});
    std::erase_if(units, [](const sharding::UnitSpec& unit) { return unit.group != "vision"; });
    EXPECT_EQ(to_string(check_against_units(**source, units, dir.path())), "");
  }
}

TEST(ModelConfig, RopeScalingIsReadAsEitherVersionWritesItAndSurvivesAnExport) {
  const RopeScaling expected{"llama3", 8, 1, 4, 4096};
  for (const char* rope :
       {R"("rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
           "high_freq_factor":4.0,"original_max_position_embeddings":4096})",
        R"("rope_parameters":{"rope_theta":500000.0,"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
           "high_freq_factor":4.0,"original_max_position_embeddings":4096})"}) {
    TempDir dir;
    write_text(dir.path() + "/config.json", R"({"model_type":"llama",)" + std::string(rope) + "}");
    auto config = load_llama_config(dir.path());
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    EXPECT_EQ(config->rope_scaling, expected);
    EXPECT_EQ(config->rope_theta, 500000.0);
  }
  TempDir dir;
  LlamaConfig config = tiny_llama();
  for (const RopeScaling& rope : {expected, RopeScaling{.kind = "linear", .factor = 4}}) {
    config.rope_scaling = rope;
    ASSERT_TRUE(export_llama(Env::posix(), dir.path(), config, *tiny_weights(make_lm_units(config, {})), {}).ok());
    auto loaded = load_llama_config(dir.path());
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    EXPECT_EQ(*loaded, config);
  }
}

// As transformers saves such a model; and as programs do that write the head, too.
TEST(ModelFolder, ATiedHeadIsNotWrittenAndMayStandInTheFiles) {
  TempDir dir;
  LlamaConfig config = tiny_llama();
  config.tied_head = true;
  const auto weights = tiny_weights(make_lm_units(config, {}));
  ASSERT_TRUE(export_llama(Env::posix(), dir.path() + "/tied", config, *weights, {}).ok());
  const auto loaded = load_llama_config(dir.path() + "/tied");
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(*loaded, config);
  auto file = SafetensorsFile::open(dir.path() + "/tied/model.safetensors");
  ASSERT_TRUE(file.ok());
  std::vector<TensorInfo> infos = (*file)->tensors();
  const auto embedding = std::find_if(infos.begin(), infos.end(),
                                      [](const TensorInfo& info) { return info.name == "model.embed_tokens.weight"; });
  ASSERT_NE(embedding, infos.end());
  infos.push_back({"lm_head.weight", embedding->dtype, embedding->shape});
  for (const bool equal : {true, false}) {
    const std::string folder = dir.path() + (equal ? "/equal" : "/other");
    ASSERT_TRUE(Env::posix().make_directories(folder).ok());
    const auto bytes = [&](const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) {
      const auto stored = *(*file)->bytes(info.name == "lm_head.weight" ? "model.embed_tokens.weight" : info.name);
      std::copy_n(stored.begin() + begin * 4, count * 4, out);
      if (!equal && info.name == "lm_head.weight" && begin + count == 640) out[count * 4 - 1] ^= std::byte{1};
      return ok_status();
    };
    ASSERT_TRUE(write_sharded_safetensors(Env::posix(), folder, infos, 1 << 20, {{"format", "pt"}}, bytes).ok());
    std::filesystem::copy(dir.path() + "/tied/config.json", folder);
    const auto opened = open_model({.llm = folder});
    if (equal) {
      ASSERT_TRUE(opened.ok()) << opened.status().to_string();
      EXPECT_EQ(to_string(check_against_units(**opened, make_lm_units(config, {}), "tied")), "");
      continue;
    }
    EXPECT_EQ(opened.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(opened.status().message(), HasSubstr("language_model.lm_head.weight in the weights is another tensor"));
  }
}

TEST(InitTensor, IsAFunctionOfSeedNameAndElementAlone) {
  const std::string name = "language_model.model.embed_tokens.weight";
  const Shape shape = {10, 100};
  std::vector<float> whole(1000), part(70), other(1000);
  init_tensor(name, shape, 3, 0, 1000, whole.data());
  init_tensor(name, shape, 3, 333, 70, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 333));
  init_tensor(name, shape, 4, 0, 1000, other.data());
  EXPECT_NE(whole, other);
  double sum = 0, squares = 0;
  for (float v : whole) sum += v, squares += v * v;
  EXPECT_NEAR(sum / 1000, 0, 0.003);
  EXPECT_NEAR(std::sqrt(squares / 1000), 0.02, 0.002);
  squares = 0;
  init_tensor("vision_tower.vision_model.embeddings.position_embedding.weight", shape, 3, 0, 1000, whole.data());
  for (float v : whole) squares += v * v;
  EXPECT_NEAR(std::sqrt(squares / 1000), 1, 0.1);
  init_tensor("language_model.lm_head.weight", shape, 3, 0, 1000, whole.data());
  EXPECT_LE(*std::max_element(whole.begin(), whole.end()), 0.1f);  // 1 / sqrt(100)
  EXPECT_GT(*std::max_element(whole.begin(), whole.end()), 0.09f);
  float norm = 0, bias = 1;
  init_tensor("vision_tower.vision_model.pre_layrnorm.weight", {1}, 3, 0, 1, &norm);
  init_tensor("multi_modal_projector.linear_1.bias", {1}, 3, 0, 1, &bias);
  EXPECT_EQ(norm, 1.0f);
  EXPECT_EQ(bias, 0.0f);
}

TEST(Units, ChainHasOnlyTheVisionLayersThatAreReached) {
  auto names = [](const std::vector<sharding::UnitSpec>& units) {
    std::vector<std::string> out;
    for (const auto& unit : units) out.push_back(unit.name + (unit.needs_backward ? "*" : ""));
    return out;
  };
  EXPECT_THAT(names(make_units(tiny_model(), {"connector"})),
              ::testing::ElementsAre("vision.embed", "vision.block.0", "vision.block.1", "connector*", "llm.embed*",
                                     "llm.block.0*", "llm.block.1*", "llm.head*"));
  EXPECT_THAT(names(make_clip_units(tiny_clip(), {"text"})),
              ::testing::ElementsAre("vision.embed", "vision.block.0", "vision.block.1", "vision.block.2",
                                     "vision.head", "text.embed*", "text.block.0*", "text.block.1*", "text.head*"));
  for (const auto& unit : make_units(tiny_model(), {})) EXPECT_GT(unit.activation_per_token, 0) << unit.name;
  // What stands between the units: 5 positions of a picture for its 4 tokens, then one a token.
  std::vector<double> between;
  for (const auto& unit : make_units(tiny_model(), {})) between.push_back(unit.output_per_token);
  EXPECT_THAT(between, ::testing::ElementsAre(8 * 5 / 4.0, 8 * 5 / 4.0, 8 * 5 / 4.0, 16, 16, 16, 16, 0));
}

TEST(ShippedModels, OpenAndMatchTheirUnits) {
  const std::string base = TEPHRA_SOURCE_DIR "/recipes/base/";
  for (const char* tower : {"vision", "vision-64"}) {
    const auto clip = load_clip_config(base + tower);
    ASSERT_TRUE(clip.ok()) << clip.status().to_string();
    const auto source = open_clip(base + tower);
    ASSERT_TRUE(source.ok()) << source.status().to_string();
    EXPECT_EQ(to_string(check_against_units(**source, make_clip_units(*clip, {}), tower)), "");
    const ModelPaths parts{.vision = base + tower, .llm = base + "language"};
    const auto config = load_model_config(parts, {.connector_kind = "mlp2x_gelu"});
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    const auto whole = open_model(parts);
    ASSERT_TRUE(whole.ok()) << whole.status().to_string();
    EXPECT_EQ(to_string(check_against_units(**whole, make_units(*config, {}), tower, {"connector"})), "");
  }
}

TEST(ReferenceModels, OpenAndMatchTheirUnits) {
  const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
  if (root == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the reference fixtures to run this test";
  const std::string r = root;
  ModelPaths whole{.model = r + "/llava-tiny"};
  ModelPaths parts{.vision = r + "/clip-tiny", .connector = r + "/linear-projector", .llm = r + "/llama-tiny"};
  for (const ModelPaths& paths : {whole, parts}) {
    auto config = load_model_config(paths);
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    auto source = open_model(paths);
    ASSERT_TRUE(source.ok()) << source.status().to_string();
    EXPECT_EQ(to_string(check_against_units(**source, make_units(*config, {}), paths.model)), "");
  }
  auto config = load_model_config(whole);
  EXPECT_EQ(config->text.num_kv_heads, 2);
  EXPECT_EQ(config->text.rms_norm_eps, 1e-5);
  EXPECT_EQ(config->tokens_per_image(), 16);
  EXPECT_EQ(config->text.pad_token_id, 32001);
  EXPECT_EQ(load_model_config(parts)->connector, (ConnectorConfig{"linear", 40, 32}));
  Status pickle = open_model({.connector = r + "/linear-projector/mm_projector.bin"}).status();
  EXPECT_THAT(pickle.message(), HasSubstr("torch.save"));

  auto clip = load_clip_config(r + "/clip-tiny");
  ASSERT_TRUE(clip.ok()) << clip.status().to_string();
  auto clip_source = open_clip(r + "/clip-tiny");
  ASSERT_TRUE(clip_source.ok());
  EXPECT_EQ(to_string(check_against_units(**clip_source, make_clip_units(*clip, {}), "clip-tiny")), "");
}

}  // namespace
}  // namespace tephra::model
