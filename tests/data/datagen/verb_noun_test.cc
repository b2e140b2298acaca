// Counts of verbs and nouns: the most frequent first, cut to what the plot holds; the plot's pieces are those counts.
#include "data/datagen/verb_noun.h"

#include <gtest/gtest.h>

namespace tephra::data {
namespace {

VerbNoun words() {
  auto loaded = VerbNoun::load(TEPHRA_SOURCE_DIR "/recipes/datagen/words.json");
  EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
  return std::move(loaded).value();
}

const std::vector<std::string> kInstructions = {"Describe the dog.", "Describe the dogs in detail.", "Describe a cat.",
                                                "Explain the chart.", "Hm?"};

TEST(CountVerbNouns, TheMostFrequentComeFirst) {
  const VerbNounCounts counts = count_verb_nouns(words(), kInstructions, 20, 4);
  EXPECT_EQ(counts.instructions, 5u);
  ASSERT_EQ(counts.verbs.size(), 2u) << "what has no verb is not counted";
  EXPECT_EQ(counts.verbs[0].verb, "describe");
  EXPECT_EQ(counts.verbs[0].count, 3u);
  using Nouns = std::vector<std::pair<std::string, uint64_t>>;
  EXPECT_EQ(counts.verbs[0].nouns, (Nouns{{"dog", 2}, {"cat", 1}}));
  EXPECT_EQ(counts.verbs[1].verb, "explain");
}

TEST(CountVerbNouns, AreCutToTheMost) {
  const VerbNounCounts counts = count_verb_nouns(words(), kInstructions, 1, 1);
  ASSERT_EQ(counts.verbs.size(), 1u);
  EXPECT_EQ(counts.verbs[0].count, 3u) << "of all nouns, shown or not";
  EXPECT_EQ(counts.verbs[0].nouns.size(), 1u);
}

TEST(VerbNounSvg, HasAPieceForEachVerbAndNoun) {
  const std::string svg = verb_noun_svg(count_verb_nouns(words(), kInstructions, 20, 4));
  for (const char* title : {"<title>describe: 3</title>", "<title>dog: 2</title>", "<title>cat: 1</title>",
                            "<title>explain: 1</title>", "<title>chart: 1</title>"})
    EXPECT_NE(svg.find(title), std::string::npos) << title << svg;
  EXPECT_EQ(verb_noun_svg({}), "");
}

TEST(VerbNoun, BrokenWordListsAreNamed) {
  EXPECT_EQ(VerbNoun::load("/none/words.json").status().code(), Code::kNotFound);
  const Status wrong = VerbNoun::load(TEPHRA_SOURCE_DIR "/recipes/datagen/detail.json").status();
  EXPECT_EQ(wrong.code(), Code::kInvalidArgument);
  EXPECT_NE(wrong.message().find("detail.json"), std::string::npos);
}

}  // namespace
}  // namespace tephra::data
