// What is proved: what was begun is on disk before it is sent and what was answered before it is used, so that after a kill
// or a power loss nothing is asked twice; damage is named; and the sums of money agree.
#include "cluster/chat/chat_journal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/faulty_env.h"
#include "tests/base/temp_dir.h"
#include "tests/cluster/chat/chat_server.h"

namespace tephra::cluster {
namespace {

using State = ChatJournal::State;
using std::chrono::milliseconds;

std::unique_ptr<ChatJournal> open_journal(Env& env, const std::string& dir) {
  auto journal = ChatJournal::open(env, dir);
  EXPECT_TRUE(journal.ok()) << journal.status().to_string();
  return std::move(journal).value();
}

ChatReply reply_of(const std::string& text) {
  ChatReply reply;
  reply.text = text;
  reply.finish_reason = "stop";
  reply.model = "m";
  reply.prompt_tokens = 3;
  reply.reply_tokens = 2;
  return reply;
}

TEST(ChatJournal, RemembersAcrossRuns) {
  TempDir dir;
  Env& env = Env::posix();
  {
    auto journal = open_journal(env, dir.path());
    ASSERT_TRUE(journal->begin("a", 5).ok());
    EXPECT_EQ(journal->state("a"), State::kUnderWay);
    EXPECT_EQ(journal->spent(), 5);
    ASSERT_TRUE(journal->answer("a", reply_of("four\n\"\xff"), 0.5).ok());
    ASSERT_TRUE(journal->begin("b", 5).ok());
    ASSERT_TRUE(journal->refused("b").ok());
    ASSERT_TRUE(journal->begin("c", 1).ok());
    ASSERT_TRUE(journal->begin("d", 1).ok());
    ASSERT_TRUE(journal->lost("d", 2).ok());
    EXPECT_EQ(journal->reply("a")->finish_reason, "stop");
  }
  for (int run = 0; run < 2; ++run) {  // opening writes nothing
    auto journal = open_journal(env, dir.path());
    EXPECT_EQ(journal->state("a"), State::kAnswered);
    EXPECT_EQ(journal->reply("a")->text, "four\n\"\xEF\xBF\xBD");
    EXPECT_EQ(journal->reply("a")->prompt_tokens, 3);
    EXPECT_EQ(journal->state("b"), State::kNew);
    EXPECT_EQ(journal->state("c"), State::kInDoubt);
    EXPECT_EQ(journal->state("d"), State::kInDoubt);
    EXPECT_EQ(journal->state("e"), State::kNew);
    EXPECT_EQ(journal->in_doubt(), 2u);
    EXPECT_EQ(journal->answered(), 1u);
    EXPECT_DOUBLE_EQ(journal->spent(), 0.5 + 1 + 2);
    EXPECT_EQ(journal->reply("c").status().code(), Code::kNotFound);
  }
  EXPECT_EQ(env.list(dir.path())->size(), 2u) << "one file and the lock";
}

TEST(ChatJournal, KeepsBodiesAsTheyCameUpToABound) {
  TempDir dir;
  ChatReply reply = reply_of("four");
  {
    auto journal = ChatJournal::open(Env::posix(), dir.path(), 100);
    ASSERT_TRUE(journal.ok());
    reply.raw = "data: {\"choices\": []}\n\ndata: [DONE]\n\n";
    ASSERT_TRUE((*journal)->answer("a", reply, 0).ok());
    reply.raw = std::string(75, 'x') + std::string(1000, 'y') + std::string(25, 'z');
    ASSERT_TRUE((*journal)->answer("b", reply, 0).ok());
  }
  auto journal = open_journal(Env::posix(), dir.path());
  EXPECT_EQ(journal->reply("a")->raw, "data: {\"choices\": []}\n\ndata: [DONE]\n\n");
  EXPECT_EQ(journal->reply("b")->raw, std::string(75, 'x') + " [... 1000 bytes ...] " + std::string(25, 'z'));
  EXPECT_EQ(journal->reply("b")->text, "four");
  ASSERT_TRUE(journal->answer("c", reply, 0).ok());  // opened without a bound: none is kept
  EXPECT_EQ(journal->reply("c")->raw, "");
}

TEST(ChatJournal, APowerLossLosesNothingThatWasPromised) {
  for (const bool torn : {false, true}) {
    TempDir dir;
    FaultyEnv env(Env::posix());
    {
      auto journal = open_journal(env, dir.path() + "/j");
      ASSERT_TRUE(env.sync_directory(dir.path()).ok());
      ASSERT_TRUE(journal->begin("a", 1).ok());
      ASSERT_TRUE(journal->answer("a", reply_of("x"), 1).ok());
      ASSERT_TRUE(journal->begin("b", 1).ok());
      ASSERT_TRUE(journal->refused("b").ok());  // not promised
    }
    ASSERT_TRUE(env.crash(torn).ok());
    auto journal = open_journal(env, dir.path() + "/j");
    EXPECT_EQ(journal->state("a"), State::kAnswered);
    EXPECT_NE(journal->state("b"), State::kAnswered);
  }
}

TEST(ChatJournal, ACutOffLineIsNoneAndADamagedOneIsNamed) {
  TempDir dir;
  FaultyEnv env(Env::posix());
  {
    auto journal = open_journal(env, dir.path());
    for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(journal->begin(key, 1).ok());
  }
  const std::string file = dir / "000001.jsonl";
  ASSERT_TRUE(env.truncate(file, read_file(env, file)->size() - 4).ok());
  EXPECT_EQ(open_journal(env, dir.path())->state("c"), State::kNew);
  ASSERT_TRUE(env.flip_bit(file, 30, 2).ok());
  const Status damaged = ChatJournal::open(env, dir.path()).status();
  EXPECT_EQ(damaged.code(), Code::kCorruption);
  EXPECT_NE(damaged.message().find("000001.jsonl:1:"), std::string::npos) << damaged.message();
}

TEST(ChatJournal, HasOneProcessAtATime) {
  TempDir dir;
  auto journal = open_journal(Env::posix(), dir.path());
  EXPECT_EQ(ChatJournal::open(Env::posix(), dir.path()).status().code(), Code::kBusy);
}

TEST(ChatJournal, AFailedWriteIsNotForgotten) {
  TempDir dir;
  FaultyEnv env(Env::posix());
  auto journal = open_journal(env, dir.path());
  ASSERT_TRUE(journal->begin("a", 1).ok());
  env.fail_nth(1, {});  // the sync
  EXPECT_FALSE(journal->answer("a", reply_of("x"), 1).ok());
  EXPECT_TRUE(env.fired());
  EXPECT_FALSE(journal->begin("b", 1).ok()) << "nothing more is sent";
}

TEST(ChatJournal, ManyThreads) {
  TempDir dir;
  {
    auto journal = open_journal(Env::posix(), dir.path());
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 20; ++i) {
          const std::string key = std::to_string(t) + "-" + std::to_string(i);
          EXPECT_TRUE(journal->begin(key, 1).ok());
          EXPECT_TRUE(journal->answer(key, reply_of(key), 0.5).ok());
        }
      });
    for (std::thread& thread : threads) thread.join();
  }
  auto journal = open_journal(Env::posix(), dir.path());
  EXPECT_EQ(journal->answered(), 160u);
  EXPECT_EQ(journal->reply("7-19")->text, "7-19");
  EXPECT_DOUBLE_EQ(journal->spent(), 80);
}

class JournaledChatTest : public testing::Test {
 protected:
  static std::unique_ptr<ChatClient> client_for(const ChatServer& server, int tries_max = 3) {
    ChatClientOptions options;
    options.url = server.url();
    options.model = "test";
    options.prices = {1, 1};
    options.first_wait = milliseconds(1);
    options.timeout = milliseconds(200);
    options.tries_max = tries_max;
    auto client = ChatClient::create(options);
    EXPECT_TRUE(client.ok()) << client.status().to_string();
    return std::move(client).value();
  }
  static ChatRequest question(const std::string& text) { return {{{"user", text}}}; }
  TempDir dir_;
};

TEST_F(JournaledChatTest, NothingIsAskedTwice) {
  ChatServer server([](const nlohmann::json& body, int) {
    return chat_json("re: " + body["messages"][0]["content"].get<std::string>());
  });
  auto client = client_for(server);
  for (int run = 0; run < 2; ++run) {
    auto journal = open_journal(Env::posix(), dir_.path());
    JournaledChat chat(*client, *journal, false);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (const char* text : {"a", "b", "c"}) {
          const auto reply = chat.ask(question(text));
          EXPECT_TRUE(reply.ok() && reply->text == std::string("re: ") + text) << reply.status().to_string();
        }
      });
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST_F(JournaledChatTest, WhatIsInDoubtIsAskedOnlyWhenTold) {
  std::atomic<bool> answers{false};
  ChatServer server([&](const nlohmann::json&, int) { return answers ? chat_json("four") : chat_silence(); });
  auto client = client_for(server, 2);
  const double most = client->cost_max(question("q"));
  {
    auto journal = open_journal(Env::posix(), dir_.path());
    EXPECT_EQ(JournaledChat(*client, *journal, false).ask(question("q")).status().code(), Code::kTimeout);
    EXPECT_DOUBLE_EQ(journal->spent(), 2 * most) << "two tries";
  }
  answers = true;
  auto journal = open_journal(Env::posix(), dir_.path());
  EXPECT_EQ(JournaledChat(*client, *journal, false).ask(question("q")).status().code(), Code::kMismatch);
  EXPECT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(JournaledChat(*client, *journal, true).ask(question("q"))->text, "four");
  EXPECT_DOUBLE_EQ(journal->spent(), 2 * most + 15e-6);
  EXPECT_EQ(journal->in_doubt(), 0u);
}

TEST_F(JournaledChatTest, WhatWasRefusedIsNew) {
  std::atomic<bool> answers{false};
  ChatServer server([&](const nlohmann::json&, int) { return answers ? chat_json("four") : chat_error(500, "no"); });
  auto client = client_for(server, 2);
  {
    auto journal = open_journal(Env::posix(), dir_.path());
    EXPECT_FALSE(JournaledChat(*client, *journal, false).ask(question("q")).ok());
    EXPECT_EQ(journal->spent(), 0);
    EXPECT_EQ(journal->state(client->request_key(question("q"))), State::kNew);
  }
  answers = true;
  auto journal = open_journal(Env::posix(), dir_.path());
  EXPECT_TRUE(JournaledChat(*client, *journal, false).ask(question("q")).ok());
}

}  // namespace
}  // namespace tephra::cluster
