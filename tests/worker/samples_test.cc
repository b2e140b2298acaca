// What a language model's training data looks like: documents share sequences and count whole, conversations stand alone and count
// by their answers.
#include "worker/samples.h"

#include <gtest/gtest.h>

#include <fstream>

#include "data/template.h"
#include "tests/base/temp_dir.h"

namespace tephra::worker {
namespace {

const std::string kTokenizerDir = TEPHRA_SOURCE_DIR "/recipes/base/new-language";

std::unique_ptr<SampleSource> corpus(const std::string& dir, const std::string& json, int64_t max_length) {
  std::ofstream(dir + "/corpus.json") << json;
  TaskContext context;
  recipes::StageRecipe stage;
  stage.kind = "language_model";
  stage.template_name = "v1";
  stage.max_length = max_length;
  stage.data = {{"world", "corpus"}};
  context.recipe.stages = {stage};
  context.options.datasets["world"] = data::PreparedDataset{"scenes", dir, {}};
  std::shared_ptr<const data::Tokenizer> tokenizer = std::move(*data::Tokenizer::load(kTokenizerDir));
  auto source = open_samples(context, tokenizer, {});
  EXPECT_TRUE(source.ok()) << source.status().to_string();
  return source.ok() ? std::move(*source) : nullptr;
}

std::string words(const std::vector<int32_t>& ids) {
  return (*data::Tokenizer::load(kTokenizerDir))->decode(ids, true);
}

TEST(Corpus, DocumentsArePackedUpToTheLengthAndSupervisedWhole) {
  TempDir dir;
  auto source = corpus(
      dir.path(),
      R"([{"text": "a large red circle."}, {"text": "a small blue cross."}, {"text": "a large green square."}])", 16);
  ASSERT_NE(source, nullptr);
  ASSERT_EQ(source->size(), 2);
  const auto first = *source->get(0), second = *source->get(1);
  EXPECT_EQ(words(first.ids), "a large red circle. a small blue cross.");
  EXPECT_EQ(words(second.ids), "a large green square.");
  EXPECT_EQ(first.labels, first.ids);
  EXPECT_LE(first.ids.size(), 16u);
}

TEST(Corpus, AConversationHasASequenceOfItsOwnAndCountsByItsAnswers) {
  TempDir dir;
  auto source = corpus(dir.path(), R"([{"text": "a large red circle."},
    {"id": "c", "conversations": [{"from": "human", "value": "aRC bno cno dno\nWhat color is the circle?"}, {"from": "gpt", "value": "red"}]}])",
                       128);
  ASSERT_NE(source, nullptr);
  ASSERT_EQ(source->size(), 2);
  for (int64_t i = 0; i < 2; ++i) {
    const TrainingSample sample = *source->get(i);
    ASSERT_EQ(sample.ids.size(), sample.labels.size());
    if (sample.id != "c") continue;
    std::vector<int32_t> supervised;
    for (size_t t = 0; t < sample.ids.size(); ++t)
      if (sample.labels[t] != data::kIgnoreLabel) supervised.push_back(sample.labels[t]);
    EXPECT_EQ(words(supervised), "red");
    EXPECT_EQ(supervised.size(), 2u);  // and the end mark
    return;
  }
  ADD_FAILURE() << "the conversation is not there";
}

}  // namespace
}  // namespace tephra::worker
