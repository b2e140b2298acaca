// `--json` on every verb: each has it, what it prints on stdout is JSON and nothing else, and where it fails stdout stays empty and stderr
// has a sentence.
#include <gtest/gtest.h>
#include <signal.h>

#include <sstream>

#include "tests/e2e/harness.h"

namespace tephra::cli {
namespace {

using e2e::Finished;
using e2e::Process;
using e2e::Scratch;
using nlohmann::json;

class JsonOutput : public ::testing::Test {
 protected:
  Scratch scratch_;  // first: the environment names it
  const std::map<std::string, std::string> environment_{{"TEPHRA_WORKER", "/bin/true"},
                                                        {"TEPHRA_STORE", scratch_.path("store")}};
  Finished run(const std::vector<std::string>& arguments) { return e2e::tephra(scratch_, arguments, environment_); }
  // What the command printed, which has to be one document and no more.
  json document(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.code, 0) << arguments[0] << " " << finished.err;
    const json parsed = json::parse(finished.out, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << arguments[0] << " printed " << finished.out;
    return parsed;
  }
  // Verbs that have none below them, and `eval`, which is one with --resume.
  std::vector<json> verbs() {
    std::vector<json> all;
    for (const json& command : document({"man"}))
      if (command["verbs"].empty() || command["verb"] == "eval") all.push_back(command);
    return all;
  }
};

bool has_option(const json& command, const std::string& name) {
  for (const json& option : command["options"])
    for (const json& known : option.value("names", json::array()))
      if (known == name) return true;
  return false;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> all;
  for (std::string word; in >> word;) all.push_back(word);
  return all;
}

TEST_F(JsonOutput, EveryVerbHasTheOption) {
  const std::vector<json> all = verbs();
  EXPECT_GT(all.size(), 40u);
  for (const json& command : all) EXPECT_TRUE(has_option(command, "--json")) << command["verb"];
}

TEST_F(JsonOutput, WhatFailsPrintsASentenceOnStderrOnly) {
  // Those that need no more than their name are given what cannot be.
  const std::map<std::string, std::vector<std::string>> wrong = {{"serve", {"--listen", "nonsense"}},
                                                                 {"man", {"--no-such-option"}},
                                                                 {"token ls", {"--store", "none"}},
                                                                 {"chat", {"--no-such-option"}},
                                                                 {"serve-model", {"--no-such-option"}}};
  for (const json& command : verbs()) {
    const std::string verb = command["verb"];
    std::vector<std::string> arguments = words(verb);
    if (const auto found = wrong.find(verb); found != wrong.end())
      arguments.insert(arguments.end(), found->second.begin(), found->second.end());
    arguments.emplace_back("--json");
    const Finished finished = run(arguments);
    EXPECT_TRUE(finished.code == 2 || finished.code == 3) << verb << ": " << finished.code << finished.out;
    EXPECT_EQ(finished.out, "") << verb;
    EXPECT_TRUE(finished.err.starts_with("tephra")) << verb << ": " << finished.err;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << verb << ": " << finished.err;
  }
}

TEST_F(JsonOutput, UsageErrorsSayWhatToDo) {
  const auto said = [&](const std::vector<std::string>& arguments) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.code, 2);
    return finished.err;
  };
  EXPECT_EQ(said({"watsh", "x-1"}),
            "tephra: there is no verb 'watsh'; did you mean watch? tephra --help shows what there is\n");
  EXPECT_EQ(said({"ckpt", "lss"}),
            "tephra ckpt: there is no verb 'lss'; did you mean ls? tephra ckpt --help shows what there is\n");
  EXPECT_EQ(
      said({"submit", "a.yaml", "--sweeps", "x=1"}),
      "tephra submit: there is no option --sweeps; did you mean --sweep? tephra submit --help shows what there is\n");
  EXPECT_EQ(said({"run"}), "tephra run: RECIPE is required; tephra run --help shows what there is\n");
  EXPECT_EQ(said({"run", "a.yaml", "b.yaml"}),
            "tephra run: 'b.yaml' is one word too many; tephra run --help shows what there is\n");
  EXPECT_EQ(said({"ckpt"}), "tephra ckpt: a verb is missing; tephra ckpt --help shows what there is\n");
}

TEST_F(JsonOutput, OfTheStoreAndOfRecipesIsOneDocument) {
  const std::string base = TEPHRA_SOURCE_DIR "/recipes/base", demo = TEPHRA_SOURCE_DIR "/recipes/demo.yaml";
  const std::string name = document({"ckpt", "import", base + "/language"})["name"];
  EXPECT_EQ(document({"ckpt", "ls"}).size(), 1u);
  EXPECT_EQ(document({"ckpt", "show", name})["name"], name);
  document({"ckpt", "log", name});
  document({"ckpt", "diff", name, name});
  document({"ckpt", "tag", name, "mine"});
  document({"ckpt", "pin", name});
  document({"ckpt", "unpin", name});
  document({"ckpt", "verify"});
  document({"ckpt", "prune", "--keep-last", "1", "--dry-run"});
  document({"ckpt", "gc"});
  document({"ckpt", "export", "mine", "--out", scratch_.path("out")});
  document({"ckpt", "untag", "mine"});
  document({"store", "stat"});
  document({"store", "rebuild"});
  document({"ckpt", "rm", name});
  EXPECT_EQ(document({"ps"}), json::array());
  EXPECT_EQ(document({"token", "create", "vera", "--role", "viewer"})["role"], "viewer");
  EXPECT_EQ(document({"token", "ls"}).size(), 1u);
  document({"plan", demo});
  document({"manifest", demo, "--image", "x", "--claim", "y", "--mount", TEPHRA_SOURCE_DIR});
  const json encoded = document({"tokenizer", "encode", "--model", base + "/language", "a red circle"});
  std::vector<std::string> decode{"tokenizer", "decode", "--model", base + "/language"};
  for (const json& id : encoded["ids"]) decode.push_back(id.dump());
  EXPECT_EQ(document(decode)["text"], "a red circle");
  EXPECT_NE(document({"completion", "zsh"})["script"].get<std::string>().find("#compdef tephra"), std::string::npos);
}

TEST_F(JsonOutput, OfACoordinatorIsOneDocument) {
  Process server(e2e::tephra_command({"serve", "--listen", "127.0.0.1:0", "--json"}), scratch_.path(""), environment_);
  ASSERT_TRUE(
      server.wait_until([&] { return server.output().find('\n') != std::string::npos; }, std::chrono::seconds(20)));
  const json serving = json::parse(server.output(), nullptr, false);
  ASSERT_TRUE(serving.is_object()) << server.output();
  EXPECT_EQ(serving["store"], scratch_.path("store"));
  EXPECT_GT(serving["slots"], 0);
  EXPECT_EQ(run({"ps", "--json", "--server", serving["url"], "--token-file", serving["token_file"]}).code, 0);
  const std::string id = document({"submit", TEPHRA_SOURCE_DIR "/recipes/demo.yaml"})["id"];
  EXPECT_EQ(document({"ps"}).size(), 1u);
  EXPECT_EQ(document({"show", id})["id"], id);
  document({"pause", id});
  document({"resume", id});
  document({"cancel", id});
  document({"ckpt", "gc"});
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait().code, 0);
}

}  // namespace
}  // namespace tephra::cli
