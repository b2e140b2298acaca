// What is proved: what a client, a recipe or a dataset that means harm cannot do. docs/security.md names each test.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "api_fixture.h"
#include "base/env.h"
#include "coordinator/json_depth.h"

namespace tephra::coordinator {
namespace {

namespace fs = std::filesystem;
using cluster::Reply;
using nlohmann::json;

class Hostile : public ApiTest {
 protected:
  void change(Options& options) override { options.requests_per_second = 1e5; }
  Reply submit_yaml(const std::string& yaml) {
    return post("/api/v1/jobs", json{{"recipe_yaml", yaml}, {"base_dir", dir_.path()}}.dump());
  }
  static std::string repeated(const std::string& text, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += text;
    return out;
  }
};

TEST(JsonDepth, CountsWhatIsOpenAtOnce) {
  EXPECT_EQ(json_depth(""), 0u);
  EXPECT_EQ(json_depth("[]{}[[]]"), 2u);
  EXPECT_EQ(json_depth(R"({"a": "[[[[\"[[", "b": [1]})"), 2u);
  EXPECT_EQ(json_depth("]]]["), 1u);
}

TEST_F(Hostile, DeepDocumentsAreRefused) {
  const std::string open = repeated("[", 400000), closed = open + repeated("]", 400000);
  EXPECT_EQ(post("/api/v1/jobs", open).status, 400);
  EXPECT_EQ(post("/api/v1/jobs", closed).status, 400);
  EXPECT_EQ(post("/api/v1/jobs", "{\"recipe_json\": " + closed + "}").status, 400);
  EXPECT_EQ(post("/api/v1/jobs", json{{"recipe_json", closed}}.dump()).status, 422);
  EXPECT_EQ(submit_yaml("name: " + closed).status, 422);
  EXPECT_EQ(submit_yaml(repeated("- ", 400000)).status, 422);
  EXPECT_EQ(get("/healthz").status, 200);
}

// Ten lists of ten names each of the next: ten thousand million words, were they written out.
TEST_F(Hostile, AnAliasBombIsRefusedAtOnce) {
  std::string yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string one = "*a" + std::to_string(i - 1);
    yaml += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + repeated(one + ", ", 9) + one + "]\n";
  }
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(submit_yaml(yaml + "name: *a9\nstages: *a9\nmodel: *a9\n").status, 422);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(Hostile, NamesLeadNowhere) {
  std::ofstream(dir_ / "store/secret") << "secret";
  for (const char* job : {"..", "%2e%2e", "..%2f..", "..%2fsecret", "%2fetc%2fpasswd", "demo-1%2f..%2f..%2fsecret"})
    for (const char* what : {"", "/logs", "/metrics", "/report", "/flights?filed=1", "/history", "/events"}) {
      const Reply reply = get("/api/v1/jobs/" + std::string(job) + what);
      EXPECT_EQ(reply.status, 404) << job << what << reply.body;
    }
  EXPECT_EQ(get("/api/v1/jobs/x/../../../../etc/passwd").status, 404);
  EXPECT_EQ(get("/api/v1/checkpoints?job=../secret").status, 422);
  for (const char* name : {"../x", "/tmp/x", "a/b", ".hidden", "a b", "$(touch x)", "a;b", "x\\ny"}) {
    json recipe = json::parse(make_recipe(dir_.path(), 1, 2));
    recipe["name"] = name;
    EXPECT_EQ(post("/api/v1/jobs", json{{"recipe_json", recipe}}.dump()).status, 422) << name;
  }
  EXPECT_EQ(get_json("/api/v1/jobs")["jobs"].size(), 0u);
  EXPECT_TRUE(!fs::exists(dir_ / "store/jobs") || fs::is_empty(dir_ / "store/jobs"));
}

// A recipe says what is trained, not what is run: no field of it is a program, an option of one, or a variable.
TEST_F(Hostile, ARecipeNamesNoPrograms) {
  for (const char* field :
       {"command", "worker_program", "mpirun", "environment", "env", "gang_options", "hooks", "notify"}) {
    json recipe = json::parse(make_recipe(dir_.path(), 1, 2));
    recipe[field] = "touch /tmp/x";
    const Reply top = post("/api/v1/jobs", json{{"recipe_json", recipe}}.dump());
    EXPECT_EQ(top.status, 422) << field;
    recipe.erase(field);
    recipe["gang"][field] = "touch /tmp/x";
    EXPECT_EQ(post("/api/v1/jobs", json{{"recipe_json", recipe}}.dump()).status, 422) << field;
  }
}

// Whatever a model answered, a report that a browser shows runs no script and loads nothing.
TEST_F(Hostile, AReportIsShownInASandbox) {
  const std::string id = submit();
  ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(60))).ok());
  const Reply report = get("/api/v1/jobs/" + id + "/report");
  ASSERT_EQ(report.status, 200);
  EXPECT_NE(report.head.find("Content-Security-Policy: sandbox; default-src 'none';"), std::string::npos)
      << report.head;
  EXPECT_NE(report.head.find("X-Content-Type-Options: nosniff"), std::string::npos);
  EXPECT_EQ(report.body.find("<script"), std::string::npos);
}

std::string environment_value(int64_t pid, const std::string& name) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  for (std::string entry; std::getline(in, entry, '\0');)
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  return "";
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(Hostile, TokensAreInNoFileAndNoCommandLine) {
  setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 3}})", 1);
  const std::string id = submit();
  cluster::Socket events(port_);
  events.send("GET /api/v1/jobs/" + id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + kToken + "\r\n\r\n");
  events.read_until("event: checkpoint");
  const std::string gang_token = environment_value((*coordinator_->get(id)).ranks.at(0).pid, "TEPHRA_GANG_TOKEN");
  unsetenv("TEPHRA_FAKE_PLAN");
  ASSERT_EQ(gang_token.size(), 32u);
  std::error_code ignored;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", ignored)) {
    const std::string line = text_of(process.path() / "cmdline");
    EXPECT_EQ(line.find(gang_token), std::string::npos) << line;
    EXPECT_EQ(line.find(kToken), std::string::npos) << line;
  }
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(dir_ / "store")) {
    if (!file.is_regular_file(ignored)) continue;
    const std::string text = text_of(file.path());
    EXPECT_EQ(text.find(gang_token), std::string::npos) << file.path();
    EXPECT_EQ(text.find(kToken), std::string::npos) << file.path();
  }
  for (const char* part : {"", "/logs", "/history"})
    EXPECT_EQ(get("/api/v1/jobs/" + id + part).body.find(gang_token), std::string::npos) << part;
  EXPECT_EQ(post("/api/v1/jobs/" + id + "/cancel", "").status, 202);
  ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(30))).ok());
}

}  // namespace
}  // namespace tephra::coordinator
