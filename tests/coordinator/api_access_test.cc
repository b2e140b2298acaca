// What is proved: what each role may do, what is refused and why, and what of it is written down.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <sstream>

#include "api_fixture.h"
#include "base/env.h"
#include "coordinator/tokens.h"

namespace tephra::coordinator {
namespace {

using cluster::Reply;
using cluster::Socket;
using nlohmann::json;

class ApiAccess : public ApiTest {
 protected:
  void SetUp() override {
    setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 1}})", 1);
    start();
    for (const auto& [name, role] : {std::pair{"vera", Role::kViewer}, std::pair{"sam", Role::kSubmitter},
                                     std::pair{"sue", Role::kSubmitter}, std::pair{"ada", Role::kAdmin}})
      tokens_[name] = *create_token(tokens_path(dir_ / "store"), name, role, 0);
  }
  void TearDown() override { unsetenv("TEPHRA_FAKE_PLAN"); }
  std::string token(const std::string& name) const { return tokens_.at(name).token; }

  std::map<std::string, NewToken> tokens_;
};

TEST_F(ApiAccess, EachRoleMayDoItsPart) {
  const std::string id = submit(token("sam"));
  for (const char* name : {"vera", "sam", "sue", "ada"}) {
    EXPECT_EQ(get("/api/v1/jobs/" + id, token(name)).status, 200) << name;
    EXPECT_EQ(get("/metrics", token(name)).status, 200) << name;
    EXPECT_EQ(get_json("/api/v1/server", token(name))["name"], name);
  }
  EXPECT_EQ(get_json("/api/v1/server", token("vera"))["role"], "viewer");
  const Reply refused = post("/api/v1/jobs", submission(), token("vera"));
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(json::parse(refused.body)["error"]["message"], "this takes the role submitter; token 'vera' is a viewer's");
  EXPECT_EQ(post("/api/v1/jobs/" + id + "/cancel", "{}", token("vera")).status, 403);
  const Reply others = post("/api/v1/jobs/" + id + "/cancel", "{}", token("sue"));
  EXPECT_EQ(others.status, 403);
  EXPECT_NE(others.body.find("is of user 'sam'"), std::string::npos) << others.body;
  EXPECT_EQ(get_json("/api/v1/jobs/" + id)["cancel_requested"], false);
  EXPECT_EQ(post("/api/v1/jobs/" + id + "/cancel", "{}", token("sam")).status, 202);
  EXPECT_EQ(post("/api/v1/jobs/" + submit(token("sue")) + "/cancel", "{}", token("ada")).status, 202);
}

TEST_F(ApiAccess, CheckpointsAreAnAdmins) {
  for (const char* verb : {"tag", "untag", "pin", "unpin", "rm", "prune", "gc"}) {
    const std::string at = "/api/v1/checkpoints/" + std::string(verb);
    for (const char* name : {"vera", "sam"}) EXPECT_EQ(post(at, "{}", token(name)).status, 403) << verb << " " << name;
    EXPECT_NE(post(at, "{}", token("ada")).status, 403) << verb;
  }
}

TEST_F(ApiAccess, ASubmittersJobsAreItsOwn) {
  const Reply made = post("/api/v1/jobs", submission("somebody else"), token("sam"));
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(get_json("/api/v1/jobs/" + json::parse(made.body)["id"].get<std::string>())["user"], "sam");
  const Reply for_others = post("/api/v1/jobs", submission("somebody else"), token("ada"));
  EXPECT_EQ(get_json("/api/v1/jobs/" + json::parse(for_others.body)["id"].get<std::string>())["user"], "somebody else");
}

TEST_F(ApiAccess, ARevokedTokenEndsAtOnce) {
  EXPECT_EQ(get("/api/v1/jobs", token("vera")).status, 200);
  ASSERT_TRUE(revoke_token(tokens_path(dir_ / "store"), tokens_["vera"].id).ok());
  const Reply refused = get("/api/v1/jobs", token("vera"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_NE(refused.body.find("may have been revoked"), std::string::npos) << refused.body;
  EXPECT_NE(refused.head.find("WWW-Authenticate: Bearer"), std::string::npos);
  EXPECT_EQ(get("/api/v1/jobs", token("sam")).status, 200);
}

// A page of another site can make a browser send a form to a loopback address; not one of these headers can it forge.
TEST_F(ApiAccess, APageOfAnotherOriginChangesNothing) {
  const std::string own = "Origin: http://127.0.0.1:" + std::to_string(port_) + "\r\n";
  EXPECT_EQ(post("/api/v1/jobs", submission(), kToken, "Origin: https://evil.example\r\n").status, 403);
  EXPECT_EQ(post("/api/v1/jobs", submission(), kToken, "Origin: null\r\n").status, 403);
  EXPECT_EQ(post("/api/v1/jobs", submission(), kToken, own + "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(get_json("/api/v1/jobs")["jobs"].size(), 0u);
  EXPECT_EQ(
      post("/api/v1/jobs", submission(), kToken, own + "Content-Type: application/json; charset=utf-8\r\n").status,
      201);
  EXPECT_EQ(get("/healthz").head.find("Access-Control"), std::string::npos);
}

TEST_F(ApiAccess, ChangesAndRefusalsAreWrittenDownWithoutTokens) {
  const std::string id = submit(token("sam"));
  post("/api/v1/jobs/" + id + "/cancel", R"({"reason": "a secret reason"})", token("vera"));
  get("/api/v1/jobs?user=query-is-not-kept", "tephra_00000000_wrong");
  get("/api/v1/jobs/" + id);  // reading is not
  const std::string path = dir_ / "store/audit.jsonl";
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  std::istringstream lines(*read_file(Env::posix(), path));
  std::vector<json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["who"], "sam");
  EXPECT_EQ(rows[0]["token_id"], tokens_["sam"].id);
  EXPECT_EQ(rows[0]["action"], "submitJob");
  EXPECT_EQ(rows[0]["status"], 201);
  EXPECT_EQ(rows[0]["from"], "127.0.0.1");
  EXPECT_EQ(rows[1]["who"], "vera");
  EXPECT_EQ(rows[1]["action"], "cancelJob");
  EXPECT_EQ(rows[1]["status"], 403);
  EXPECT_EQ(rows[1]["path"], "/api/v1/jobs/" + id + "/cancel");
  EXPECT_EQ(rows[2]["who"], "");
  EXPECT_EQ(rows[2]["status"], 401);
  const std::string text = lines.str();
  for (const std::string& secret : {token("sam").substr(16), std::string("wrong"), std::string("a secret reason"),
                                    std::string("query-is-not-kept"), std::string(kToken)})
    EXPECT_EQ(text.find(secret), std::string::npos) << secret;
}

class ApiRate : public ApiTest {
 protected:
  void change(Options& options) override { options.requests_per_second = 50; }
};

TEST_F(ApiRate, TooManyRequestsAreToldWhenToComeBack) {
  Reply last;
  for (int i = 0; i < 2000 && last.status != 429; ++i) last = get("/healthz");
  ASSERT_EQ(last.status, 429);
  EXPECT_NE(last.head.find("Retry-After: 1"), std::string::npos) << last.head;
}

TEST_F(ApiRate, AWrongTokenCostsMore) {
  int tries = 0;
  while (tries < 50 && get("/api/v1/jobs", "wrong").status == 401) ++tries;
  EXPECT_LT(tries, 10);
}

TEST(ApiWithTokensFile, ListensOpenlyWhenTokensAreAsked) {
  TempDir dir;
  std::filesystem::create_directories(dir / "store");
  const NewToken token = *create_token(tokens_path(dir / "store"), "ada", Role::kAdmin, 0);
  Options options = make_options(dir / "store");
  options.http_port = 0;
  options.http_host = "0.0.0.0";
  const auto started = Coordinator::start(options);
  ASSERT_TRUE(started.ok()) << started.status().to_string();
  EXPECT_EQ(cluster::request((*started)->http_port(), "GET", "/api/v1/jobs").status, 401);
  EXPECT_EQ(cluster::request((*started)->http_port(), "GET", "/api/v1/jobs", token.token).status, 200);
}

}  // namespace
}  // namespace tephra::coordinator
