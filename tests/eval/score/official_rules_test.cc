// VQA v2's, TextVQA's, POPE's and MME's rules beside other people's code, over thousands of made-up answers: LAVIS's copy of VQA's
// vqaEval.py (Agrawal, Lin) and lmms-eval's tasks (.deps/eval-venv, scripts/eval_venv.sh; without it the tests say that they did
// not run). POPE's reading of an answer, which neither has, is written here once more in Python, from the rules of its evaluate.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/random.h"
#include "eval/score/vqa.h"
#include "eval/score/yes_no.h"
#include "tests/eval/score/eval_python.h"

namespace tephra::eval {
namespace {

using nlohmann::json;

constexpr int kCases = 4000;

// Both packages import half the world in their own __init__.py, so their files are loaded as if those were empty. loguru only logs.
const char* const kLoad = R"py(
import importlib.util, json, os, sys, types
found = {name: importlib.util.find_spec(name) for name in ("lavis", "lmms_eval")}
def bare(name):
    top, *rest = name.split(".")
    if found[top] is None: return
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(os.path.dirname(found[top].origin), *rest)]
    sys.modules[name] = module
for name in ("lavis", "lavis.common", "lavis.common.vqa_tools", "lmms_eval", "lmms_eval.tasks", "lmms_eval.tasks._task_utils",
             "lmms_eval.tasks.mme", "lmms_eval.tasks.pope", "lmms_eval.tasks.textvqa", "lmms_eval.tasks.vqav2"):
    bare(name)
sys.modules["loguru"] = types.SimpleNamespace(logger=types.SimpleNamespace(info=lambda *a: None))
cases = json.load(open(sys.argv[1]))
)py";

class Draw {
 public:
  explicit Draw(uint64_t seed) : seed_(seed) {}
  uint64_t below(uint64_t n) { return random_below(n, {seed_, ++draws_}); }
  const char* of(const std::vector<const char*>& words) { return words[below(words.size())]; }

 private:
  const uint64_t seed_;
  uint64_t draws_ = 0;
};

// Words, numbers and marks that the rules treat specially, joined in every way.
std::string some_answer(Draw& draw) {
  static const std::vector<const char*> kWords = {
      "yes",        "No",       "not",     "none",      "a",     "An",         "THE",      "two",
      "Ten",        "zero",     "red",     "Bus",       "dont",  "don't",      "Im",       "isnt",
      "youre",      "oclock",   "o'clock", "ladys",     "hes",   "ill",        "1,000",    "3.5",
      "10",         "2.",       "U.S.",    "joe's",     "dogs'", "somebody'd", "theyd've", "lets",
      "whats",      "t-shirt",  "a/c",     "(left)",    "[1]",   "{x}",        "\"hi\"",   "e=mc",
      "c++",        "who_am_i", "<b>",     "me@x",      "`q`",   "100%",       "$5",       "3:15",
      "well,no",    "maybe?",   "stop!",   ";",         ",",     ".",          "-",        "couldnt've",
      "wouldn'tve", "what's",   "it'd",    "12,345.67", "?",     "/",          "five",     "eight apples",
      "no.",        "Yes."};
  static const std::vector<const char*> kGaps = {" ", " ", " ",  " ", "  ", "\n", "\t",
                                                 "",  ",", ", ", ".", ". ", "-",  "/"};
  std::string text = draw.below(20) == 0 ? " " : "";
  for (uint64_t n = draw.below(6); n > 0; --n) text += std::string(draw.of(kWords)) + (n > 1 ? draw.of(kGaps) : "");
  return text + (draw.below(20) == 0 ? draw.of(kGaps) : "");
}

// Ten people's answers, of few kinds, and a model's that is often one of them spelled otherwise.
json some_question(Draw& draw) {
  std::vector<std::string> kinds;
  for (uint64_t n = 2 + draw.below(3); n > 0; --n) kinds.push_back(some_answer(draw));
  json people = json::array();
  for (int i = 0; i < 10; ++i) people.push_back(kinds[draw.below(kinds.size())]);
  std::string said = draw.below(4) == 0 ? some_answer(draw) : kinds[draw.below(kinds.size())];
  if (draw.below(3) == 0) said = "The " + said + (draw.below(2) == 0 ? "." : " ");
  return {{"people", people}, {"said", said}};
}

TEST(OfficialRules, VqaNormalisesAndCountsAsVqaEval) {
  const std::string python = eval_python("lavis");
  if (python.empty()) GTEST_SKIP() << "NOT RUN: no LAVIS; scripts/eval_venv.sh makes a Python with it";
  Draw draw(1);
  json cases = json::array();
  for (int i = 0; i < kCases; ++i) cases.push_back(some_question(draw));
  const json theirs = run_python(python, std::string(kLoad) + R"py(
from lavis.common.vqa_tools.vqa_eval import VQAEval
rules = VQAEval()
def normal(text): return rules.processDigitArticle(rules.processPunctuation(text))
def clean(text): return text.replace("\n", " ").replace("\t", " ").strip()
out = []
for case in cases:
    said, people = clean(case["said"]), case["people"]
    alike = len(set(people)) == 1
    if not alike: said, people = normal(said), [normal(clean(p)) for p in people]
    gains = [min(1, sum(o == said for k, o in enumerate(people) if k != i) / 3) for i in range(len(people))]
    out.append({"normal": normal(clean(case["said"])), "accuracy": sum(gains) / len(gains), "alike": alike})
json.dump(out, open(sys.argv[2], "w"))
)py",
                                 cases);
  ASSERT_TRUE(theirs.is_array()) << theirs;
  int right = 0, partly = 0;
  for (int i = 0; i < kCases; ++i) {
    const std::string said = cases[i]["said"];
    EXPECT_EQ(normalize_vqa(said), theirs[i]["normal"].get<std::string>()) << cases[i]["said"];
    const double accuracy = vqa_accuracy(said, cases[i]["people"].get<std::vector<std::string>>());
    if (!theirs[i]["alike"]) {
      EXPECT_NEAR(accuracy, theirs[i]["accuracy"].get<double>(), 1e-12) << cases[i];
    }
    right += accuracy == 1;
    partly += accuracy > 0 && accuracy < 1;
  }
  EXPECT_GT(right, kCases / 10);
  EXPECT_GT(partly, kCases / 10);
}

TEST(OfficialRules, TextVqaAndVqaCountAsLmmsEval) {
  const std::string python = eval_python("lmms_eval");
  if (python.empty()) GTEST_SKIP() << "NOT RUN: no lmms-eval; scripts/eval_venv.sh makes a Python with it";
  Draw draw(2);
  json cases = json::array();
  for (int i = 0; i < kCases; ++i) cases.push_back(some_question(draw));
  const json theirs = run_python(python, std::string(kLoad) + R"py(
from lmms_eval.tasks.textvqa.utils import textvqa_process_results
from lmms_eval.tasks.vqav2.utils import vqav2_process_results
out = []
for i, case in enumerate(cases):
    text = textvqa_process_results({"question_id": i, "answers": list(case["people"])}, [case["said"]])
    people = [{"answer": p, "answer_id": k} for k, p in enumerate(case["people"])]
    vqa = vqav2_process_results({"question_id": i, "answers": people}, [case["said"]])
    out.append({"text": text["submission"]["answer"], "text_accuracy": text["exact_match"],
                "vqa": vqa["submission"]["answer"], "vqa_accuracy": vqa["exact_match"]})
json.dump(out, open(sys.argv[2], "w"))
)py",
                                 cases);
  ASSERT_TRUE(theirs.is_array()) << theirs;
  int right = 0;
  for (int i = 0; i < kCases; ++i) {
    const std::string said = cases[i]["said"];
    const auto people = cases[i]["people"].get<std::vector<std::string>>();
    EXPECT_EQ(normalize_textvqa(said), theirs[i]["text"].get<std::string>()) << cases[i]["said"];
    EXPECT_EQ(normalize_vqa(said), theirs[i]["vqa"].get<std::string>()) << cases[i]["said"];
    EXPECT_NEAR(textvqa_accuracy(said, people), theirs[i]["text_accuracy"].get<double>(), 1e-12) << cases[i];
    // lmms-eval normalises where all agree too, which vqaEval.py does not.
    if (std::set<std::string>(people.begin(), people.end()).size() > 1) {
      EXPECT_NEAR(vqa_accuracy(said, people), theirs[i]["vqa_accuracy"].get<double>(), 1e-12) << cases[i];
    }
    right += textvqa_accuracy(said, people) == 1;
  }
  EXPECT_GT(right, kCases / 10);
}

TEST(OfficialRules, PopeReadsAsItsScriptAndCountsAsLmmsEval) {
  const std::string python = eval_python("lmms_eval");
  if (python.empty()) GTEST_SKIP() << "NOT RUN: no lmms-eval; scripts/eval_venv.sh makes a Python with it";
  static const std::vector<const char*> kWords = {"Yes",   "No",  "no",   "not", "NO",   "yes", "there", "is",
                                                  "a dog", "nor", "none", "no,", "not.", ",no", "Not",   "knot"};
  static const std::vector<const char*> kGaps = {" ", " ", "  ", ", ", ". ", ".", "\n"};
  Draw draw(3);
  json cases = json::array();
  for (int i = 0; i < kCases; ++i) {
    std::string text;
    for (uint64_t n = draw.below(5); n > 0; --n) text += std::string(draw.of(kWords)) + draw.of(kGaps);
    cases.push_back({{"text", text}, {"label", draw.below(2) == 0 ? "yes" : "no"}});
  }
  const json theirs = run_python(python, std::string(kLoad) + R"py(
from lmms_eval.tasks.pope import utils
def read(text):
    first = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(first) else "yes"
rows = [utils.pope_process_results({"answer": c["label"], "question_id": i}, [read(c["text"])])["pope_accuracy"]
        for i, c in enumerate(cases)]
json.dump({"answers": [r["prediction"] for r in rows], "accuracy": utils.pope_aggregate_accuracy(rows),
           "precision": utils.pope_aggregate_precision(rows), "recall": utils.pope_aggregate_recall(rows),
           "f1": utils.pope_aggregate_f1_score(rows)}, open(sys.argv[2], "w"))
)py",
                                 cases);
  ASSERT_TRUE(theirs.is_object()) << theirs;
  std::vector<YesNoCase> ours;
  for (int i = 0; i < kCases; ++i) {
    const std::string answer = pope_answer(cases[i]["text"].get<std::string>());
    EXPECT_EQ(answer, theirs["answers"][i].get<std::string>()) << cases[i];
    ours.push_back({cases[i]["label"] == "yes", answer == "yes"});
  }
  const YesNoScore score = score_yes_no(ours);
  EXPECT_NEAR(score.accuracy, theirs["accuracy"].get<double>(), 1e-12);
  EXPECT_NEAR(score.precision, theirs["precision"].get<double>(), 1e-12);
  EXPECT_NEAR(score.recall, theirs["recall"].get<double>(), 1e-12);
  EXPECT_NEAR(score.f1, theirs["f1"].get<double>(), 1e-12);
  EXPECT_GT(score.false_positive + score.false_negative, kCases / 10);
}

TEST(OfficialRules, MmeReadsAndSumsAsLmmsEval) {
  const std::string python = eval_python("lmms_eval");
  if (python.empty()) GTEST_SKIP() << "NOT RUN: no lmms-eval; scripts/eval_venv.sh makes a Python with it";
  static const std::vector<const char*> kTasks = {"existence", "count", "OCR", "code_reasoning", "text_translation"};
  static const std::vector<const char*> kOpenings = {"Yes", "No",   "NO",  "yes", "I know",
                                                     "not", "a no", "The", "  ",  "Nope"};
  Draw draw(4);
  json cases = json::array();
  for (int i = 0; i < kCases; ++i) {  // two questions a picture
    // lmms-eval drops full stops and outer blanks before it reads, and knows y and n; calculation.py does not.
    std::string text = draw.of(kOpenings) + some_answer(draw) + "x";
    std::erase(text, '.');
    text.erase(0, text.find_first_not_of(" \n\t"));
    cases.push_back({{"text", text},
                     {"label", draw.below(2) == 0 ? "Yes" : "No"},
                     {"task", kTasks[static_cast<size_t>(i / 2) % kTasks.size()]},
                     {"picture", std::to_string(i / 2)}});
  }
  const json theirs = run_python(python, std::string(kLoad) + R"py(
from lmms_eval.tasks.mme import utils
groups = {"mme_perception_score": [], "mme_cognition_score": []}
for c in cases:
    row = utils.mme_process_results({"answer": c["label"], "category": c["task"], "question_id": c["picture"]}, [c["text"]])
    for name, value in row.items(): groups[name].append(value)
json.dump({"answers": [utils.parse_pred_ans(c["text"]) for c in cases],
           "perception": utils.mme_aggregate_results(groups["mme_perception_score"]),
           "cognition": utils.mme_aggregate_results(groups["mme_cognition_score"])}, open(sys.argv[2], "w"))
)py",
                                 cases);
  ASSERT_TRUE(theirs.is_object()) << theirs;
  std::vector<MmeCase> ours;
  for (int i = 0; i < kCases; ++i) {
    const std::string answer = mme_answer(cases[i]["text"].get<std::string>());
    EXPECT_EQ(answer, theirs["answers"][i].get<std::string>()) << cases[i];
    ours.push_back({cases[i]["task"], cases[i]["picture"], answer == (cases[i]["label"] == "Yes" ? "yes" : "no")});
  }
  const MmeScore score = score_mme(ours);
  EXPECT_NEAR(score.perception, theirs["perception"].get<double>(), 1e-9);
  EXPECT_NEAR(score.cognition, theirs["cognition"].get<double>(), 1e-9);
  EXPECT_GT(score.perception, 0);
}

}  // namespace
}  // namespace tephra::eval
