// A judge at a real HTTP server: both orders, replies kept, an endpoint that fails leaves the bench incomplete, and the next call asks
// only what is missing.
#include "coordinator/judging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "eval/score/judge.h"
#include "tests/cluster/chat/chat_server.h"
#include "tests/eval/score/temporary_folder.h"

namespace tephra::coordinator {
namespace {

using ::testing::HasSubstr;

eval::QuestionSet questions(int n) {
  eval::QuestionSet set;
  for (int i = 0; i < n; ++i) {
    eval::Question q;
    q.id = std::to_string(i);
    q.turns = {{"human", "What is shown in picture " + q.id + "?"}};
    q.reference = "A red fox";
    q.category = "conv";
    set.questions.push_back(q);
  }
  return set;
}

std::map<std::string, std::string> answers(int n) {
  std::map<std::string, std::string> out;
  for (int i = 0; i < n; ++i) out[std::to_string(i)] = "A fox " + std::to_string(i);
  return out;
}

recipes::JudgeRecipe judge_at(const std::string& url) {
  recipes::JudgeRecipe judge;
  judge.endpoint = url;
  judge.model = "judge-1";
  judge.prompts = TEPHRA_SOURCE_DIR "/recipes/judge/llava_bench.json";
  judge.price_in = 10;
  judge.price_out = 30;
  return judge;
}

TEST(JudgeAnswers, AsksBothOrdersAndKeepsWhatWasReplied) {
  cluster::ChatServer server([](const nlohmann::json& body, int) {
    EXPECT_EQ(body["model"], "judge-1");
    EXPECT_EQ(body["messages"][0]["role"], "system");
    return cluster::chat_json("9 7\nwhy");
  });
  const eval::TemporaryFolder folder;
  JudgeProgress last;
  const auto judged = judge_answers(judge_at(server.url()), questions(5), answers(5), folder.path("journal"), "",
                                    [&](const JudgeProgress& p) { last = p; });
  ASSERT_TRUE(judged.ok()) << judged.status().to_string();
  EXPECT_EQ(judged->incomplete, "");
  EXPECT_EQ(judged->replies.size(), 10u);
  EXPECT_EQ(judged->replies.at("3#first"), "9 7\nwhy");
  EXPECT_EQ(last.judged, 10);
  EXPECT_EQ(last.total, 10);
  EXPECT_EQ(last.earlier, 0);
  EXPECT_NEAR(last.spent, 10 * (10 * 10 + 5 * 30) / 1e6, 1e-9);
  // Asked again, nothing is sent.
  const auto again = judge_answers(judge_at(server.url()), questions(5), answers(5), folder.path("journal"), "",
                                   [&](const JudgeProgress& p) { last = p; });
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(last.earlier, 10);
  EXPECT_EQ(again->replies, judged->replies);
  EXPECT_EQ(server.requests().size(), 10u);
  // The bodies are kept as they came.
  std::ifstream journal(folder.path("journal/000001.jsonl"));
  int bodies = 0;
  for (std::string line; std::getline(journal, line);) {
    const auto record = nlohmann::json::parse(line.substr(17));
    if (!record.contains("answer")) continue;
    EXPECT_EQ(record["raw"], cluster::chat_json("9 7\nwhy").body);
    EXPECT_EQ(record["reply"]["text"], "9 7\nwhy");
    ++bodies;
  }
  EXPECT_EQ(bodies, 10);
}

TEST(JudgeAnswers, LeavesTheBenchIncompleteAndGoesOnLater) {
  std::atomic<int> asked = 0;
  std::atomic<bool> broken = true;
  cluster::ChatServer server([&](const nlohmann::json&, int) {
    if (broken && asked >= 3) return cluster::chat_error(401, "no such key");
    ++asked;
    return cluster::chat_json("8 8\n");
  });
  const eval::TemporaryFolder folder;
  recipes::JudgeRecipe judge = judge_at(server.url());
  judge.concurrency = 1;
  const auto first = judge_answers(judge, questions(4), answers(4), folder.path("journal"), "", {});
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  EXPECT_EQ(first->replies.size(), 3u);
  EXPECT_THAT(first->incomplete, HasSubstr("5 of 8 judgments are missing: "));
  EXPECT_THAT(first->incomplete, HasSubstr("no such key"));
  broken = false;
  const auto second = judge_answers(judge, questions(4), answers(4), folder.path("journal"), "", {});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->incomplete, "");
  EXPECT_EQ(second->replies.size(), 8u);
  EXPECT_EQ(asked, 8);  // three were not asked again
}

TEST(JudgeAnswers, StopsBeforeItCostsTooMuch) {
  cluster::ChatServer server([](const nlohmann::json&, int) { return cluster::chat_json("8 8\n", 500, 500); });
  const eval::TemporaryFolder folder;
  recipes::JudgeRecipe judge = judge_at(server.url());
  judge.concurrency = 1;
  judge.max_cost = 0.1;  // a reply costs 0.02, and at most some 0.04
  const auto judged = judge_answers(judge, questions(20), answers(20), folder.path("journal"), "", {});
  ASSERT_TRUE(judged.ok()) << judged.status().to_string();
  EXPECT_GT(judged->replies.size(), 0u);
  EXPECT_LE(judged->replies.size(), 5u);
  EXPECT_THAT(judged->incomplete, HasSubstr("missing"));
}

TEST(JudgeAnswers, LocallyNeedNoEndpoint) {
  recipes::JudgeRecipe judge = judge_at("local");
  const eval::TemporaryFolder folder;
  const auto judged = judge_answers(judge, questions(2), answers(1), folder.path("journal"), "", {});
  ASSERT_TRUE(judged.ok());
  EXPECT_EQ(judged->replies.size(), 2u);  // one was not answered
  EXPECT_TRUE(eval::parse_judge_scores(judged->replies.at("0#second")));
  EXPECT_THAT(*pinned_judge(judge), HasSubstr("smoke check"));
  judge.prompts = folder.path("none.json");
  EXPECT_EQ(judge_answers(judge, questions(1), answers(1), folder.path("journal"), "", {}).status().code(),
            Code::kNotFound);
}

}  // namespace
}  // namespace tephra::coordinator
