// `tephra eval` as a user runs it: published files, a judge that is away and comes back, a model asked on one and on two processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string reference(const std::string& path) {
  const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
  return root == nullptr ? "" : std::string(root) + "/" + path;
}
#define REQUIRE_REFERENCE() \
  if (reference("").empty()) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the recorded numbers to run this test"

TEST(Eval, ScoresLlavasPublishedPredictionsAsRecorded) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  const Finished run =
      tephra(scratch, {"eval", "scienceqa", "--predictions", reference("scienceqa/predictions_llava_13b_v0.json"),
                       "--problems", reference("scienceqa/problems.json"), "--splits",
                       reference("scienceqa/pid_splits.json"), "--out", scratch.path("out"), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json ours = json::parse(run.out),
             theirs = json::parse(read_text(reference("scienceqa/predictions_llava_13b_v0.expected.json")));
  const std::map<std::string, std::string> names = {
      {"NAT", "acc_natural"},    {"SOC", "acc_social"},       {"LAN", "acc_language"},
      {"TXT", "acc_has_text"},   {"IMG", "acc_has_image"},    {"NO", "acc_no_context"},
      {"G1-6", "acc_grade_1_6"}, {"G7-12", "acc_grade_7_12"}, {"Avg", "acc_average"}};
  for (const auto& [column, name] : names) {
    char text[16];
    std::snprintf(text, sizeof text, "%.2f", 100 * ours["columns"][column]["accuracy"].get<double>());
    EXPECT_EQ(text, theirs["evaluate_acc"][name].get<std::string>()) << column;
  }
  EXPECT_EQ(ours["choices"], theirs["parsed"]);
  const std::string html = read_text(scratch.path("out/report.html"));
  EXPECT_THAT(html, HasSubstr("By topic"));
  EXPECT_THAT(html, HasSubstr("LLaVA 13B (paper)"));
  EXPECT_THAT(read_text(scratch.path("out/results.csv")), HasSubstr("answers,scienceqa,scienceqa,Avg,0.886"));
}

TEST(Eval, SumsReviewsAsRecorded) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  const json expected = json::parse(read_text(reference("llava_bench/expected.json")))["summaries"];
  for (const std::string file : {"review_gpt35_vicuna-13b.jsonl", "gpt4_text_gpt35_vicuna-13b.jsonl"}) {
    const Finished run =
        tephra(scratch, {"eval", "llava_bench", "--predictions", reference("llava_bench/" + file), "--json"});
    ASSERT_EQ(run.code, 0) << run.err;
    const json rows = json::parse(run.out)["rows"];
    ASSERT_EQ(rows.size(), expected[file]["rows"].size());
    for (const auto& [name, row] : expected[file]["rows"].items())
      for (const char* key : {"ratio", "first", "second"}) EXPECT_EQ(rows[name][key], row[key]) << file << " " << name;
  }
}

TEST(Eval, TheLocalJudgeNeedsNoEndpoint) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  std::vector<std::string> words = {"eval",
                                    "llava_bench",
                                    "--predictions",
                                    reference("llava_bench/qa90_gpt4_answer.jsonl"),
                                    "--questions",
                                    reference("llava_bench/qa90_questions.jsonl"),
                                    "--reference",
                                    reference("llava_bench/qa90_gpt4_answer.jsonl"),
                                    "--judge-prompts",
                                    std::string(TEPHRA_SOURCE_DIR) + "/recipes/judge/llava_bench.json",
                                    "--out",
                                    scratch.path("out"),
                                    "--json"};
  std::vector<std::string> local = words, refused = words;
  local.insert(local.end(), {"--judge", "local"});
  const Finished run = tephra(scratch, local);
  ASSERT_EQ(run.code, 0) << run.err;
  const json result = json::parse(run.out);
  EXPECT_EQ(result["metrics"]["relative_score"], 1.0);  // the reference judged against itself
  EXPECT_EQ(result["counts"]["judgments"], 180);        // both orders
  EXPECT_THAT(result["pinned"]["judge"].get<std::string>(), HasSubstr("smoke check"));
  refused.insert(refused.end(), {"--judge", "https://127.0.0.1:1/v1"});
  EXPECT_THAT(tephra(scratch, refused).err, HasSubstr("--judge-model is missing"));
  EXPECT_THAT(tephra(scratch, words).err, HasSubstr("a judge is needed"));
}

TEST(Eval, JoinsTwoFilesAsThePaperDoes) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  // The first answers every second question with nothing, so the second's answers fill in: together they are the second's or better.
  json predictions = json::parse(read_text(reference("scienceqa/predictions_llava_13b_v0.json")));
  json half = {{"outputs", json::object()}};
  int i = 0;
  for (const auto& [id, text] : predictions["outputs"].items())
    half["outputs"][id] = i++ % 2 == 0 ? json("I cannot tell.") : text;
  const Finished run = tephra(
      scratch, {"eval", "scienceqa-ensemble", "--first", scratch.write("first.json", half.dump()), "--second",
                reference("scienceqa/predictions_llava_13b_v0.json"), "--problems",
                reference("scienceqa/problems.json"), "--splits", reference("scienceqa/pid_splits.json"), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out)["counts"]["correct"], 320);  // as LLaVA's own
}

TEST(Eval, AModelGivesTheSameOnOneProcessAndOnTwo) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  const auto run = [&](const std::string& rule, const std::string& ranks, const std::string& batch) {
    const std::string out = scratch.path(rule + ranks + batch);
    const Finished finished = tephra(scratch, {"eval",
                                               "scienceqa",
                                               "--model",
                                               reference("llava-tiny"),
                                               "--problems",
                                               reference("scienceqa/problems.json"),
                                               "--splits",
                                               reference("scienceqa/pid_splits.json"),
                                               "--limit",
                                               "12",
                                               "--max-new-tokens",
                                               "8",
                                               "--answer-rule",
                                               rule,
                                               "--ranks",
                                               ranks,
                                               "--batch",
                                               batch,
                                               "--out",
                                               out,
                                               "--json"});
    EXPECT_EQ(finished.code, 0) << finished.err;
    std::map<std::string, std::string> answers;
    const json result = json::parse(read_text(out + "/scienceqa.result.json"));
    for (const auto& row : result["cases"]) answers[row["id"]] = row["answer"];
    return answers;
  };
  for (const std::string rule : {"llava", "loglik"}) {
    const auto one = run(rule, "1", "8");
    EXPECT_EQ(one.size(), 12u);
    EXPECT_EQ(run(rule, "2", "8"), one) << rule;
    EXPECT_EQ(run(rule, "2", "3"), one) << rule;
    if (rule == "loglik") {
      EXPECT_TRUE(one.begin()->second.starts_with("loglik -")) << one.begin()->second;
    }
  }
  // The same command again asks nothing; another question in the same folder is refused.
  const std::string answers = read_text(scratch.path("llava18/answers-0.jsonl"));
  run("llava", "1", "8");
  EXPECT_EQ(read_text(scratch.path("llava18/answers-0.jsonl")), answers + "\n");
  const Finished other =
      tephra(scratch, {"eval", "scienceqa", "--model", reference("llava-tiny"), "--problems",
                       reference("scienceqa/problems.json"), "--splits", reference("scienceqa/pid_splits.json"),
                       "--limit", "3", "--out", scratch.path("llava18")});
  EXPECT_NE(other.code, 0);
  EXPECT_THAT(other.err, HasSubstr("holds answers that were asked for otherwise"));
}

// A model's held-out loss is what `tephra score` prints of each conversation, weighed by tokens; on two processes to the bit.
TEST(Eval, LossOfAModelIsThatOfItsScores) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  const std::vector<std::string> of = {"--model",  reference("llava-tiny"),
                                       "--data",   reference("data/conversations.json"),
                                       "--images", reference("images")};
  const auto with = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), of.begin(), of.end());
    words.insert(words.end(), more.begin(), more.end());
    const Finished run = tephra(scratch, words);
    EXPECT_EQ(run.code, 0) << run.err;
    return run.out;
  };
  const std::string scores = scratch.write("scores.json", with({"score"}, {"--template", "v1"}));
  const json scored =
      json::parse(tephra(scratch, {"eval", "loss", "--predictions", scores, "--json"}).out, nullptr, false);
  const json one = json::parse(with({"eval", "loss"}, {"--out", scratch.path("one"), "--json"}), nullptr, false);
  const json two = json::parse(
      with({"eval", "loss"}, {"--out", scratch.path("two"), "--ranks", "2", "--batch", "3", "--json"}), nullptr, false);
  EXPECT_EQ(one["counts"]["tokens"], scored["counts"]["tokens"]);
  EXPECT_GT(one["counts"]["tokens"], 100);
  EXPECT_NEAR(one["metrics"]["loss"].get<double>(), scored["metrics"]["loss"].get<double>(), 1e-5);
  EXPECT_EQ(two["metrics"], one["metrics"]);
}

TEST(Eval, SaysWhatIsMissing) {
  const Scratch scratch;
  EXPECT_EQ(tephra(scratch, {"eval"}).code, 2);
  const std::string file = scratch.write("file.json", "{}");
  const Finished none = tephra(scratch, {"eval", "scienceqa", "--problems", file, "--splits", file});
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("name answers with --predictions, or a model"));
  EXPECT_EQ(tephra(scratch, {"eval", "--resume", "demo-1", "--store", scratch.path("none")}).code, 2);
  const Finished no_report = tephra(scratch, {"report", "--compare", scratch.path("a")});
  EXPECT_EQ(no_report.code, 2);
  EXPECT_THAT(no_report.err, HasSubstr("a' is no folder with a report.json, and as a job's name: "));
  // A file or a folder that is not there is named with its option, before a process starts.
  for (const std::string option : {"--predictions", "--problems", "--splits", "--images", "--model", "--vision"}) {
    std::vector<std::string> words = {"eval",     "scienceqa", "--problems", file,
                                      "--splits", file,        "--out",      scratch.path("o")};
    if (const auto at = std::find(words.begin(), words.end(), option); at != words.end())
      *(at + 1) = scratch.path("none");
    else
      words.insert(words.end(), {option, scratch.path("none")});
    const Finished missing = tephra(scratch, words);
    EXPECT_EQ(missing.code, 2) << option;
    EXPECT_THAT(missing.err, HasSubstr(option + ": there is no " + scratch.path("none") + "; name a file or folder"));
  }
  // A folder that is no model's is told once, and that nothing was asked.
  const Finished model = tephra(
      scratch,
      {"eval", "pope", "--model", scratch.path(""), "--questions",
       scratch.write("q.jsonl", R"({"question_id": 1, "image": "a.jpg", "text": "Is there a cup?", "label": "yes"})"),
       "--out", scratch.path("o")});
  EXPECT_EQ(model.code, 2) << model.err;
  EXPECT_THAT(model.err, HasSubstr("config.json does not exist; name a model's folder"));
  EXPECT_THAT(model.err, HasSubstr("nothing was asked, for the reason above"));
}

// Files of answers are what a comparison is about: the difference is given with McNemar's test.
TEST(Eval, TwoFilesOfAnswersAreCompared) {
  REQUIRE_REFERENCE();
  const Scratch scratch;
  json first = json::parse(read_text(reference("scienceqa/predictions_llava_13b_v0.json")));
  for (auto& [id, text] : first["outputs"].items()) text = "The answer is A.";
  const std::string always_a = scratch.write("always_a.json", first.dump());
  for (const auto& [out, predictions] :
       {std::pair("one", always_a), std::pair("two", reference("scienceqa/predictions_llava_13b_v0.json"))})
    ASSERT_EQ(tephra(scratch, {"eval", "scienceqa", "--predictions", predictions, "--problems",
                               reference("scienceqa/problems.json"), "--splits", reference("scienceqa/pid_splits.json"),
                               "--out", scratch.path(out)})
                  .code,
              0);
  const Finished compared =
      tephra(scratch, {"report", "--compare", scratch.path("one"), scratch.path("two"), "--out", scratch.path("both")});
  ASSERT_EQ(compared.code, 0) << compared.err;
  const std::string text = read_text(scratch.path("both/report.md"));
  EXPECT_THAT(text, HasSubstr("p &lt; 0.001"));
  EXPECT_THAT(text, Not(HasSubstr("not comparable")));
  EXPECT_THAT(text, HasSubstr("| one/answers |")) << "told apart by their folders";
  EXPECT_THAT(text, HasSubstr("| two/answers |"));
}

}  // namespace
}  // namespace tephra::e2e
