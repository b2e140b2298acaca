// What a judge is asked and how its replies become scores; the prompts that ship; the local judge.
#include "eval/score/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/score/bench_metrics.h"
#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

using ::testing::HasSubstr;

QuestionSet two_questions() {
  QuestionSet set;
  for (const char* id : {"1", "2"}) {
    Question q;
    q.id = id;
    q.turns = {{"human", "<image>\nWhat is shown?"}};
    q.reference = "A red fox in the snow";
    q.context = "A fox.";
    q.category = "conv";
    set.questions.push_back(q);
  }
  return set;
}

Result<JudgePrompts> shipped() {
  return load_judge_prompts(std::string(TEPHRA_SOURCE_DIR) + "/recipes/judge/llava_bench.json");
}

TEST(JudgePrompts, ShipWithARuleForEachKindOfQuestion) {
  const auto prompts = shipped();
  ASSERT_TRUE(prompts.ok()) << prompts.status().to_string();
  for (const char* rule : {"default", "conv", "detail", "complex"}) EXPECT_TRUE(prompts->rules.contains(rule)) << rule;
  EXPECT_EQ(prompts->hash.size(), 32u);
}

TEST(JudgePrompts, SayWhatIsMissing) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& text) {
    return load_judge_prompts(folder.write("j.json", text)).status().message();
  };
  EXPECT_THAT(message("[]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(message(R"({"version": "1", "system": "s"})"), HasSubstr("has no text \"template\""));
  EXPECT_THAT(message(R"({"version": "1", "system": "s", "template": "{question} {first}"})"),
              HasSubstr("has no {second}"));
  EXPECT_THAT(message(R"({"version": "1", "system": "s", "template": "{question}{first}{second}", "rules": {}})"),
              HasSubstr("no rule \"default\""));
  EXPECT_THAT(
      message(
          R"({"version": "1", "system": "s", "template": "{question}{first}{second}", "rules": {"default": {"role": "A"}}})"),
      HasSubstr("rule 'default' lacks"));
}

TEST(JudgeRequests, ShowBothOrdersAndLeaveWhatAnswersSayAlone) {
  const auto prompts = shipped();
  ASSERT_TRUE(prompts.ok());
  const auto requests = judge_requests(*prompts, two_questions(), {{"2", "A {first} {context} fox"}}, true);
  ASSERT_EQ(requests.size(), 2u);  // question 1 was not answered
  EXPECT_EQ(requests[0].key, "2#second");
  EXPECT_EQ(requests[1].key, "2#first");
  for (const auto& request : requests) {
    EXPECT_THAT(request.prompt, HasSubstr("A {first} {context} fox"));
    EXPECT_THAT(request.prompt, HasSubstr("What is shown?"));
    EXPECT_EQ(request.prompt.find("<image>"), std::string::npos);
  }
  EXPECT_LT(requests[0].prompt.find("A red fox"), requests[0].prompt.find("A {first}"));
  EXPECT_GT(requests[1].prompt.find("A red fox"), requests[1].prompt.find("A {first}"));
  EXPECT_EQ(judge_requests(*prompts, two_questions(), {{"2", "x"}}, false).size(), 1u);
}

TEST(ReviewsOf, PutTheReferenceFirstWhateverTheOrder) {
  int64_t unreadable = 0;
  const auto reviews =
      reviews_of(two_questions().questions[0], {{"1#second", "9 6\n."}, {"1#first", "5 10\n."}}, &unreadable);
  ASSERT_EQ(reviews.size(), 2u);
  EXPECT_EQ(reviews[0].scores.first, 9);
  EXPECT_EQ(reviews[1].scores.first, 10);
  EXPECT_EQ(reviews[1].scores.second, 5);
  EXPECT_TRUE(reviews_of(two_questions().questions[0], {{"1#first", "I like both"}}, &unreadable).empty());
  EXPECT_EQ(unreadable, 1);
}

TEST(LocalJudgment, IsReadableAndGivesTheReferenceTen) {
  const Question q = two_questions().questions[0];
  const auto same = parse_judge_scores(local_judgment(q, "A red fox in the snow", false));
  ASSERT_TRUE(same);
  EXPECT_EQ(same->first, 10);
  EXPECT_EQ(same->second, 10);
  const auto other = parse_judge_scores(local_judgment(q, "Nothing", true));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->first, 1);
  EXPECT_EQ(other->second, 10);
}

TEST(ScoreBench, OfAJudgedBenchIsTheAnswersPercentOfTheReference) {
  BenchSpec spec;
  spec.name = "wild";
  spec.kind = "llava_bench";
  spec.judge = "gpt";
  const auto result = score_bench(spec, two_questions(), {{"1", "a fox"}, {"2", "snow"}},
                                  {{"1#second", "10 5\n"}, {"1#first", "6 8\n"}, {"2#second", "what?"}});
  ASSERT_TRUE(result.ok());
  EXPECT_DOUBLE_EQ(result->metrics.at("relative_score"), 0.611);  // 5.5 of 9, as the original rounds
  EXPECT_DOUBLE_EQ(result->metrics.at("reference_score"), 0.9);
  EXPECT_EQ(result->counts.at("judgments"), 2);
  EXPECT_EQ(result->counts.at("judgments_unreadable"), 1);
  EXPECT_EQ(result->counts.at("unparsed"), 1);
  EXPECT_EQ(result->metrics.count("accuracy"), 0u);
  EXPECT_EQ(result->pinned.at("judge"), "gpt");
}

}  // namespace
}  // namespace tephra::eval
