// BLEU and CIDEr-D against pycocoevalcap, and the tokens against the tokenizer that it runs (Stanford's, which needs Java). Without
// these in .deps/eval-venv (scripts/eval_venv.sh) the comparisons say that they did not run; the rest is by hand.
#include "eval/score/captions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "eval/score/json_lines.h"
#include "tests/eval/score/eval_python.h"
#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

using ::testing::ElementsAre;

TEST(CaptionTokens, AreTheTreebanksInLowerCase) {
  EXPECT_THAT(caption_tokens("A man's dog, well-fed."), ElementsAre("a", "man", "'s", "dog", "well-fed"));
  EXPECT_THAT(caption_tokens("They don't; it cannot!"), ElementsAre("they", "do", "n't", "it", "can", "not"));
  EXPECT_THAT(caption_tokens("\"Stop\" (at 10:30)"), ElementsAre("stop", "-lrb-", "at", "10:30", "-rrb-"));
  EXPECT_TRUE(caption_tokens(" .,!?").empty());
}

TEST(ScoreCaptions, OfACopyAreTheMostAndOfNothingTheLeast) {
  const auto words = [](const char* text) { return caption_tokens(text); };
  const CaptionScore copy = score_captions({{words("a red fox in the snow"), {words("a red fox in the snow")}},
                                            {words("two cats sit on a mat"), {words("two cats sit on a mat")}}});
  for (double bleu : copy.bleu) EXPECT_NEAR(bleu, 1, 1e-9);
  EXPECT_GT(copy.cider, 5);  // below 10: "a" is in every caption and counts nothing
  const CaptionScore none = score_captions({{{}, {words("a red fox")}}, {{}, {words("two cats")}}});
  EXPECT_NEAR(none.bleu[0], 0, 1e-9);
  EXPECT_EQ(none.cider, 0);
  EXPECT_EQ(score_captions({}).cider, 0);
}

// Captions of COCO, each first one the candidate against the other four; and odd ones: short, empty, repeated, and of another length.
std::vector<std::vector<std::string>> captions_of_coco() {
  const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
  if (root == nullptr) return {};
  const auto objects =
      read_json_objects(std::string(root) + "/llava_bench/caps_boxes_coco2014_val_80.jsonl", "captions");
  std::vector<std::vector<std::string>> out;
  if (objects.ok())
    for (const auto& object : *objects) out.push_back(object["captions"].get<std::vector<std::string>>());
  return out;
}

TEST(ScoreCaptions, EqualPycocoevalcap) {
  const std::string python = eval_python("pycocoevalcap");
  const auto captions = captions_of_coco();
  if (python.empty() || captions.empty())
    GTEST_SKIP() << "needs TEPHRA_REFERENCE_DIR and pycocoevalcap; run scripts/eval_venv.sh";
  std::vector<CaptionCase> cases;
  for (size_t i = 0; i < captions.size(); ++i) {
    CaptionCase c;
    for (size_t k = 1; k < captions[i].size(); ++k) c.references.push_back(caption_tokens(captions[i][k]));
    c.candidate = caption_tokens(i % 10 == 3   ? "dog"
                                 : i % 10 == 5 ? "a a a a a"
                                 : i % 10 == 7 ? captions[i][1] + " " + captions[i][2]
                                               : captions[i][0]);
    if (i % 20 == 9) c.candidate.clear();
    cases.push_back(c);
  }
  nlohmann::json in = nlohmann::json::array();
  const auto joined = [](const std::vector<std::string>& words) {
    std::string out;
    for (const auto& word : words) out += (out.empty() ? "" : " ") + word;
    return out;
  };
  for (const auto& c : cases) {
    in.push_back({{"candidate", joined(c.candidate)}, {"references", nlohmann::json::array()}});
    for (const auto& reference : c.references) in.back()["references"].push_back(joined(reference));
  }
  const auto theirs = run_python(python, R"(
import json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
cases = json.load(open(sys.argv[1]))
gts = {i: c["references"] for i, c in enumerate(cases)}
res = {i: [c["candidate"]] for i, c in enumerate(cases)}
bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
cider, each = Cider().compute_score(gts, res)
json.dump({"bleu": bleu, "cider": cider, "each": list(each)}, open(sys.argv[2], "w"))
)",
                                 in);
  ASSERT_TRUE(theirs.is_object()) << theirs;
  const CaptionScore mine = score_captions(cases);
  for (int n = 0; n < 4; ++n) EXPECT_NEAR(mine.bleu[n], theirs["bleu"][n].get<double>(), 1e-12) << n;
  EXPECT_NEAR(mine.cider, theirs["cider"].get<double>(), 1e-10);
  for (size_t i = 0; i < cases.size(); ++i)
    EXPECT_NEAR(mine.cider_of_case[i], theirs["each"][i].get<double>(), 1e-10) << i;
}

TEST(ScoreCaptions, BleuEqualsNltk) {
  const std::string python = eval_python("nltk");
  const auto captions = captions_of_coco();
  if (python.empty() || captions.empty())
    GTEST_SKIP() << "needs TEPHRA_REFERENCE_DIR and nltk; run scripts/eval_venv.sh";
  std::vector<CaptionCase> cases;
  nlohmann::json in = nlohmann::json::array();
  for (const auto& caption : captions) {
    CaptionCase c{caption_tokens(caption[0]), {}};
    for (size_t k = 1; k < caption.size(); ++k) c.references.push_back(caption_tokens(caption[k]));
    in.push_back({{"candidate", c.candidate}, {"references", c.references}});
    cases.push_back(std::move(c));
  }
  const auto theirs = run_python(python, R"(
import json, sys
from nltk.translate.bleu_score import corpus_bleu
cases = json.load(open(sys.argv[1]))
refs, hyps = [c["references"] for c in cases], [c["candidate"] for c in cases]
json.dump([corpus_bleu(refs, hyps, weights=tuple([1 / n] * n)) for n in range(1, 5)], open(sys.argv[2], "w"))
)",
                                 in);
  ASSERT_TRUE(theirs.is_array()) << theirs;
  const CaptionScore mine = score_captions(cases);
  for (int n = 0; n < 4; ++n) EXPECT_NEAR(mine.bleu[n], theirs[n].get<double>(), 1e-8) << n;
}

TEST(CaptionTokens, EqualStanfordsOnCocosCaptions) {
  const std::string python = eval_python("pycocoevalcap");
  const auto captions = captions_of_coco();
  if (python.empty() || captions.empty() || std::system("java -version > /dev/null 2>&1") != 0)
    GTEST_SKIP() << "needs TEPHRA_REFERENCE_DIR, pycocoevalcap (scripts/eval_venv.sh) and Java";
  nlohmann::json in = nlohmann::json::array();
  for (const auto& group : captions)
    for (const auto& caption : group) in.push_back(caption);
  for (const char* odd : {"It's a dog's life, isn't it?", "A well-known 3-legged cat & dog",
                          "The sign says \"STOP!\" (twice).", "They can't; I'd go.", "5,000 people at 10:30",
                          "black/white tv", "Mr. Smith's 1/2 pizza", "a man -- in black", "we're here... they've gone"})
    in.push_back(odd);
  const auto theirs = run_python(python, R"(
import json, sys
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
texts = json.load(open(sys.argv[1]))
out = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(texts)})
json.dump([out[i][0] for i in range(len(texts))], open(sys.argv[2], "w"))
)",
                                 in);
  ASSERT_TRUE(theirs.is_array()) << theirs;
  ASSERT_EQ(theirs.size(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    std::string mine;
    for (const auto& word : caption_tokens(in[i].get<std::string>())) mine += (mine.empty() ? "" : " ") + word;
    EXPECT_EQ(mine, theirs[i].get<std::string>()) << in[i];
  }
}

}  // namespace
}  // namespace tephra::eval
