// What users do with checkpoints, from the command line: names and pins, lineage, differences, removal and space, forks
// that share what they do not change and go on bit for bit, import and export; beside a running coordinator too.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "base/faulty_env.h"
#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

// The first stage of tiny.yaml alone, on one rank. Its checkpoints are of steps 4, 8 and 12.
std::string recipe_text() {
  const std::string base = std::string(TEPHRA_SOURCE_DIR) + "/recipes/base";
  return "name: tiny\nseed: 5\nmodel: {vision: " + base + "/vision, language: " + base +
         "/language}\ngang: {ranks: 1}\n"
         "datasets:\n  scenes: {kind: scenes, seed: 3, train_scenes: 48, test_questions: 12, validation_questions: 6, "
         "heldout_conversations: 4, text_questions: 4}\n"
         "stages:\n  - name: align\n    train: [connector]\n    template: plain\n"
         "    data: [{dataset: scenes, part: captions}]\n    max_length: 256\n    steps: 12\n    micro_batch: 4\n"
         "    global_batch: 16\n    optimizer: {lr: 2.0e-3}\n    checkpoint: {every_steps: 4}\n    evaluate: []\n";
}

struct World {
  Scratch scratch;
  std::string store = scratch.path("store"), recipe = scratch.write("tiny.yaml", recipe_text());
  Finished run;
  World() { run = tephra(scratch, {"run", recipe, "--store", store}); }

  // The verb's JSON; null when it failed.
  json ask(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--store", store, "--json"});
    const Finished finished = tephra(scratch, arguments);
    EXPECT_EQ(finished.code, 0) << finished.err;
    return json::parse(finished.out, nullptr, false);
  }
  Finished say(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--store", store});
    return tephra(scratch, arguments);
  }
  void expect_refused(std::vector<std::string> arguments, int code, const std::string& sentence) {
    const Finished finished = say(std::move(arguments));
    EXPECT_EQ(finished.code, code) << finished.out;
    EXPECT_NE(finished.err.find(sentence), std::string::npos) << finished.err;
  }
};

// One job, shared by the tests that only look at it or add to it.
World& world() {
  static World one;
  return one;
}

TEST(Checkpoints, AreTaggedPinnedAndHeld) {
  World& w = world();
  ASSERT_EQ(w.run.code, 0) << w.run.err;
  EXPECT_EQ(w.ask({"ckpt", "tag", "tiny-1/align@8", "good"})["name"], "tiny-1/align@8");
  w.expect_refused({"ckpt", "tag", "tiny-1/align@4", "good"}, 2, "tag 'good' is on tiny-1/align@8; give --force");
  EXPECT_EQ(w.ask({"ckpt", "tag", "tiny-1/align@4", "good", "--force"})["moved_from"], "tiny-1/align@8");
  EXPECT_EQ(w.ask({"ckpt", "show", "good"})["name"], "tiny-1/align@4");
  w.ask({"ckpt", "pin", "tiny-1/align@8"});
  w.expect_refused({"ckpt", "rm", "tiny-1/align@4", "tiny-1/align@8"}, 2, "tiny-1/align@8: pinned");
  w.expect_refused({"ckpt", "rm", "good"}, 2, "nothing was removed; tiny-1/align@4: tagged 'good'");
  const Finished ls = w.say({"ckpt", "ls"});
  EXPECT_NE(ls.out.find("(pinned)"), std::string::npos) << ls.out;
  const json pruned = w.ask({"ckpt", "prune", "--keep-last", "1", "--dry-run"});
  EXPECT_EQ(pruned["removed"], 0) << pruned.dump(2);
  w.ask({"ckpt", "unpin", "tiny-1/align@8"});
  EXPECT_EQ(w.ask({"ckpt", "prune", "--keep-last", "1", "--dry-run"})["removed"], 1);
  w.ask({"ckpt", "untag", "good"});
  w.expect_refused({"ckpt", "untag", "good"}, 2, "has no tag 'good'");
  w.expect_refused({"ckpt", "tag", "tiny-1/align@9", "x"}, 2, "did you mean");
  EXPECT_EQ(tephra(w.scratch, {"ckpt", "gc", "--store", w.scratch.path("none")}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(w.scratch.path("none"))) << "no store is made";
}

TEST(Checkpoints, ShowTheirBytesTheirHistoryAndTheirDifference) {
  World& w = world();
  const json shown = w.ask({"ckpt", "show", "tiny-1/align@12"});
  EXPECT_EQ(shown["own_bytes"], shown["new_bytes"]) << "the connector and its moments are nobody else's";
  EXPECT_EQ(shown["physical_bytes"].get<int64_t>(),
            shown["own_bytes"].get<int64_t>() + shown["shared_bytes"].get<int64_t>());
  EXPECT_LE(shown["physical_bytes"], shown["logical_bytes"]);
  EXPECT_GT(shown["shared_bytes"], shown["own_bytes"]);

  const json log = w.ask({"ckpt", "log", "tiny-1/align@latest"});
  ASSERT_EQ(log.size(), 2u) << log.dump(2);
  EXPECT_EQ(log[0]["name"], "tiny-1/align@12");
  EXPECT_EQ(log[0]["recipe"], "tiny: train of connector, 12 steps of 16, lr 0.002, template plain, seed 5");
  EXPECT_EQ(log[0]["handover"]["data"].get<std::string>().size(), 32u);
  EXPECT_TRUE(std::filesystem::exists(log[0]["report"].get<std::string>()));
  EXPECT_EQ(log[1]["job"], "base");

  const json diff = w.ask({"ckpt", "diff", "tiny-1/align@8", "tiny-1/align@12"});
  EXPECT_FALSE(diff["equal"]);
  EXPECT_GT(diff["equal_tensors"], 20);
  ASSERT_EQ(diff["tensors"].size(), 4u) << "weights and biases of two layers";
  for (const json& tensor : diff["tensors"]) {
    EXPECT_EQ(tensor["name"].get<std::string>().rfind("multi_modal_projector.", 0), 0u);
    EXPECT_GT(tensor["l2"], 0);
    EXPECT_LE(tensor["max_abs"], tensor["l2"]);
  }
  EXPECT_TRUE(diff["recipe"].empty());
  EXPECT_LT(diff["bytes_read"], shown["own_bytes"]) << "what is equal is not read";
  EXPECT_TRUE(w.ask({"ckpt", "diff", "tiny-1/align@8", "tiny-1/align@8"})["equal"]);
  EXPECT_EQ(w.ask({"ckpt", "diff", "tiny-1/align@8", "tiny-1/align@12", "--moments"})["tensors"].size(), 12u);
}

TEST(Checkpoints, AForkGoesOnBitForBitAndSharesTheRest) {
  World& w = world();
  const Finished resumed = w.say({"fork", "tiny-1/align@8", w.recipe, "--resume", "--set", "name=again"});
  ASSERT_EQ(resumed.code, 0) << resumed.out << resumed.err;
  const auto hashes = content_hashes(w.scratch, w.store);
  ASSERT_TRUE(hashes.contains("again-1/align@12"));
  EXPECT_FALSE(hashes.contains("again-1/align@8")) << "it begins behind step 8";
  EXPECT_EQ(hashes.at("again-1/align@12"), hashes.at("tiny-1/align@12"));
  EXPECT_EQ(w.ask({"ckpt", "show", "again-1/align@12"})["new_bytes"], 0) << "the same bytes are there already";

  const Finished anew = w.say(
      {"fork", "tiny-1/align@latest", w.recipe, "--set", "name=anew", "--set", "stages[0].steps=4", "--set", "seed=6"});
  ASSERT_EQ(anew.code, 0) << anew.out << anew.err;
  const json log = w.ask({"ckpt", "log", "anew-1/align@4"});
  ASSERT_EQ(log.size(), 3u) << log.dump(2);
  EXPECT_EQ(log[1]["name"], "tiny-1/align@12");
  EXPECT_TRUE(log[0]["fork"]);
  std::map<std::string, std::string> changed;
  for (const json& change : log[0]["recipe_changes"]) changed[change["field"]] = change["after"];
  EXPECT_EQ(changed, (std::map<std::string, std::string>{{"name", "\"anew\""},
                                                         {"seed", "6"},
                                                         {"report.title", "\"anew\""},
                                                         {"fork.checkpoint", "\"tiny-1/align@12\""},
                                                         {"fork.resume", "false"},
                                                         {"stages[0].steps", "4"}}));
  const json shown = w.ask({"ckpt", "show", "anew-1/align@4"});
  EXPECT_GT(shown["shared_bytes"], shown["own_bytes"]);
}

TEST(Checkpoints, AForkThatDoesNotFitIsRefusedBeforeRanksStart) {
  World& w = world();
  const Finished other = w.say({"fork", "tiny-1/align@8", w.recipe, "--set", "name=other", "--set",
                                "model.connector.kind=linear", "--set", "model.vision_layer=-1"});
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(
      other.err.find("stage align does not fit checkpoint tiny-1/align@8: vision layer is -1, the checkpoint's is "
                     "-2; connector kind is linear, the checkpoint's is mlp2x_gelu"),
      std::string::npos)
      << other.err;
  EXPECT_EQ(w.ask({"show", "other-1"})["attempt"], 0) << "no gang was started";
  const Finished done = w.say({"fork", "tiny-1/align@12", w.recipe, "--resume", "--set", "name=done"});
  EXPECT_NE(done.err.find("is at step 12 and the stage has 12 steps"), std::string::npos) << done.err;
  w.expect_refused({"fork", "tiny-1/align@13", w.recipe}, 2, "has no checkpoint 'tiny-1/align@13'");
}

TEST(Checkpoints, AreExportedInPartAndImportedAgain) {
  World& w = world();
  const std::string connector = w.scratch.path("connector"), whole = w.scratch.path("whole");
  w.ask({"ckpt", "export", "tiny-1/align@12", "--only", "connector", "--out", connector});
  ASSERT_TRUE(std::filesystem::exists(connector + "/mm_projector.safetensors"));
  const json config = json::parse(read_text(connector + "/config.json"));
  EXPECT_EQ(config["mm_projector_type"], "mlp2x_gelu");
  // A job that starts its connector from that file has the same base as a fork would.
  const json file = w.ask({"ckpt", "import", connector + "/mm_projector.safetensors", "--tag", "projector"});
  EXPECT_EQ(w.ask({"ckpt", "show", "projector"})["tensors"].size(), 4u);
  EXPECT_EQ(file["new_bytes"], 0) << "its bytes are those of the checkpoint";

  w.ask({"ckpt", "export", "tiny-1/align@12", "--out", whole});
  const json imported = w.ask({"ckpt", "import", whole, "--tag", "mine"});
  EXPECT_EQ(imported["tags"], json{"mine"});
  const json diff = w.ask({"ckpt", "diff", "tiny-1/align@12", "mine"});
  for (const json& tensor : diff["tensors"])
    EXPECT_TRUE(tensor["difference"] == "only in the second" || tensor["difference"] == "other type") << tensor;
  EXPECT_EQ(w.ask({"ckpt", "import", whole})["name"], imported["name"]);
  w.ask({"ckpt", "export", "mine", "--out", w.scratch.path("again")});
  EXPECT_EQ(read_text(w.scratch.path("again") + "/model.safetensors"), read_text(whole + "/model.safetensors"));
  w.expect_refused({"ckpt", "import", w.scratch.path("nowhere")}, 2, "does not exist");
  w.expect_refused({"ckpt", "export", "tiny-1/align@12", "--only", "head", "--out", whole}, 2, "there is connector");
}

// The whole program is killed after the first, second and third commit that it tells of, each time with rules half applied, and
// goes on: what is there in the end is what an undisturbed run has, to the bit, and whole.
TEST(Checkpoints, RulesAndKillsLeaveWhatRulesAloneLeave) {
  std::map<std::string, std::string> hashes[2];
  for (const bool killed : {false, true}) {
    Scratch scratch;
    const std::string store = scratch.path("store"), recipe = scratch.write("tiny.yaml", recipe_text());
    const std::vector<std::string> command = tephra_command(
        {"run", recipe, "--store", store, "--json", "--set", "gang.reattach_s=0", "--set", "stages[0].steps=24",
         "--set", "stages[0].checkpoint={every_steps: 2, best: {mode: max}, keep: {last: 1, every: 8}}"});
    for (int commits = 1; killed && commits <= 3; ++commits) {
      Process run(command, scratch.path(""));
      const auto seen = [&] { return events_seen(run.output(), "checkpoint") >= commits; };
      ASSERT_TRUE(run.wait_until(seen, 120s)) << run.output();
      run.signal(SIGKILL);
      run.wait();
      ASSERT_TRUE(none_left(store));
    }
    const Finished finished = Process(command, scratch.path("")).wait();
    ASSERT_EQ(finished.code, 0) << finished.err;
    hashes[killed ? 1 : 0] = content_hashes(scratch, store);
    EXPECT_EQ(tephra(scratch, {"ckpt", "verify", "--store", store}).code, 0);
    EXPECT_EQ(json::parse(tephra(scratch, {"ckpt", "gc", "--dry-run", "--json", "--store", store}).out)["packs"],
              json::array());
  }
  EXPECT_TRUE(hashes[0].contains("tiny-1/align@16")) << "every 8th stays";
  EXPECT_TRUE(hashes[0].contains("tiny-1/align@24"));
  EXPECT_FALSE(hashes[0].contains("tiny-1/align@22"));
  EXPECT_EQ(hashes[0], hashes[1]);
}

// Tensor, rank and pack of what is damaged, once for each cause, and who else needs the bytes.
void expect_damage_is_named(Scratch& scratch, const std::string& store) {
  const std::string copy = scratch.path("damaged"), checkpoint = "tiny-1/align@12";
  std::filesystem::copy(store, copy, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(copy + "/packs")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("tiny-1+a1+align+s12+r0")) std::filesystem::remove(entry.path());
    if (name.starts_with("tiny-1+")) continue;
    EXPECT_TRUE(FaultyEnv(Env::posix()).flip_bit(entry.path(), 64, 3).ok());  // the base's first tensor
  }
  const Finished text = tephra(scratch, {"ckpt", "verify", checkpoint, "--store", copy});
  EXPECT_EQ(text.code, 1);
  for (const char* part : {"DAMAGED", "(parameter, rank 0) and ", "pack tiny-1+a1+align+s12+r0 is missing",
                           "fails its checksum", "    also needed by base/", "    also needed by tiny-1/align@10"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << " in\n" << text.out;
  const json all = json::parse(tephra(scratch, {"ckpt", "verify", checkpoint, "--json", "--store", copy}).out);
  const json &of_base = all.at(0).at("problems").front(),
             &of_rank = all[0]["problems"].back();  // in the tensors' order
  EXPECT_TRUE(of_base["rank"].is_null() && !of_base["also_needed_by"].empty()) << of_base;
  EXPECT_TRUE(of_rank["rank"] == 0 && of_rank["also_needed_by"].empty()) << of_rank;
}

// The recipe's own rules, then a coordinator that owns the store.
TEST(Checkpoints, RulesLetThemGoAndADaemonIsAskedToChangeThem) {
  Scratch scratch;
  const std::string store = scratch.path("store"), recipe = scratch.write("tiny.yaml", recipe_text());
  const Finished run = tephra(scratch, {"run", recipe, "--store", store, "--set",
                                        "stages[0].checkpoint={every_steps: 2, best: {mode: max}, keep: {last: 2}}"});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto hashes = content_hashes(scratch, store);
  EXPECT_TRUE(hashes.contains("tiny-1/align@12") && hashes.contains("tiny-1/align@10"));
  EXPECT_LE(hashes.size(), 4u) << "those, the best one and the base";
  EXPECT_NE(run.out.find("removed: no rule keeps it"), std::string::npos) << run.out;
  EXPECT_NE(read_text(store + "/jobs/tiny-1/checkpoints.log").find("removed: no rule keeps it"), std::string::npos);
  EXPECT_EQ(tephra(scratch, {"ckpt", "verify", "--store", store}).code, 0);
  expect_damage_is_named(scratch, store);
  const json plan = json::parse(
      tephra(scratch, {"plan", recipe, "--json", "--set", "stages[0].checkpoint={every_steps: 2, keep: {last: 2}}"})
          .out,
      nullptr, false);
  EXPECT_NE(plan.dump().find("\"checkpoints_peak\":3"), std::string::npos) << plan.dump();

  Process daemon(tephra_command({"serve", "--store", store, "--listen", "127.0.0.1:0"}), scratch.path(""));
  ASSERT_TRUE(daemon.wait_until([&] { return daemon.output().find("tephra serves") != std::string::npos; }, 60s));
  const auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--store", store, "--json"});
    const Finished finished = tephra(scratch, arguments);
    EXPECT_EQ(finished.code, 0) << finished.err;
    return json::parse(finished.out, nullptr, false);
  };
  EXPECT_EQ(ask({"ckpt", "tag", "tiny-1/align@10", "ten"})["name"], "tiny-1/align@10");
  EXPECT_EQ(ask({"ckpt", "show", "ten"})["name"], "tiny-1/align@10") << "seen beside the owner";
  const Finished refused = tephra(scratch, {"ckpt", "rm", "ten", "--store", store});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("tagged 'ten'"), std::string::npos) << refused.err;
  ask({"ckpt", "untag", "ten"});
  EXPECT_EQ(ask({"ckpt", "rm", "tiny-1/align@10"})["removed"].size(), 1u);
  const json would = ask({"ckpt", "gc", "--dry-run"}), gc = ask({"ckpt", "gc"});
  EXPECT_EQ(would["packs"], gc["packs"]);
  EXPECT_GT(gc["bytes"], 0);
  const json submitted = ask({"fork", "tiny-1/align@12", recipe, "--set", "name=more", "--set", "stages[0].steps=2"});
  EXPECT_EQ(submitted["id"], "more-1");
  EXPECT_EQ(tephra(scratch, {"watch", "more-1", "--store", store}).code, 0);
  EXPECT_EQ(ask({"ckpt", "show", "more-1/align@2"})["parent"], "tiny-1/align@12");
  // Without a way to it: whose the store is.
  std::filesystem::rename(store + "/server.json", scratch.path("server.json"));
  const Finished busy = tephra(scratch, {"ckpt", "gc", "--store", store});
  EXPECT_EQ(busy.code, 3);
  EXPECT_NE(busy.err.find("is in use by another process (pid "), std::string::npos) << busy.err;
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().code, 0);
}

// Last: it takes the jobs' records away.
TEST(Checkpoints, SurviveTheLossOfTheIndex) {
  World& w = world();
  const auto before = content_hashes(w.scratch, w.store);
  ASSERT_FALSE(before.empty());
  std::filesystem::remove_all(w.store + "/index");
  w.expect_refused({"ckpt", "gc"}, 1, "tephra store rebuild --store " + w.store);
  w.expect_refused({"run", w.recipe}, 1, "tephra store rebuild --store " + w.store);
  const json report = w.ask({"store", "rebuild"});
  EXPECT_EQ(report["checkpoints"].size(), before.size()) << report.dump(2);
  EXPECT_TRUE(report["left_out"].empty()) << report.dump(2);
  EXPECT_EQ(content_hashes(w.scratch, w.store), before);
  EXPECT_EQ(w.say({"ckpt", "verify"}).code, 0);
  const json stat = w.ask({"store", "stat"});
  EXPECT_EQ(stat["checkpoints"], before.size());
  EXPECT_GT(stat["logical_bytes"], stat["physical_bytes"]) << "the frozen weights are there once";
}

}  // namespace
}  // namespace tephra::e2e
