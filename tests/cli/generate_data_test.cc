// What is proved, with the real program and a real HTTP server: instruction data is made through refusals and errors, a killed run
// goes on and the endpoint answers no request a second time, money stops it and more money goes on, and the key is nowhere.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/hash.h"
#include "tests/cluster/chat/chat_server.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {

using cluster::ChatServer;
using cluster::HttpResponse;
using nlohmann::json;

constexpr int kPictures = 60;
constexpr const char* kKey = "test-key-0123456789";

std::string facts() {
  std::string out;
  for (int i = 0; i < kPictures; ++i)
    out += json{{"id", i},
                {"image", std::to_string(i) + ".jpg"},
                {"width", 100},
                {"height", 100},
                {"captions", {"Thing number " + std::to_string(i) + " on a shelf."}},
                {"objects", {{{"category", "thing"}, {"bbox", {10, 10, 30, 40}}}}}}
               .dump() +
           "\n";
  return out;
}

// Well formed for each kind, and a function of what is asked.
std::string good_reply(const json& body) {
  const std::string system = body["messages"][0]["content"], asked = body["messages"].back()["content"];
  const std::string mark = hash_text(system + asked).hex();
  if (system.starts_with("You describe"))
    return "Something that may be called " + mark + " stands on a long brown shelf here.";
  return "Question: What is " + mark + "?\nAnswer: A thing on a shelf.\n";
}

// Refuses or fails half of the first tries; counts what it answers whole, by key.
class Endpoint {
 public:
  std::atomic<int> asked{0};

  int answered_most() const {
    std::lock_guard lock(mutex_);
    int most = 0;
    for (const auto& [key, n] : answered_) most = std::max(most, n);
    return most;
  }
  size_t answered() const {
    std::lock_guard lock(mutex_);
    return answered_.size();
  }

 private:
  HttpResponse answer(const json& body, int earlier) {
    ++asked;
    const std::string key = hash_text(body["messages"].dump()).hex();
    if (earlier == 0) switch (key[0] % 6) {
        case 0: return cluster::chat_error(429, "slow down", "0.002");
        case 1: return cluster::chat_error(500, "oops");
        case 2: return cluster::chat_error(503, "busy");
      }
    {
      std::lock_guard lock(mutex_);
      ++answered_[key];
    }
    return key[1] % 2 == 0 ? cluster::chat_stream(good_reply(body)) : cluster::chat_json(good_reply(body));
  }

  mutable std::mutex mutex_;
  std::map<std::string, int> answered_;

 public:
  // Last: ends before what its handlers touch.
  ChatServer server{[this](const json& body, int earlier) { return answer(body, earlier); }};
};

class GenerateDataTest : public testing::Test {
 protected:
  std::vector<std::string> command(const Endpoint& endpoint, const std::string& out,
                                   std::vector<std::string> more = {}) {
    std::vector<std::string> all{"data",
                                 "generate",
                                 "--captions",
                                 facts_,
                                 "--out",
                                 scratch_.path(out),
                                 "--url",
                                 endpoint.server.url(),
                                 "--model",
                                 "m",
                                 "--concurrency",
                                 "6",
                                 "--price-prompt",
                                 "1",
                                 "--price-reply",
                                 "1",
                                 "--json",
                                 "--retry-wait",
                                 "0.01"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Finished run(const std::vector<std::string>& arguments) {
    return tephra(scratch_, arguments, {{"OPENAI_API_KEY", kKey}});
  }
  json samples(const std::string& out) { return json::parse(read_text(scratch_.path(out)), nullptr, false); }

  Scratch scratch_;
  const std::string facts_ = scratch_.write("facts.jsonl", facts());
};

TEST_F(GenerateDataTest, MakesAllSamplesThroughErrors) {
  Endpoint endpoint;
  const Finished done = run(command(endpoint, "o.json"));
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(samples("o.json").size(), 3u * kPictures);
  EXPECT_EQ(endpoint.answered_most(), 1);
  const json result = json::parse(done.out);
  EXPECT_EQ(result["samples"], 3 * kPictures);
  EXPECT_GT(result["failed_requests"], 20);
  EXPECT_NEAR(result["spent_usd"], 3 * kPictures * 15e-6, 1e-9);
  EXPECT_NE(read_text(scratch_.path("o.json.card.html")).find("<svg"), std::string::npos);
  EXPECT_NE(read_text(scratch_.path("o.json.card.md")).find("| conversation | 60 |"), std::string::npos);
  for (const auto& request : endpoint.server.requests())
    ASSERT_EQ(request.headers.at("authorization"), std::string("Bearer ") + kKey);
  for (const auto& file : std::filesystem::recursive_directory_iterator(scratch_.path("")))
    if (file.is_regular_file()) {
      EXPECT_EQ(read_text(file.path()).find(kKey), std::string::npos) << file.path();
    }
  const int asked = endpoint.asked;
  const Finished again = run(command(endpoint, "o.json"));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(endpoint.asked, asked) << "all is in the journal";
}

TEST_F(GenerateDataTest, AfterKillsNothingIsPaidTwice) {
  Endpoint whole, endpoint;
  ASSERT_EQ(run(command(whole, "whole.json")).code, 0);
  const uint64_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  int kills = 0;
  for (int target = 0; kills < 12 && endpoint.answered() < 3 * kPictures - 10; ++kills) {
    target = endpoint.asked + 1 + static_cast<int>(random() % 25);
    Process process(tephra_command(command(endpoint, "o.json")), scratch_.path(""), {{"OPENAI_API_KEY", kKey}});
    if (!process.wait_until([&] { return endpoint.asked >= target; }, std::chrono::seconds(30))) break;
    process.signal(SIGKILL);
    process.wait();
    EXPECT_FALSE(std::filesystem::exists(scratch_.path("o.json"))) << "seed " << seed;
  }
  EXPECT_GT(kills, 2);
  const Finished done = run(command(endpoint, "o.json"));
  ASSERT_EQ(done.code, 0) << done.err << " seed " << seed;
  EXPECT_EQ(endpoint.answered_most(), 1) << "seed " << seed;
  const json result = json::parse(done.out);
  const uint64_t in_doubt = result["rejected"].value("in_doubt", 0);
  EXPECT_EQ(samples("o.json").size() + in_doubt, 3u * kPictures) << "seed " << seed;
  EXPECT_LE(in_doubt, 6u * static_cast<uint64_t>(kills)) << "at most what was under way at a kill";
  ASSERT_EQ(run(command(endpoint, "o.json", {"--retry-in-doubt"})).code, 0);
  EXPECT_EQ(read_text(scratch_.path("o.json")), read_text(scratch_.path("whole.json")))
      << "the same bytes as without kills";
}

TEST_F(GenerateDataTest, MoneyStopsItAndMoreGoesOn) {
  Endpoint endpoint;
  // A sample costs 15e-6 and may cost some 3e-3, for its whole prompt and the longest reply.
  const Finished stopped = run(command(endpoint, "o.json", {"--max-cost", "0.005"}));
  EXPECT_EQ(stopped.code, 3) << stopped.err;
  EXPECT_NE(stopped.err.find("the spending limit is reached"), std::string::npos) << stopped.err;
  EXPECT_NE(stopped.err.find("the same command goes on"), std::string::npos) << stopped.err;
  EXPECT_FALSE(std::filesystem::exists(scratch_.path("o.json")));
  const int asked = endpoint.asked;
  EXPECT_EQ(run(command(endpoint, "o.json", {"--max-cost", "1"})).code, 0);
  EXPECT_EQ(samples("o.json").size(), 3u * kPictures);
  EXPECT_EQ(endpoint.answered_most(), 1);
  EXPECT_GE(endpoint.asked, asked);
}

TEST_F(GenerateDataTest, WrongUseIsToldBeforeAnythingIsSent) {
  Endpoint endpoint;
  EXPECT_EQ(run(command(endpoint, "o.json", {"--share", "conversations=1"})).code, 2);
  EXPECT_EQ(run(command(endpoint, "o.json", {"--share", "detail=2"})).code, 2);
  EXPECT_EQ(run(command(endpoint, "o.json", {"--request-fields", "[]"})).code, 2);
  EXPECT_EQ(run(command(endpoint, "o.json", {"--prompts", "/nowhere"})).code, 2);
  EXPECT_EQ(run({"data", "generate", "--captions", facts_, "--out", scratch_.path("o.json")}).code, 2) << "no endpoint";
  EXPECT_EQ(
      run({"data", "generate", "--captions", "/none.json", "--out", scratch_.path("o.json"), "--teacher", "local"})
          .code,
      2);
  EXPECT_EQ(endpoint.asked, 0);
}

TEST_F(GenerateDataTest, TheLocalTeacherNeedsNobody) {
  const Finished first =
      run({"data", "generate", "--captions", facts_, "--out", scratch_.path("a.json"), "--teacher", "local"});
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_NE(first.out.find("samples"), std::string::npos);
  ASSERT_EQ(run({"data", "generate", "--captions", facts_, "--out", scratch_.path("b.json"), "--teacher", "local",
                 "--concurrency", "1"})
                .code,
            0);
  EXPECT_EQ(read_text(scratch_.path("a.json")), read_text(scratch_.path("b.json")));
  EXPECT_GT(samples("a.json").size(), 100u) << "some are duplicates of each other";
}

}  // namespace
}  // namespace tephra::e2e
