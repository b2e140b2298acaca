// A served model answers as OpenAI's API does, whole and in pieces, asks for its key, and ends in the middle of a reply.
#include "worker/model_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "tests/base/peer_python.h"
#include "tests/cluster/http/http_client.h"
#include "tests/worker/tiny_chat.h"

namespace tephra::worker {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class ModelServerTest : public TinyChatTest {
 protected:
  void start(const std::string& key = "") {
    ModelServerOptions options;
    options.model = named();
    options.api_key = key;
    auto started = ModelServer::start(options);
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(*started);
  }
  cluster::Reply ask(const json& body, const std::string& key = "") {
    return cluster::request(server_->port(), "POST", "/v1/chat/completions", key, body.dump());
  }
  static json question(const std::string& text, int tokens) {
    return {{"messages", {{{"role", "user"}, {"content", text}}}}, {"temperature", 0}, {"max_tokens", tokens}};
  }

  std::unique_ptr<ModelServer> server_;
};

TEST_F(ModelServerTest, AnswersWholeAndInPiecesAsTheModelDoes) {
  start();
  auto loaded = load_model(named());
  ASSERT_TRUE(loaded.ok());
  ChatRequest direct;
  direct.turns = {{"human", "What is it?"}};
  direct.max_new_tokens = 8;
  const ChatReply expected = *reply(*loaded, direct);

  json body = question("What is it?", 8);
  const json whole = json::parse(ask(body).body);
  EXPECT_EQ(whole["choices"][0]["message"]["content"], expected.text);
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(whole["usage"]["completion_tokens"], 8);
  EXPECT_EQ(whole["model"], "model");

  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const cluster::Reply streamed = ask(body);
  EXPECT_EQ(streamed.status, 200);
  std::istringstream lines(streamed.body);
  std::string text, last;
  int64_t tokens = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("data: ")) continue;
    last = line.substr(6);
    if (last == "[DONE]") continue;
    const json chunk = json::parse(last);
    if (chunk.contains("usage")) tokens = chunk["usage"]["completion_tokens"];
    if (!chunk["choices"].empty()) text += chunk["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(data::strip(text), expected.text);
  EXPECT_EQ(tokens, 8);
  EXPECT_EQ(last, "[DONE]");
}

TEST_F(ModelServerTest, NamesItselfAndRefusesWhatItDoesNotKnow) {
  start();
  const json models = json::parse(cluster::request(server_->port(), "GET", "/v1/models").body);
  EXPECT_EQ(models["data"][0]["id"], "model");
  EXPECT_EQ(cluster::request(server_->port(), "GET", "/healthz").status, 200);
  EXPECT_EQ(cluster::request(server_->port(), "POST", "/v1/embeddings", "", "{}").status, 404);
  const cluster::Reply wrong = ask({{"messages", 3}});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_THAT(wrong.body, HasSubstr("invalid_request_error"));
  const cluster::Reply huge = ask(question(std::string(3000, 'x'), 4));
  EXPECT_EQ(huge.status, 400);
  EXPECT_THAT(huge.body, HasSubstr("context of 512"));
}

TEST_F(ModelServerTest, AsksForItsKey) {
  start("open sesame");
  EXPECT_EQ(ask(question("x", 1)).status, 401);
  EXPECT_EQ(ask(question("x", 1), "open").status, 401);
  EXPECT_EQ(ask(question("x", 1), "open sesame").status, 200);
}

TEST_F(ModelServerTest, AnAddressThatOthersReachNeedsAKey) {
  ModelServerOptions options;
  options.model = named();
  options.host = "0.0.0.0";
  EXPECT_THAT(ModelServer::start(options).status().message(), HasSubstr("--api-key-file"));
}

TEST_F(ModelServerTest, OpenAisOwnClientUnderstandsIt) {
  TEPHRA_REQUIRE_PEER_PYTHON("the openai package");
  start("open sesame");
  EXPECT_TRUE(peer_script("worker/openai_client.py", std::to_string(server_->port()), dir_.path() + "/log"));
}

TEST_F(ModelServerTest, ManyClientsAreAnsweredAndOneThatLeavesHoldsUpNobody) {
  start();
  json endless = question("What is it?", 400);
  endless["stream"] = true;
  const std::string text = endless.dump();
  {
    cluster::Socket leaves(server_->port());
    leaves.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                std::to_string(text.size()) + "\r\n\r\n" + text);
    leaves.read_until("\"content\"");
  }
  const json body = question("What is it?", 6);
  std::vector<std::future<cluster::Reply>> asked;
  for (int i = 0; i < 10; ++i) asked.push_back(std::async(std::launch::async, [&] { return ask(body); }));
  EXPECT_EQ(cluster::request(server_->port(), "GET", "/healthz").status, 200);
  const json first = json::parse(asked[0].get().body);
  for (size_t i = 1; i < asked.size(); ++i)
    EXPECT_EQ(json::parse(asked[i].get().body)["choices"], first["choices"]) << first.dump();
}

TEST_F(ModelServerTest, StopsInTheMiddleOfAReply) {
  start();
  json body = question("What is it?", 400);
  body["stream"] = true;
  cluster::Socket socket(server_->port());
  const std::string text = body.dump();
  socket.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
              std::to_string(text.size()) + "\r\n\r\n" + text);
  socket.read_until("\"content\"");
  auto stopped = std::async(std::launch::async, [&] { server_->stop(); });
  EXPECT_EQ(stopped.wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

}  // namespace
}  // namespace tephra::worker
