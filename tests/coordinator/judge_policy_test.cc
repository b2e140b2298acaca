// What is proved: that a recipe has no address asked and no variable's value sent but those that the coordinator's operator gave.
#include "coordinator/judge_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api_fixture.h"
#include "coordinator/tokens.h"
#include "data/image.h"
#include "tests/cluster/chat/chat_server.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

recipes::JudgeRecipe judge_at(const std::string& endpoint, const std::string& key_env = "") {
  recipes::JudgeRecipe judge;
  judge.endpoint = endpoint;
  judge.key_env = key_env;
  return judge;
}

TEST(JudgePolicy, IsReadFromWhatTheOperatorGives) {
  const auto plain = parse_judge_endpoint("http://10.0.0.7:8000/v1/");
  ASSERT_TRUE(plain.ok()) << plain.status().to_string();
  EXPECT_EQ(plain->url, "http://10.0.0.7:8000/v1");
  EXPECT_EQ(plain->key_env, "");
  const auto keyed = parse_judge_endpoint("https://judge.example/v1,key_env=JUDGE_KEY");
  ASSERT_TRUE(keyed.ok()) << keyed.status().to_string();
  EXPECT_EQ(keyed->url, "https://judge.example/v1");
  EXPECT_EQ(keyed->key_env, "JUDGE_KEY");
  for (const char* wrong :
       {"", "judge.example", "https://judge.example/v1,key_env=", "https://judge.example/v1,key_env=A B",
        "https://judge.example/v1,key_env=1A", "http://judge.example/v1,key_env=JUDGE_KEY"})
    EXPECT_EQ(parse_judge_endpoint(wrong).status().code(), Code::kInvalidArgument) << wrong;
  EXPECT_TRUE(parse_judge_endpoint("http://127.0.0.1:8000/v1,key_env=JUDGE_KEY").ok())
      << "it does not leave the machine";
}

TEST(JudgePolicy, OtherAddressesAndVariablesAreRefused) {
  const JudgePolicy policy{.endpoints = {{"https://judge.example/v1", "JUDGE_KEY"}, {"http://10.0.0.7:8000/v1", ""}}};
  const auto refused = [&](const std::string& endpoint, const std::string& key_env = "") {
    return check_judge(judge_at(endpoint, key_env), policy).message();
  };
  EXPECT_EQ(refused("local"), "");
  EXPECT_EQ(refused("https://judge.example/v1", "JUDGE_KEY"), "");
  EXPECT_EQ(refused("https://judge.example/v1/", "JUDGE_KEY"), "") << "the same address";
  EXPECT_EQ(refused("https://judge.example/v1"), "") << "no key is sent";
  EXPECT_EQ(refused("http://10.0.0.7:8000/v1"), "");
  for (const char* other : {"https://judge.example", "https://judge.example/v1/../..", "https://judge.example/v1x",
                            "http://judge.example/v1", "https://judge.example:444/v1", "https://judge.example@evil/v1",
                            "http://169.254.169.254/latest", "https://JUDGE.example/v1"})
    EXPECT_THAT(refused(other, "JUDGE_KEY"), HasSubstr("asks no judge at '" + std::string(other) + "'"));
  EXPECT_THAT(refused("https://evil.example/v1"),
              HasSubstr("use one of https://judge.example/v1, http://10.0.0.7:8000/v1"));
  EXPECT_THAT(refused("https://judge.example/v1", "AWS_SECRET_ACCESS_KEY"), HasSubstr("write key_env: JUDGE_KEY"));
  EXPECT_THAT(refused("http://10.0.0.7:8000/v1", "JUDGE_KEY"), HasSubstr("leave key_env away"));
  EXPECT_THAT(refused("local", "JUDGE_KEY"), HasSubstr("needs no key"));
  EXPECT_TRUE(check_judge(judge_at("https://evil.example/v1", "HOME"), {.any = true}).ok());
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

constexpr const char *kVariable = "TEPHRA_TEST_JUDGE_KEY", *kKey = "key-of-the-judge-6b1f";

class ApiJudges : public ApiTest {
 protected:
  ApiJudges() { ::setenv(kVariable, kKey, 1); }
  ~ApiJudges() override { ::unsetenv(kVariable); }
  void change(Options& options) override {
    if (listed_) options.judges.endpoints = {{server_.url(), kVariable}};
    options.launching.withheld = {"TEPHRA_TOKEN"};
  }
  // The fixture's job with a judged bench after its second stage.
  json recipe(const std::string& endpoint, const std::string& key_env) {
    std::ofstream(dir_ / "q.jsonl")
        << R"({"question_id": 1, "image": "a.png", "text": "What is it?", "category": "conv"})"
        << "\n";
    std::ofstream(dir_ / "a.jsonl") << R"({"question_id": 1, "text": "A fox."})"
                                    << "\n";
    json recipe = json::parse(make_recipe(dir_.path(), 1, 4));
    const auto png = data::encode_png({8, 8, std::vector<uint8_t>(192, 240)});
    std::ofstream(dir_ / "a.png", std::ios::binary)
        .write(reinterpret_cast<const char*>(png->data()), static_cast<std::streamsize>(png->size()));
    recipe["datasets"]["wild"] = {{"kind", "benchmark"},
                                  {"questions", dir_ / "q.jsonl"},
                                  {"reference", dir_ / "a.jsonl"},
                                  {"images", dir_.path()}};
    recipe["benches"]["wild"] = {
        {"kind", "llava_bench"},
        {"dataset", "wild"},
        {"judge",
         {{"endpoint", endpoint}, {"model", "m"}, {"prompts", TEPHRA_SOURCE_DIR "/recipes/judge/llava_bench.json"}}}};
    if (!key_env.empty()) recipe["benches"]["wild"]["judge"]["key_env"] = key_env;
    recipe["stages"][1]["evaluate"].push_back("wild");
    return recipe;
  }
  cluster::Reply submit_recipe(const json& recipe, const std::string& token = kToken) {
    return post("/api/v1/jobs", json{{"recipe_json", recipe}}.dump(), token);
  }
  json wild_result(const std::string& job) {
    return json::parse(text_of(coordinator_->get(job)->directory + "/eval/more/wild.result.json"), nullptr, false);
  }

  cluster::ChatServer server_{[](const json&, int) { return cluster::chat_json("8 6\nfine"); }};
  bool listed_ = true;
};

TEST_F(ApiJudges, ARecipeNamesNoOtherAddressAndNoOtherVariable) {
  const NewToken sam = *create_token(tokens_path(dir_ / "store"), "sam", Role::kSubmitter, 0);
  cluster::ChatServer stranger([](const json&, int) { return cluster::chat_json("8 6\n"); });
  for (const std::string& token : {std::string(kToken), sam.token}) {
    const cluster::Reply address = submit_recipe(recipe(stranger.url(), kVariable), token);
    EXPECT_EQ(address.status, 422);
    EXPECT_THAT(address.body,
                HasSubstr("benches.wild.judge.endpoint: this coordinator asks no judge at '" + stranger.url()));
    EXPECT_THAT(address.body, HasSubstr("use one of " + server_.url()));
    const cluster::Reply variable = submit_recipe(recipe(server_.url(), "PATH"), token);
    EXPECT_EQ(variable.status, 422);
    EXPECT_THAT(variable.body, HasSubstr("benches.wild.judge.key_env: variable 'PATH' does not belong to the judge"));
    EXPECT_THAT(variable.body, HasSubstr("write key_env: " + std::string(kVariable)));
  }
  EXPECT_EQ(get_json("/api/v1/jobs")["jobs"].size(), 0u);
  EXPECT_TRUE(server_.requests().empty());
  EXPECT_TRUE(stranger.requests().empty());
}

TEST_F(ApiJudges, AKeyGoesToItsJudgeAndNowhereElse) {
  ::setenv("TEPHRA_TOKEN", kToken, 1);  // a user's, who starts the coordinator too
  ::setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"attempt": 1, "stage": "lm", "step": 3}})", 1);
  const cluster::Reply reply = submit_recipe(recipe(server_.url(), kVariable));
  ASSERT_EQ(reply.status, 201) << reply.body;
  const std::string id = json::parse(reply.body)["id"];
  cluster::Socket events(port_);
  events.send("GET /api/v1/jobs/" + id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + kToken + "\r\n\r\n");
  events.read_until("event: checkpoint");
  ::unsetenv("TEPHRA_TOKEN");
  ::unsetenv("TEPHRA_FAKE_PLAN");
  const JobView running = *coordinator_->get(id);
  for (const int64_t pid : {running.ranks.at(0).pid, running.state.gang_record.pid}) {
    const std::string environment = text_of("/proc/" + std::to_string(pid) + "/environ");
    EXPECT_THAT(environment, HasSubstr("TEPHRA_GANG_TOKEN="));
    EXPECT_THAT(environment, Not(HasSubstr(kKey)));
    EXPECT_THAT(environment, Not(HasSubstr(kToken)));
  }
  // Paused and gone on with, the job asks its judge.
  ASSERT_EQ(post("/api/v1/jobs/" + id + "/pause", "").status, 202);
  ASSERT_EQ(post("/api/v1/jobs/" + id + "/resume", "").status, 202);
  const auto ended = coordinator_->wait(id, Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->phase, Phase::kDone) << ended->reason;
  ASSERT_EQ(server_.requests().size(), 2u) << "both orders";
  EXPECT_EQ(server_.requests()[0].headers.at("authorization"), "Bearer " + std::string(kKey));
  EXPECT_FALSE(wild_result(id).contains("incomplete")) << wild_result(id);
  for (const auto& file : std::filesystem::recursive_directory_iterator(dir_ / "store"))
    EXPECT_THAT(file.is_regular_file() ? text_of(file.path()) : "", Not(HasSubstr(kKey))) << file.path();
}

TEST_F(ApiJudges, AJudgeThatWasTakenAwayIsNotAskedForAJobOfBefore) {
  ::setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"attempt": 1, "stage": "lm", "step": 3}})", 1);
  const cluster::Reply reply = submit_recipe(recipe(server_.url(), kVariable));
  ::unsetenv("TEPHRA_FAKE_PLAN");
  ASSERT_EQ(reply.status, 201) << reply.body;
  const std::string id = json::parse(reply.body)["id"];
  coordinator_->shutdown();
  coordinator_.reset();
  listed_ = false;
  start();
  const auto ended = coordinator_->wait(id, Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->phase, Phase::kDone) << ended->reason;
  EXPECT_THAT(wild_result(id).value("incomplete", ""), HasSubstr("asks no judge at '" + server_.url() + "'"));
  EXPECT_TRUE(server_.requests().empty());
}

}  // namespace
}  // namespace tephra::coordinator
