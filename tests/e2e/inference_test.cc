// What `chat --json` and `serve-model --json` print, of the tiny job's model, as programs read it.
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cluster/http/http_client.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;

class Inference : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(undisturbed().run.code, 0) << undisturbed().run.err;
    const Finished exported =
        tephra(scratch_, {"ckpt", "export", "tiny-1/instruct@latest", "--store", undisturbed().store, "--out", model_});
    ASSERT_EQ(exported.code, 0) << exported.err;
  }

  const Scratch scratch_;
  const std::string model_ = scratch_.path("model");
};

TEST_F(Inference, ChatPrintsEachReplyAsALine) {
  const std::string questions = scratch_.write("questions", "What is there?\n/nonsense\nAnd what else?\n/quit\n");
  std::string command;
  for (const std::string& word : tephra_command({"chat", "--model", model_, "--max-new-tokens", "4", "--json"}))
    command += "'" + word + "' ";
  Process chat({"/bin/sh", "-c", command + "< '" + questions + "'"}, scratch_.path(""));
  const Finished talked = chat.wait();
  ASSERT_EQ(talked.code, 0) << talked.err;
  EXPECT_NE(talked.err.find("there is no command /nonsense"), std::string::npos) << talked.err;
  std::istringstream out(talked.out);
  std::vector<json> lines;
  for (std::string line; std::getline(out, line);) lines.push_back(json::parse(line, nullptr, false));
  ASSERT_EQ(lines.size(), 2u) << talked.out;
  for (const json& line : lines) {
    ASSERT_TRUE(line.is_object()) << talked.out;
    EXPECT_TRUE(line["text"].is_string());
    EXPECT_GE(line["token_ids"].size(), 1u);
    EXPECT_EQ(line["finish"], line["token_ids"].size() == 4 ? "length" : "stop");
  }
  const Finished once = tephra(
      scratch_, {"generate", "--model", model_, "--prompt", "What is there?", "--max-new-tokens", "4", "--json"});
  ASSERT_EQ(once.code, 0) << once.err;
  EXPECT_EQ(lines[0]["token_ids"], json::parse(once.out)["token_ids"]) << "the first reply is generate's";
}

TEST_F(Inference, AModelThatIsNotThereIsNamedWithWhatToGive) {
  for (const char* verb : {"chat", "serve-model"}) {
    const Finished refused = tephra(scratch_, {verb, "--model", scratch_.path("none"), "--json"});
    EXPECT_EQ(refused.code, 2) << verb;
    EXPECT_EQ(refused.out, "") << verb;
    EXPECT_NE(refused.err.find("none does not exist; name a model's folder"), std::string::npos) << refused.err;
  }
}

TEST_F(Inference, ServeModelPrintsWhereItAnswers) {
  Process server(tephra_command({"serve-model", "--model", model_, "--listen", "127.0.0.1:0", "--json"}),
                 scratch_.path(""));
  ASSERT_TRUE(server.wait_until([&] { return server.output().ends_with("\n"); }, std::chrono::seconds(60)));
  const json said = json::parse(server.output(), nullptr, false);
  ASSERT_TRUE(said.is_object()) << server.output();
  EXPECT_EQ(said["model"], "model");
  const std::string url = said["url"];
  ASSERT_TRUE(url.starts_with("http://127.0.0.1:") && url.ends_with("/v1")) << url;
  const int port = std::stoi(url.substr(std::string("http://127.0.0.1:").size()));
  const json body = {{"messages", {{{"role", "user"}, {"content", "What is there?"}}}}, {"max_tokens", 4}};
  const cluster::Reply reply = cluster::request(port, "POST", "/v1/chat/completions", "", body.dump());
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(json::parse(reply.body, nullptr, false)["object"], "chat.completion") << reply.body;
  server.signal(SIGTERM);
  const Finished ended = server.wait();
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(json::parse(ended.out, nullptr, false), said) << "one line and no more";
}

}  // namespace
}  // namespace tephra::e2e
