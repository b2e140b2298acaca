// What is proved: the base model is imported once and whole, the small files are kept, data that does not hold is named
// with its sample, and a preparation repeated gives the same answer without doing the work again.
#include "coordinator/preparation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/env.h"
#include "data/image.h"
#include "storage/index/store.h"
#include "tests/base/temp_dir.h"
#include "tests/model/spec/tiny.h"

namespace tephra::coordinator {
namespace {

class PreparationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = storage::Store::open(Env::posix(), dir_ / "store", storage::OpenMode::kReadWrite);
    ASSERT_TRUE(store.ok()) << store.status().to_string();
    store_ = std::move(store).value();
    conversations_ = dir_ / "talk.json";
    std::ofstream(conversations_) << R"([{"id": "a", "image": "red.png", "conversations":
        [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A red square."}]}])";
    const auto png = data::encode_png({2, 1, {200, 0, 0, 200, 0, 0}});
    ASSERT_TRUE(png.ok());
    std::ofstream(dir_ / "red.png", std::ios::binary)
        .write(reinterpret_cast<const char*>(png->data()), static_cast<std::streamsize>(png->size()));
    // A whole model: a tiny one, with the tokenizer that ships.
    model::ModelConfig config = model::tiny_model();
    config.text.vocab_size = config.image_token_index = 900;
    model::ExportOptions options;
    options.tokenizer_folder = base_ + "/language";
    const Status exported = model::export_llava(Env::posix(), dir_ / "llava", config,
                                                *model::tiny_weights(model::make_units(config, {})), options);
    ASSERT_TRUE(exported.ok()) << exported.to_string();
  }

  recipes::Recipe recipe(bool parts) {
    const std::string model =
        parts ? "{vision: " + base_ + "/vision, language: " + base_ + "/language, connector: {kind: linear}}"
              : "{llava: " + (dir_ / "llava") + "}";
    const std::string text = "name: demo\nmodel: " + model +
                             "\ngang: {ranks: 1}\ndatasets:\n  talk: {kind: llava, conversations: " + conversations_ +
                             ", images: " + dir_.path() +
                             "}\nstages:\n  - {name: tune, train: [connector, llm], data: [{dataset: talk}], "
                             "steps: 4, micro_batch: 1, global_batch: 2, max_length: 512}\n";
    const recipes::LoadResult loaded = recipes::parse_recipe(text, dir_ / "recipe.yaml");
    EXPECT_TRUE(loaded.ok()) << to_string(loaded.diagnostics);
    return loaded.recipe;
  }

  Result<PreparedJob> prepare(const recipes::Recipe& recipe) {
    PreparationContext context;
    context.store = store_.get();
    context.store_dir = dir_ / "store";
    context.cancelled = &cancelled_;
    return prepare_job(recipe, context);
  }

  TempDir dir_;
  const std::string base_ = TEPHRA_SOURCE_DIR "/recipes/base";
  std::string conversations_;
  std::unique_ptr<storage::Store> store_;
  std::atomic<bool> cancelled_{false};
};

TEST_F(PreparationTest, ImportsAWholeModelOnce) {
  for (const bool parts : {false, true}) {
    const auto first = prepare(recipe(parts));
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    const auto manifest = store_->get(first->base_checkpoint);
    ASSERT_TRUE(manifest.ok()) << first->base_checkpoint;
    EXPECT_NE(manifest->find("multi_modal_projector.linear_1.weight", storage::StateKind::kParameter), nullptr)
        << "a connector without a file is drawn";
    EXPECT_NE(manifest->find("language_model.model.embed_tokens.weight", storage::StateKind::kParameter), nullptr);
    const std::string kept = first->model_dir + (parts ? "/language/tokenizer.model" : "/llava/tokenizer.model");
    EXPECT_TRUE(std::filesystem::exists(kept)) << kept;
    EXPECT_EQ(first->handover.at("connector"), parts ? "linear" : "mlp2x_gelu");
    EXPECT_EQ(first->handover.at("base"), first->base_checkpoint);
    const auto checkpoints = store_->list();
    ASSERT_TRUE(checkpoints.ok());
    const auto again = prepare(recipe(parts));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(to_json(*again), to_json(*first));
    EXPECT_EQ(store_->list()->size(), checkpoints->size());
    const auto back = prepared_from_json(to_json(*first));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(to_json(*back), to_json(*first));
  }
}

TEST_F(PreparationTest, NamesTheSampleThatDoesNotHold) {
  conversations_ = dir_ / "broken.json";
  std::ofstream(conversations_) << R"([{"id": "lost", "image": "no/such.png", "conversations":
      [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A thing."}]}])";
  const auto prepared = prepare(recipe(false));
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.status().code(), Code::kInvalidArgument);
  EXPECT_NE(prepared.status().message().find("lost"), std::string::npos) << prepared.status().message();
  EXPECT_NE(prepared.status().message().find("no/such.png"), std::string::npos) << prepared.status().message();
}

TEST_F(PreparationTest, RefusesATiedHeadThatIsNotTheEmbedding) {
  std::filesystem::copy(base_ + "/language", dir_ / "tied");
  std::string config = *read_file(Env::posix(), dir_ / "tied/config.json");
  const std::string untied = "\"tie_word_embeddings\": false";
  ASSERT_NE(config.find(untied), std::string::npos);
  std::ofstream(dir_ / "tied/config.json")
      << config.replace(config.find(untied), untied.size(), "\"tie_word_embeddings\": true");
  recipes::Recipe both = recipe(true);
  both.model.language = dir_ / "tied";
  const auto refused = prepare(both);
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("set tie_word_embeddings to false"), std::string::npos)
      << refused.status().message();
}

TEST_F(PreparationTest, AForkStartsFromACheckpointOfTheSameModel) {
  const auto first = prepare(recipe(false));
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  ASSERT_TRUE(store_->tag("start", first->base_checkpoint).ok());
  recipes::Recipe forked = recipe(false);
  forked.seed = 99;
  forked.fork = {.checkpoint = "start"};
  const auto prepared = prepare(forked);
  ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
  EXPECT_EQ(prepared->base_checkpoint, first->base_checkpoint) << "by its full name";
  EXPECT_EQ(prepared->resume_step, 0);
  EXPECT_EQ(prepared->handover.at("language"), first->handover.at("language"));
  EXPECT_EQ(prepared->data_hashes, first->data_hashes);

  forked.fork->resume = true;
  const auto resumed = prepare(forked);
  EXPECT_EQ(resumed.status().code(), Code::kMismatch);
  EXPECT_NE(resumed.status().message().find("and the recipe's first stage is tune; without resume"), std::string::npos)
      << resumed.status().message();

  forked.fork->checkpoint = "starts";
  const auto missing = prepare(forked);
  EXPECT_EQ(missing.status().code(), Code::kNotFound);
  EXPECT_NE(missing.status().message().find("did you mean 'start'?"), std::string::npos) << missing.status().message();
}

TEST_F(PreparationTest, AForkOfAnotherModelIsRefusedWithEachDifference) {
  const auto llava = prepare(recipe(false));
  ASSERT_TRUE(llava.ok()) << llava.status().to_string();
  recipes::Recipe forked = recipe(true);
  forked.fork = {.checkpoint = llava->base_checkpoint};
  const auto refused = prepare(forked);
  EXPECT_EQ(refused.status().code(), Code::kMismatch);
  for (const char* difference :
       {"stage tune does not fit checkpoint base/", "vision tower's configuration is ", "vision tower's weights is ",
        "connector kind is linear, the checkpoint's is mlp2x_gelu", "language model's weights is "})
    EXPECT_NE(refused.status().message().find(difference), std::string::npos) << refused.status().message();
}

TEST_F(PreparationTest, TheDataHashIsOfWhatTheStageReads) {
  const auto first = prepare(recipe(false));
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  conversations_ = dir_ / "talk2.json";
  std::filesystem::copy_file(dir_ / "talk.json", conversations_);
  EXPECT_EQ(prepare(recipe(false))->data_hashes, first->data_hashes) << "the same bytes elsewhere";
  std::ofstream(conversations_, std::ios::app) << "\n";
  EXPECT_NE(prepare(recipe(false))->data_hashes, first->data_hashes);
  EXPECT_EQ(stage_handover(*first, recipe(false).stages[0]).at("data"), first->data_hashes.at("tune"));
}

TEST_F(PreparationTest, AnImportedFolderIsTheBaseThatAJobOfItHas) {
  PreparationContext context;
  context.store = store_.get();
  context.store_dir = dir_ / "store";
  uint64_t read = 0;
  context.import_progress = [&](uint64_t done, uint64_t) { read = done; };
  const auto imported = import_model(dir_ / "llava", context);
  ASSERT_TRUE(imported.ok()) << imported.status().to_string();
  EXPECT_EQ(read, imported->logical_bytes);
  EXPECT_EQ(imported->handover.at("connector"), "mlp2x_gelu");
  EXPECT_EQ(prepare(recipe(false))->base_checkpoint, imported->name());
  const auto language = import_model(base_ + "/language", context);
  ASSERT_TRUE(language.ok()) << language.status().to_string();
  EXPECT_EQ(language->find("multi_modal_projector.linear_1.weight", storage::StateKind::kParameter), nullptr);
  std::filesystem::create_directories(dir_ / "other");
  std::ofstream(dir_ / "other/config.json") << R"({"model_type": "bert"})";
  EXPECT_EQ(import_model(dir_ / "other", context).status().code(), Code::kUnsupported);
  EXPECT_EQ(import_model(dir_ / "nothing", context).status().code(), Code::kNotFound);
}

TEST_F(PreparationTest, StopsWhenCancelled) {
  cancelled_ = true;
  EXPECT_EQ(prepare(recipe(false)).status().code(), Code::kCancelled);
}

TEST_F(PreparationTest, RefusesAModelWithoutWeights) {
  std::filesystem::create_directories(dir_ / "empty");
  std::filesystem::copy_file(dir_ / "llava/config.json", dir_ / "empty/config.json");
  recipes::Recipe broken = recipe(false);
  broken.model.llava = dir_ / "empty";
  const auto prepared = prepare(broken);
  ASSERT_FALSE(prepared.ok());
  EXPECT_NE(prepared.status().message().find("empty"), std::string::npos) << prepared.status().message();
}

}  // namespace
}  // namespace tephra::coordinator
