// `tephra eval llava_bench` as a user runs it, with a real HTTP server for a judge: refused, half-way, complete; every reply is paid
// once, the key is nowhere, and what cannot work is told before anything is asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cluster/chat/chat_server.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {

using cluster::HttpResponse;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr int kQuestions = 12;
constexpr const char* kKey = "test-key-0123456789";
const std::map<std::string, std::string> kEnvironment = {{"JUDGE_KEY", kKey}};

class EvalJudgeTest : public testing::Test {
 protected:
  EvalJudgeTest() {
    std::string questions, answers, reference;
    for (int i = 0; i < kQuestions; ++i) {
      const std::string id = std::to_string(i);
      questions +=
          json{{"question_id", i}, {"image", id + ".jpg"}, {"text", "What is " + id + "?"}, {"category", "conv"}}
              .dump() +
          "\n";
      answers += json{{"question_id", i}, {"text", "A dog " + id}}.dump() + "\n";
      reference += json{{"question_id", i}, {"text", "A fox " + id}}.dump() + "\n";
    }
    base_ = {"eval",
             "llava_bench",
             "--predictions",
             scratch_.write("answers.jsonl", answers),
             "--questions",
             scratch_.write("questions.jsonl", questions),
             "--reference",
             scratch_.write("reference.jsonl", reference),
             "--judge-prompts",
             std::string(TEPHRA_SOURCE_DIR) + "/recipes/judge/llava_bench.json",
             "--out",
             scratch_.path("out")};
  }

  Finished run(const std::vector<std::string>& more,
               const std::map<std::string, std::string>& environment = kEnvironment) {
    std::vector<std::string> words = base_;
    words.insert(words.end(), more.begin(), more.end());
    return tephra(scratch_, words, environment);
  }
  json result() { return json::parse(read_text(scratch_.path("out/llava_bench.result.json")), nullptr, false); }

  Scratch scratch_;
  std::vector<std::string> base_;
};

TEST_F(EvalJudgeTest, AJudgeThatGoesAwayLeavesItIncompleteAndTheSameCommandEndsIt) {
  enum { kRefuses, kHalf, kAnswers };
  std::atomic<int> mode = kRefuses, answered = 0;
  cluster::ChatServer server([&](const json&, int earlier) -> HttpResponse {
    if (mode == kRefuses || (mode == kHalf && answered >= 8)) return cluster::chat_error(401, "the key is not known");
    if (earlier == 0) return cluster::chat_error(429, "slow down", "0.01");
    ++answered;
    return cluster::chat_stream("9 6\nThe first is right.");
  });
  const std::vector<std::string> judge = {"--judge",           server.url(), "--judge-model",       "m",
                                          "--judge-key-env",   "JUDGE_KEY",  "--judge-price-in",    "10",
                                          "--judge-price-out", "30",         "--judge-concurrency", "2"};
  const Finished refused = run(judge);
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err,
              HasSubstr("24 of 24 judgments are missing: the endpoint answered 401: the key is not known"));
  EXPECT_THAT(refused.err, HasSubstr("the same command asks for what is missing"));
  EXPECT_THAT(refused.out, HasSubstr("12 of 12 answers could not be scored"));
  EXPECT_THAT(read_text(scratch_.path("out/report.md")), HasSubstr("not judged"));

  mode = kHalf;
  const Finished half = run(judge);
  EXPECT_EQ(half.code, 1);
  EXPECT_THAT(result()["incomplete"].get<std::string>(), HasSubstr("judgments are missing"));

  mode = kAnswers;
  const Finished whole = run(judge);
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("24 of 24 judgments")) << "progress";
  EXPECT_THAT(whole.err, HasSubstr(" USD"));
  EXPECT_EQ(answered, 2 * kQuestions) << "each once";
  EXPECT_FALSE(result().contains("incomplete"));
  EXPECT_EQ(result()["counts"]["judgments"], 2 * kQuestions);
  EXPECT_DOUBLE_EQ(result()["metrics"]["relative_score"].get<double>(), 1) << "9 to 6 whoever stands first";
  EXPECT_THAT(read_text(scratch_.path("out/report.md")), HasSubstr("7.5 of 10, the reference 7.5"));

  const size_t requests = server.requests().size();
  EXPECT_EQ(run(judge).code, 0);
  EXPECT_EQ(server.requests().size(), requests) << "nothing is asked again";
  for (const auto& request : server.requests())
    EXPECT_EQ(request.headers.at("authorization"), std::string("Bearer ") + kKey);
  for (const auto& file : std::filesystem::recursive_directory_iterator(scratch_.path("")))
    if (file.is_regular_file()) {
      EXPECT_EQ(read_text(file.path()).find(kKey), std::string::npos) << file.path();
    }
}

TEST_F(EvalJudgeTest, RepliesWithoutTwoNumbersAreCountedAndLeftOut) {
  std::atomic<int> asked = 0;
  cluster::ChatServer server(
      [&](const json&, int) { return cluster::chat_json(asked++ % 2 == 0 ? "I cannot tell." : "8 8\nequal"); });
  const Finished run = this->run({"--judge", server.url(), "--judge-model", "m", "--judge-concurrency", "1"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("12 of the judge's replies could not be read"));
  EXPECT_THAT(read_text(scratch_.path("out/report.md")),
              HasSubstr("12 of the judge's replies could not be read and are left out"));
}

// The paper's second ensemble: where two models differ a judge is asked again, and its answer counts.
TEST_F(EvalJudgeTest, AnEnsembleAsksWhereTheFilesDifferAndEachOnce) {
  json problems, split = json::array(), first, second;
  for (int i = 0; i < 6; ++i) {
    const std::string id = std::to_string(i);
    problems[id] = {{"question", "Which is " + id + "?"},
                    {"choices", {"one", "other"}},
                    {"answer", 1},
                    {"split", "test"},
                    {"subject", "natural science"},
                    {"grade", "grade2"},
                    {"topic", "t"},
                    {"hint", ""},
                    {"image", nullptr},
                    {"lecture", ""},
                    {"solution", ""}};
    split.push_back(id);
    first[id] = i < 4 ? "The answer is A." : "The answer is B.";
    second[id] = "The answer is B.";
  }
  std::atomic<int> asked = 0;
  cluster::ChatServer server([&](const json& body, int) {
    ++asked;
    const std::string text = body["messages"].back()["content"];
    EXPECT_THAT(text, HasSubstr("The answer is A."));
    EXPECT_THAT(text, HasSubstr("The answer is B."));
    return cluster::chat_json(text.find("Which is 3?") == std::string::npos ? "Thinking.\nThe answer is B."
                                                                            : "Who knows.");
  });
  const std::vector<std::string> words = {"eval",
                                          "scienceqa-ensemble",
                                          "--how",
                                          "judge",
                                          "--first",
                                          scratch_.write("first.json", json{{"outputs", first}}.dump()),
                                          "--second",
                                          scratch_.write("second.json", json{{"outputs", second}}.dump()),
                                          "--problems",
                                          scratch_.write("problems.json", problems.dump()),
                                          "--splits",
                                          scratch_.write("splits.json", json{{"test", split}}.dump()),
                                          "--judge",
                                          server.url(),
                                          "--judge-model",
                                          "m",
                                          "--judge-prompts",
                                          std::string(TEPHRA_SOURCE_DIR) + "/recipes/judge/scienceqa.json",
                                          "--out",
                                          scratch_.path("both"),
                                          "--json"};
  const Finished run = tephra(scratch_, words);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(asked, 4) << "the two on which they agree are not asked";
  const json result = json::parse(run.out, nullptr, false);
  EXPECT_EQ(result["counts"]["correct"], 5) << "the judge that names nothing for 3 leaves it wrong";
  EXPECT_THAT(result["pinned"]["judge"].get<std::string>(), HasSubstr("m, prompts version"));
  EXPECT_EQ(tephra(scratch_, words).code, 0);
  EXPECT_EQ(asked, 4) << "nothing is asked twice";
}

TEST_F(EvalJudgeTest, WrongUseIsToldBeforeAnythingIsSent) {
  cluster::ChatServer server([](const json&, int) { return cluster::chat_json("8 8\n"); });
  const Finished no_key = run({"--judge", server.url(), "--judge-model", "m", "--judge-key-env", "NO_SUCH_KEY"});
  EXPECT_EQ(no_key.code, 2);
  EXPECT_THAT(no_key.err, HasSubstr("the environment variable NO_SUCH_KEY is not set; set it to the endpoint's key"));
  EXPECT_THAT(run({"--judge", server.url()}).err, HasSubstr("--judge-model is missing"));
  const Finished no_file =
      run({"--judge", server.url(), "--judge-model", "m", "--context", scratch_.path("none.jsonl")});
  EXPECT_EQ(no_file.code, 2);
  EXPECT_THAT(no_file.err, HasSubstr("--context: there is no " + scratch_.path("none.jsonl")));
  // A model that is to be judged is not asked first.
  const Finished model = tephra(scratch_, {"eval", "llava_bench", "--model", scratch_.path(""), "--questions",
                                           scratch_.path("questions.jsonl"), "--out", scratch_.path("m")});
  EXPECT_EQ(model.code, 2);
  EXPECT_THAT(model.err, HasSubstr("a judge is needed"));
  EXPECT_FALSE(std::filesystem::exists(scratch_.path("m")));
  EXPECT_EQ(server.requests().size(), 0u);
}

}  // namespace
}  // namespace tephra::e2e
