// What is proved, against a real HTTP server: retries of what may pass and of nothing else, waits as the endpoint asks,
// time-outs, cut-off and malformed replies, limits of rate and money, and that the key is in no message.
#include "cluster/chat/chat_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/cluster/chat/chat_server.h"

namespace tephra::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

ChatClientOptions options_for(const ChatServer& server) {
  ChatClientOptions options;
  options.url = server.url();
  options.model = "test";
  options.first_wait = milliseconds(2);
  options.timeout = milliseconds(5000);
  return options;
}

std::unique_ptr<ChatClient> client_for(const ChatClientOptions& options) {
  auto client = ChatClient::create(options);
  EXPECT_TRUE(client.ok()) << client.status().to_string();
  return std::move(client).value();
}

ChatRequest question(const std::string& text = "2 + 2?") { return {{{"user", text}}}; }

TEST(ChatClient, AsksAndIsAnswered) {
  for (const bool stream : {true, false}) {
    ChatServer server([&](const nlohmann::json& body, int) {
      EXPECT_EQ(body["model"], "test");
      return stream ? chat_stream("The answer is four.") : chat_json("The answer is four.");
    });
    ChatClientOptions options = options_for(server);
    options.key = "secret-key";
    options.prices = {2, 4};
    auto client = client_for(options);
    const auto reply = client->ask(question());
    ASSERT_TRUE(reply.ok()) << reply.status().to_string();
    EXPECT_EQ(reply->text, "The answer is four.");
    EXPECT_DOUBLE_EQ(client->cost(*reply), (10 * 2 + 5 * 4) / 1e6);
    EXPECT_DOUBLE_EQ(client->totals().spent, client->cost(*reply));
    const auto requests = server.requests();
    ASSERT_EQ(requests.size(), 1u);
    EXPECT_EQ(requests[0].path, "/v1/chat/completions");
    EXPECT_EQ(requests[0].headers.at("authorization"), "Bearer secret-key");
    EXPECT_EQ(requests[0].headers.at("idempotency-key"), client->request_key(question()));
  }
}

TEST(ChatClient, TriesAgainWhatMayPass) {
  ChatServer server([](const nlohmann::json&, int earlier) {
    switch (earlier) {
      case 0: return chat_error(429, "slow down", "0.01");
      case 1: return chat_error(500, "oops");
      case 2: return chat_stream("four and more", false);
      case 3: {
        HttpResponse broken;
        broken.body = "{\"choices\": [";
        return broken;
      }
      case 4: return chat_error(503, "busy");
      default: return chat_stream("four");
    }
  });
  ChatClientOptions options = options_for(server);
  options.prices = {1, 1};
  auto client = client_for(options);
  std::vector<bool> told;
  const auto reply = client->ask(question(), [&](bool sending) {
    told.push_back(sending);
    return ok_status();
  });
  ASSERT_TRUE(reply.ok()) << reply.status().to_string();
  EXPECT_EQ(reply->text, "four");
  EXPECT_EQ(told, (std::vector<bool>{true, false, true, false, true, true, true, false, true}))
      << "what was refused cost nothing; what was cut off or broken may have";
  const ChatTotals totals = client->totals();
  EXPECT_EQ(totals.tries, 6);
  EXPECT_EQ(totals.failed_tries, 5);
  EXPECT_EQ(totals.lost_tries, 2);
  EXPECT_DOUBLE_EQ(totals.spent, 2 * client->cost_max(question()) + client->cost(*reply));
  EXPECT_EQ(server.tries().size(), 1u) << "all tries have one key";
}

TEST(ChatClient, GivesUpAfterItsTries) {
  ChatServer server([](const nlohmann::json&, int) { return chat_error(500, "oops"); });
  ChatClientOptions options = options_for(server);
  options.tries_max = 3;
  const Status status = client_for(options)->ask(question()).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.message(), "after 3 tries: the endpoint answered 500: oops");
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST(ChatClient, DoesNotRepeatWhatCannotPass) {
  const std::pair<int, Code> cases[] = {{400, Code::kInvalidArgument}, {401, Code::kPermission},
                                        {403, Code::kPermission},      {402, Code::kNoSpace},
                                        {404, Code::kNotFound},        {301, Code::kInvalidArgument}};
  for (const auto& [status, code] : cases) {
    ChatServer server([&, status = status](const nlohmann::json&, int) { return chat_error(status, "no"); });
    EXPECT_EQ(client_for(options_for(server))->ask(question()).status().code(), code) << status;
    EXPECT_EQ(server.requests().size(), 1u) << status;
  }
  ChatServer empty([](const nlohmann::json&, int) {
    HttpResponse response = chat_error(429, "You exceeded your current quota");
    response.body = R"({"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}})";
    return response;
  });
  EXPECT_EQ(client_for(options_for(empty))->ask(question()).status().code(), Code::kNoSpace);
  EXPECT_EQ(empty.requests().size(), 1u);
}

TEST(ChatClient, ASilentEndpointIsLeft) {
  ChatServer server(
      [](const nlohmann::json&, int earlier) { return earlier == 0 ? chat_silence() : chat_json("four"); });
  ChatClientOptions options = options_for(server);
  options.timeout = milliseconds(100);
  auto client = client_for(options);
  EXPECT_EQ(client->ask(question())->text, "four");
  EXPECT_EQ(client->totals().lost_tries, 1);
  options.tries_max = 1;
  ChatServer silent([](const nlohmann::json&, int) { return chat_silence(); });
  options.url = silent.url();
  EXPECT_EQ(client_for(options)->ask(question()).status().code(), Code::kTimeout);
}

TEST(ChatClient, AReplyThatTricklesForEverIsLeft) {
  ChatServer server([](const nlohmann::json&, int) {
    HttpResponse response;
    response.content_type = "text/event-stream";
    response.stream = [](std::shared_ptr<HttpStream> stream) {
      stream->repeat(milliseconds(5), [stream] { return stream->write(": wait\n\n"); });
    };
    return response;
  });
  ChatClientOptions options = options_for(server);
  options.tries_max = 1;
  options.whole_timeout = milliseconds(200);
  EXPECT_EQ(client_for(options)->ask(question()).status().code(), Code::kTimeout);
}

TEST(ChatClient, NobodyThere) {
  ChatClientOptions options;
  options.url = "http://127.0.0.1:9/v1";
  options.model = "m";
  options.tries_max = 2;
  options.first_wait = milliseconds(1);
  auto client = client_for(options);
  EXPECT_EQ(client->ask(question()).status().code(), Code::kUnavailable);
  EXPECT_EQ(client->totals().lost_tries, 0);
}

TEST(ChatClient, TheSpendingLimitIsNotPassed) {
  ChatServer server([](const nlohmann::json&, int) { return chat_json("four", 10, 1000); });
  ChatClientOptions options = options_for(server);
  options.prices = {1, 1};
  options.spending_limit = 0.0053;  // five replies of 0.00101
  auto client = client_for(options);
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) answered += client->ask(question(std::to_string(5 * t + i))).ok();
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(client->ask(question()).status().code(), Code::kNoSpace);
  EXPECT_LE(client->totals().spent, options.spending_limit);
  EXPECT_EQ(answered, 5);
  EXPECT_EQ(server.requests().size(), 5u);
}

TEST(ChatClient, KeepsToItsRate) {
  ChatServer server([](const nlohmann::json&, int) { return chat_json("four"); });
  ChatClientOptions options = options_for(server);
  options.requests_per_minute = 600;  // ten a second, ten at once
  auto client = client_for(options);
  const auto begin = steady_clock::now();
  for (int i = 0; i < 14; ++i) ASSERT_TRUE(client->ask(question()).ok());
  EXPECT_GE(steady_clock::now() - begin, milliseconds(380));
}

// What was counted before a request arrives is never more than a minute's tokens and what has come in since; and a
// reply that is longer than was foreseen is made up for by the requests after it.
TEST(ChatClient, KeepsToItsTokensAMinute) {
  constexpr double kPerMinute = 600000;  // 10,000 a second
  constexpr int kReplyTokens = 60490;    // with the prompt's ten
  std::mutex mutex;
  double counted = 0;
  int over = 0;
  const auto begin = steady_clock::now();
  ChatServer server([&](const nlohmann::json&, int) {
    const std::lock_guard lock(mutex);
    const double passed = std::chrono::duration<double>(steady_clock::now() - begin).count();
    over += counted > kPerMinute + kPerMinute / 60 * passed;
    counted += kReplyTokens + 10;
    return chat_json("four", 10, kReplyTokens);
  });
  ChatClientOptions options = options_for(server);
  options.tokens_per_minute = kPerMinute;
  auto client = client_for(options);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(client->ask(question(std::to_string(i))).ok());
  const auto tenth = steady_clock::now();
  EXPECT_EQ(over, 0);
  ASSERT_TRUE(client->ask(question("the eleventh")).ok());  // 605,000 tokens were counted
  EXPECT_GE(steady_clock::now() - begin, milliseconds(500));
  EXPECT_GE(steady_clock::now() - tenth, milliseconds(200));
  EXPECT_EQ(over, 0);
  // A limit below one request's tokens still lets one through.
  options.tokens_per_minute = 1;
  EXPECT_TRUE(client_for(options)->ask(question()).ok());
}

TEST(ChatClient, ARefusalHoldsBackAllThreads) {
  std::atomic<int> count{0};
  ChatServer server(
      [&](const nlohmann::json&, int) { return count++ == 0 ? chat_error(429, "wait", "0.3") : chat_json("four"); });
  auto client = client_for(options_for(server));
  const auto begin = steady_clock::now();
  ASSERT_TRUE(client->ask(question("a")).ok());
  EXPECT_GE(steady_clock::now() - begin, milliseconds(300));
}

TEST(ChatClient, IsCancelledWhileItWaits) {
  std::atomic<bool> stop{false};
  ChatServer server([&](const nlohmann::json&, int) {
    stop = true;
    return chat_silence();
  });
  ChatClientOptions options = options_for(server);
  options.cancelled = [&] { return stop.load(); };
  const auto begin = steady_clock::now();
  EXPECT_EQ(client_for(options)->ask(question()).status().code(), Code::kCancelled);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(4000));
}

TEST(ChatClient, TheKeyIsInNoMessage) {
  ChatServer server([](const nlohmann::json&, int) { return chat_error(401, "Incorrect key secret-key provided"); });
  ChatClientOptions options = options_for(server);
  options.key = "secret-key";
  EXPECT_EQ(client_for(options)->ask(question()).status().message(),
            "the endpoint answered 401: Incorrect key [key] provided");
}

TEST(ChatClient, WhatCannotWorkIsRefusedAtOnce) {
  ChatClientOptions options;
  options.url = "http://example.org/v1";
  options.model = "m";
  options.key = "secret-key";
  EXPECT_NE(ChatClient::create(options).status().message().find("unencrypted"), std::string::npos);
  options.url = "https://example.org/v1";
  EXPECT_TRUE(ChatClient::create(options).ok());
  options.spending_limit = 1;
  EXPECT_EQ(ChatClient::create(options).status().code(), Code::kInvalidArgument) << "no prices";
  options.spending_limit = 0;
  options.extra = "nonsense";
  EXPECT_EQ(ChatClient::create(options).status().code(), Code::kInvalidArgument);
  options.extra = "";
  options.model = "";
  EXPECT_EQ(ChatClient::create(options).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::cluster
