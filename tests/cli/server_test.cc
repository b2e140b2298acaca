// What is proved, with the real program: a coordinator that speaks TLS, tokens with roles, and log lines as JSON.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cluster/http/certificate.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {

using nlohmann::json;

class ServerTest : public ::testing::Test {
 protected:
  Scratch scratch_;  // first: the environment names it
  // No rank is started here.
  const std::map<std::string, std::string> environment_{
      {"TEPHRA_WORKER", "/bin/true"}, {"TEPHRA_STORE", scratch_.path("store")}, {"JUDGE_KEY", "key-6b1f"}};
  std::unique_ptr<Process> serve(std::vector<std::string> options) {
    options.insert(options.begin(), {"serve", "--listen", "127.0.0.1:0"});
    auto process = std::make_unique<Process>(tephra_command(options), scratch_.path(""), environment_);
    EXPECT_TRUE(process->wait_until([&] { return process->output().find("tephra serves") != std::string::npos; },
                                    std::chrono::seconds(20)))
        << process->output();
    return process;
  }
  Finished run(const std::vector<std::string>& arguments) { return tephra(scratch_, arguments, environment_); }
  std::string url() { return json::parse(read_text(scratch_.path("store/server.json")))["url"]; }
};

TEST_F(ServerTest, SpeaksTlsToThoseWhoTrustIt) {
  const cluster::TlsFiles files = cluster::make_certificate(scratch_.path(""), "server");
  auto server = serve({"--tls-cert", files.certificate, "--tls-key", files.key});
  ASSERT_TRUE(url().starts_with("https://")) << url();
  const Finished own = run({"ps", "--json"});
  EXPECT_EQ(own.code, 0) << own.err;  // the store names the certificate
  EXPECT_EQ(json::parse(own.out), json::array());
  const std::string token = scratch_.path("store/token");
  const Finished named = run({"ps", "--json", "--server", url(), "--token-file", token, "--tls-ca", files.certificate});
  EXPECT_EQ(named.code, 0) << named.err;
  const Finished blind = run({"ps", "--server", url(), "--token-file", token});
  EXPECT_EQ(blind.code, 3);
  EXPECT_NE(blind.err.find("no trusted connection"), std::string::npos) << blind.err;
  server->signal(SIGTERM);
  EXPECT_EQ(server->wait().code, 0);
}

TEST_F(ServerTest, TokensAreMadeListedAndRevoked) {
  const Finished made = run({"token", "create", "vera", "--role", "viewer", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const json token = json::parse(made.out);
  auto server = serve({});
  const std::string file = scratch_.write("vera.token", token["token"].get<std::string>() + "\n");
  EXPECT_EQ(run({"ps", "--token-file", file}).code, 0);
  const Finished refused = run({"cancel", "none-1", "--token-file", file});
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.err.find("this takes the role submitter; token 'vera' is a viewer's"), std::string::npos)
      << refused.err;
  const json rows = json::parse(run({"token", "ls", "--json"}).out);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["name"], "vera");
  EXPECT_EQ(rows[0]["role"], "viewer");
  EXPECT_FALSE(rows[0].contains("token"));
  EXPECT_EQ(run({"token", "revoke", token["id"]}).code, 0);
  const Finished gone = run({"ps", "--token-file", file});
  EXPECT_EQ(gone.code, 3);
  EXPECT_NE(gone.err.find("may have been revoked"), std::string::npos) << gone.err;
  EXPECT_EQ(run({"token", "revoke", token["id"]}).code, 2);
  EXPECT_EQ(run({"token", "create", "x", "--role", "king"}).code, 2);
  EXPECT_EQ(run({"ps"}).code, 0) << "the admin's, from the store";
  server->signal(SIGTERM);
  EXPECT_EQ(server->wait().code, 0);
}

// What cannot be done is told with its cause and what to do.
TEST_F(ServerTest, ErrorsSayWhatToDo) {
  const cluster::TlsFiles files = cluster::make_certificate(scratch_.path(""), "server");
  auto server = serve({"--tls-cert", files.certificate, "--tls-key", files.key});
  const std::string plain = "http" + url().substr(std::string("https").size());
  const struct {
    std::vector<std::string> arguments;
    int code;
    const char* words;
  } cases[] = {
      {{"ps", "--token-file", scratch_.path("none")}, 2, "does not exist"},
      {{"ps", "--server", plain}, 3, "https:// if it speaks TLS"},
      {{"watch", "none-1"}, 2, "there is no job 'none-1'; tephra ps lists them"},
      {{"logs", "none-1"}, 2, "there is no job 'none-1'; tephra ps lists them"},
      {{"cancel", "none-1"}, 2, "there is no job 'none-1'; tephra ps lists them"},
      {{"logs", "none-1", "--token-file", scratch_.write("bad", "x\n")}, 3, "set TEPHRA_TOKEN or give --token-file"},
      {{"submit", scratch_.path("none.yaml")}, 2, "there is no such file; name a recipe"},
      {{"serve", "--store", "/proc/none"}, 2, "name a store folder that can be made"},
  };
  for (const auto& c : cases) {
    const Finished refused = run(c.arguments);
    EXPECT_EQ(refused.code, c.code) << c.arguments[0] << ": " << refused.err;
    EXPECT_NE(refused.err.find(c.words), std::string::npos) << c.arguments[0] << ": " << refused.err;
  }
}

TEST_F(ServerTest, SaysOfAJobThatHasEndedThatNothingIsChanged) {
  auto server = serve({});
  const Finished made = run({"submit", TEPHRA_SOURCE_DIR "/tests/e2e/tiny.yaml", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_NE(run({"resume", "tiny-1"}).out.find("tiny-1 is not paused"), std::string::npos);
  EXPECT_EQ(run({"submit", TEPHRA_SOURCE_DIR "/tests/e2e/tiny.yaml", "--set", "queue.after=[tiny-1]"}).code, 0);
  const Finished no_log = run({"logs", "tiny-2"});
  EXPECT_EQ(no_log.code, 2);
  EXPECT_EQ(no_log.out, "");
  EXPECT_NE(no_log.err.find("no rank of it was started yet (queued)"), std::string::npos) << no_log.err;
  EXPECT_EQ(run({"cancel", "tiny-1"}).code, 0);
  ASSERT_EQ(run({"watch", "tiny-1"}).code, 1) << "it has ended";
  for (const char* verb : {"cancel", "pause", "resume"}) {
    const Finished told = run({verb, "tiny-1"});
    EXPECT_EQ(told.code, 0) << told.err;
    EXPECT_NE(told.out.find("has ended ("), std::string::npos) << told.out;
  }
}

TEST_F(ServerTest, FilesWithSecretsAreTheirOwners) {
  ASSERT_EQ(run({"token", "create", "vera", "--role", "viewer"}).code, 0);
  auto server = serve({});
  for (const char* name : {"token", "tokens", "tokens.lock", "audit.jsonl"}) {
    struct stat info {};
    ASSERT_EQ(::stat(scratch_.path("store/" + std::string(name)).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(ServerTest, LogsAsJson) {
  // A tokens file that others may read is told of at the next request.
  ASSERT_EQ(run({"token", "create", "vera", "--role", "viewer"}).code, 0);
  auto server = serve({"--log-format", "json"});
  ASSERT_EQ(::chmod(scratch_.path("store/tokens").c_str(), 0644), 0);
  EXPECT_EQ(run({"ps", "--token-file", scratch_.write("bad.token", "nobody\n")}).code, 3);
  server->signal(SIGTERM);
  const Finished ended = server->wait();
  std::istringstream lines(ended.err);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json parsed = json::parse(line, nullptr, false);
    ASSERT_TRUE(parsed.is_object()) << line;
    EXPECT_EQ(parsed["level"], "error") << line;
    EXPECT_EQ(parsed["message"], "the tokens file cannot be used") << line;
  }
  EXPECT_GE(count, 1) << ended.err;
}

TEST_F(ServerTest, JudgesAreTheOperators) {
  const Finished unset =
      run({"serve", "--listen", "127.0.0.1:0", "--judge", "https://judge.example/v1,key_env=NOT_SET"});
  EXPECT_EQ(unset.code, 2);
  EXPECT_NE(unset.err.find("--judge: the environment variable NOT_SET is not set"), std::string::npos) << unset.err;
  const Finished no_address = run({"serve", "--listen", "127.0.0.1:0", "--judge", "judge.example"});
  EXPECT_EQ(no_address.code, 2);
  EXPECT_NE(no_address.err.find("--judge: 'judge.example' is no address"), std::string::npos) << no_address.err;

  auto server = serve({"--judge", "https://judge.example/v1,key_env=JUDGE_KEY"});
  const std::string base = TEPHRA_SOURCE_DIR "/recipes/base";
  const auto recipe = [&](const std::string& judge) {
    return scratch_.write(
        "judged.yaml", "name: judged\nmodel: {vision: " + base + "/vision, language: " + base +
                           "/language}\ngang: {ranks: 1}\ndatasets:\n  scenes: {kind: scenes}\n"
                           "  wild: {kind: benchmark, questions: q.jsonl, reference: a.jsonl, images: .}\n"
                           "stages:\n  - {name: a, data: [{dataset: scenes, part: instruct}], steps: 1}\n"
                           "benches:\n  wild: {kind: llava_bench, dataset: wild, judge: {model: m, prompts: p.json, " +
                           judge + "}}\n");
  };
  const Finished address = run({"submit", recipe("endpoint: 'http://10.0.0.1/v1', key_env: HOME")});
  EXPECT_EQ(address.code, 2) << address.err;
  EXPECT_NE(address.err.find("benches.wild.judge.endpoint: this coordinator asks no judge at 'http://10.0.0.1/v1'"),
            std::string::npos)
      << address.err;
  EXPECT_NE(address.err.find("use one of https://judge.example/v1, or local"), std::string::npos) << address.err;
  EXPECT_NE(address.err.find("tephra serve --judge"), std::string::npos) << address.err;
  const Finished variable = run({"submit", recipe("endpoint: 'https://judge.example/v1', key_env: HOME")});
  EXPECT_EQ(variable.code, 2) << variable.err;
  EXPECT_NE(variable.err.find("benches.wild.judge.key_env: variable 'HOME' does not belong to the judge"),
            std::string::npos)
      << variable.err;
  EXPECT_EQ(json::parse(run({"ps", "--json"}).out), json::array());
  const Finished taken = run({"submit", "--json", recipe("endpoint: 'https://judge.example/v1', key_env: JUDGE_KEY")});
  EXPECT_EQ(taken.code, 0) << taken.err;
  EXPECT_EQ(run({"cancel", "judged-1"}).code, 0);
  server->signal(SIGTERM);
  EXPECT_EQ(server->wait().code, 0);
}

TEST_F(ServerTest, RefusesOptionsThatDoNotGoTogether) {
  const Finished half = run({"serve", "--listen", "127.0.0.1:0", "--tls-cert", "x.pem"});
  EXPECT_EQ(half.code, 2);
  EXPECT_NE(half.err.find("--tls-cert and --tls-key belong together"), std::string::npos) << half.err;
  const Finished none = run({"serve", "--listen", "127.0.0.1:0", "--tls-cert", "x.pem", "--tls-key", "y.pem"});
  EXPECT_EQ(none.code, 2) << none.err;
}

}  // namespace
}  // namespace tephra::e2e
