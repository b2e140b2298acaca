// Whole jobs on two real ranks, from the command line: they end, leave what they promise and nothing else, and give the same bits
// whatever happened on the way. Kills are real SIGKILLs at points drawn from a printed seed (TEPHRA_TEST_SEED repeats one).
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>

#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

// The job with `more` options, one rank of which is killed after step event `at`, ends as the undisturbed one did.
void a_killed_rank(const std::vector<std::string>& more, int at, std::mt19937& random, const Undisturbed& expected) {
  SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(test_seed()) + ", rank killed after step event " +
               std::to_string(at));
  Scratch scratch;
  std::string store = scratch.path("store");
  Process run(run_tiny(store, more), scratch.path(""));
  ASSERT_TRUE(run.wait_until([&] { return events_seen(run.output(), "step") >= at; }, 120s));
  std::vector<pid_t> ranks = gang_of(store, true);
  ASSERT_FALSE(ranks.empty());
  kill(ranks[random() % ranks.size()], SIGKILL);
  Finished finished = run.wait();
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_NE(finished.out.find("\"kind\":\"restart\""), std::string::npos);
  EXPECT_EQ(content_hashes(scratch, store), expected.hashes);
  EXPECT_TRUE(none_left(store));
}

TEST(Job, RunsBothStagesAndReports) {
  const Undisturbed& u = undisturbed();
  ASSERT_EQ(u.run.code, 0) << u.run.err;
  EXPECT_TRUE(u.hashes.contains("tiny-1/align@12"));
  EXPECT_TRUE(u.hashes.contains("tiny-1/instruct@12"));
  EXPECT_EQ(events_seen(u.run.out, "step"), 24);
  json report = json::parse(read_text(u.store + "/jobs/tiny-1/report/report.json"), nullptr, false);
  ASSERT_TRUE(report.is_object());
  std::string html = read_text(u.store + "/jobs/tiny-1/report/report.html");
  EXPECT_NE(html.find("align"), std::string::npos);
  EXPECT_NE(html.find("instruct"), std::string::npos);
  EXPECT_TRUE(none_left(u.store));
}

TEST(Job, StageOneCheckpointsHoldTheConnectorAndItsMomentsOnly) {
  const Undisturbed& u = undisturbed();
  Finished show = tephra(u.scratch, {"ckpt", "show", "tiny-1/align@12", "--store", u.store, "--json"});
  json manifest = json::parse(show.out, nullptr, false);
  ASSERT_TRUE(manifest.is_object()) << show.err;
  double trained = 0;
  for (const json& t : manifest["tensors"]) {
    double elements = 1;
    for (double d : t["shape"]) elements *= d;
    if (!t["frozen"].get<bool>()) trained += 4 * elements;
    EXPECT_EQ(t["frozen"].get<bool>(), t["name"].get<std::string>().find("multi_modal_projector") == std::string::npos)
        << t;
  }
  EXPECT_GT(trained, 0);
  EXPECT_LE(manifest["new_bytes"].get<double>(), trained);
  EXPECT_LT(manifest["new_bytes"].get<double>(), 0.3 * manifest["logical_bytes"].get<double>());
}

TEST(Job, VerifyFindsEverythingInOrder) {
  const Undisturbed& u = undisturbed();
  Finished verify = tephra(u.scratch, {"ckpt", "verify", "--store", u.store});
  EXPECT_EQ(verify.code, 0) << verify.out << verify.err;
}

TEST(Job, OneRankGivesTheSameBitsAsTwo) {
  const Undisturbed& u = undisturbed();
  Scratch scratch;
  std::string store = scratch.path("store");
  Finished run = Process(run_tiny(store, {"--ranks", "1"}), scratch.path("")).wait();
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(content_hashes(scratch, store), u.hashes);
}

// Of each step of each stage what the job's log says last: loss, gradient norm and the hash of its sample ids.
std::map<std::string, json> last_steps(const std::string& store) {
  std::map<std::string, json> steps;
  for (const json& row : metrics_of(store))
    steps[row["stage"].get<std::string>() + "@" + std::to_string(row["step"].get<int>())] = {
        row["loss"], row["grad_norm"], row["loss_tokens"], row["samples_hash"]};
  return steps;
}

// Ctrl-C and the same command with another --ranks, three times: 4 -> 2 -> 1 -> 4, and a kill in the last part. Weights and
// moments, every loss and norm and the samples of every step are those of one undisturbed rank.
TEST(Job, ChangesItsRanksInMidRunWithTheSameBits) {
  std::mt19937 random(test_seed() + 3);
  SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(test_seed()));
  const Undisturbed one({"--ranks", "1"});
  ASSERT_EQ(one.run.code, 0) << one.run.err;
  Scratch scratch;
  const std::string store = scratch.path("store");
  const auto command = [&](int ranks, const std::string& sharding) {
    return run_tiny(store, {"--ranks", std::to_string(ranks), "--set", "gang.oversubscribe=true", "--set",
                            "stages.instruct.sharding=" + sharding});
  };
  const std::pair<int, std::string> parts[] = {{4, "{shard: none}"}, {2, "{recompute: 2}"}, {1, "{}"}};
  for (const auto& [ranks, sharding] : parts) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    Process run(command(ranks, sharding), scratch.path(""));
    const int at = std::uniform_int_distribution<int>(2, 6)(random);
    ASSERT_TRUE(run.wait_until([&] { return events_seen(run.output(), "step") >= at; }, 120s)) << run.output();
    run.signal(SIGINT);
    EXPECT_EQ(run.wait().code, 4);
    EXPECT_TRUE(none_left(store));
  }
  Process run(command(4, "{group_ranks: 2}"), scratch.path(""));
  ASSERT_TRUE(run.wait_until([&] { return events_seen(run.output(), "step") >= 2; }, 120s)) << run.output();
  const std::vector<pid_t> ranks = gang_of(store, true);
  ASSERT_EQ(ranks.size(), 4u);
  kill(ranks[random() % ranks.size()], SIGKILL);
  const Finished finished = run.wait();
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_TRUE(none_left(store));
  const auto hashes = content_hashes(scratch, store);
  for (const char* end : {"tiny-1/align@12", "tiny-1/instruct@12"}) EXPECT_EQ(hashes.at(end), one.hashes.at(end));
  const auto steps = last_steps(store);
  EXPECT_EQ(steps.size(), 24u);
  EXPECT_EQ(steps, last_steps(one.store));
  for (const auto& [step, row] : steps) EXPECT_EQ(row[3].get<std::string>().size(), 32u) << step;
  EXPECT_NE(steps.at("align@1")[3], steps.at("align@2")[3]);
}

TEST(Job, ADivergingStageNamesItsSamplesAndFails) {
  Scratch scratch;
  const std::string store = scratch.path("store");
  // A decay of 99 times the weights, each step: after a few, products of weights are no float32 any more.
  const Finished run =
      Process(run_tiny(store, {"--set",
                               "stages.align.optimizer={kind: sgd, lr: 10, weight_decay: 10, momentum: 0.5, "
                               "clip_norm: 1, max_skipped_steps: 2}",
                               "--set", "stages.align.schedule.kind=constant", "--set", "stages.align.steps=60"}),
              scratch.path(""))
          .wait();
  EXPECT_EQ(run.code, 1) << run.out;
  EXPECT_NE(run.err.find("the 3rd such step in a row, and max_skipped_steps is 2"), std::string::npos) << run.err;
  // Both skipped steps are in the log, each with samples of both ranks: 16 ids, or 4 for each micro-batch at fault.
  size_t warned = 0;
  for (size_t at = 0; (at = run.out.find("; the update was skipped (", at)) != std::string::npos; ++at) ++warned;
  EXPECT_EQ(warned, 2u) << run.out;
  EXPECT_EQ(run.out.find("\"attempt\":2"), std::string::npos) << "it would come out the same again";
  EXPECT_TRUE(none_left(store));
}

TEST(Job, HowStagesAreShardedDoesNotChangeTheBits) {
  const Undisturbed& u = undisturbed();
  const std::vector<std::pair<std::string, std::string>> choices{
      {"{shard: none}", "{shard: gradients, recompute: 2, prefetch: 3}"},
      {"{shard: optimizer, prefetch: 0}", "{shard: none, recompute: all}"},
      {"{group_ranks: 2}", "{shard: gradients, group_ranks: 2}"},
      {"{offload: optimizer}", "{shard: none, offload: optimizer}"},
      {"{offload: parameters, prefetch: auto}", "{offload: parameters, recompute: all}"}};
  for (const auto& [align, instruct] : choices) {
    SCOPED_TRACE(align + ", " + instruct);
    Scratch scratch;
    std::string store = scratch.path("store");
    Finished run = Process(run_tiny(store, {"--set", "stages.align.sharding=" + align, "--set",
                                            "stages.instruct.sharding=" + instruct}),
                           scratch.path(""))
                       .wait();
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(content_hashes(scratch, store), u.hashes);
  }
}

TEST(Job, FeaturesThatAreKeptChangeNoBits) {
  Scratch scratch;
  const std::string store = scratch.path("store");
  const Finished run = Process(run_tiny(store, {"--set", "stages.align.feature_cache=64MiB", "--set",
                                                "stages.instruct.feature_cache=64MiB"}),
                               scratch.path(""))
                           .wait();
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(content_hashes(scratch, store), undisturbed().hashes);
  EXPECT_NE(run.out.find(" were kept from before, in "), std::string::npos) << run.out;
}

// SGD's velocity is a first moment: saved, read by a new attempt and at another number of ranks, and nothing beside it.
TEST(Job, SgdGoesOnWithItsVelocityAfterAKill) {
  const std::string sgd = ".optimizer={kind: sgd, lr: 0.05, momentum: 0.9, nesterov: true}";
  const std::vector<std::string> options{"--set", "stages.align" + sgd, "--set", "stages.instruct" + sgd};
  std::vector<std::string> alone = options;
  alone.insert(alone.end(), {"--ranks", "1"});
  const Undisturbed one(alone);
  ASSERT_EQ(one.run.code, 0) << one.run.err;
  std::mt19937 random(test_seed() + 4);
  a_killed_rank(options, std::uniform_int_distribution<int>(5, 22)(random), random, one);
  const Finished show = tephra(one.scratch, {"ckpt", "show", "tiny-1/align@12", "--store", one.store, "--json"});
  const json manifest = json::parse(show.out, nullptr, false);
  ASSERT_TRUE(manifest.is_object()) << show.err;
  std::map<std::string, int> kinds;
  for (const json& t : manifest["tensors"])
    if (!t["frozen"].get<bool>()) ++kinds[t["kind"]];
  EXPECT_EQ(kinds, (std::map<std::string, int>{{"parameter", 4}, {"first_moment", 4}}));
}

// The same job, the second stage of which trains adapters.
std::vector<std::string> with_lora(std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--set", "stages.instruct.lora={rank: 4, alpha: 8, targets: [q_proj, v_proj, down_proj]}"});
  return more;
}

const Undisturbed& undisturbed_lora() {
  static const Undisturbed run(with_lora());
  return run;
}

TEST(LoraJob, CheckpointsHoldAdaptersAndConnectorOnly) {
  const Undisturbed& u = undisturbed_lora();
  ASSERT_EQ(u.run.code, 0) << u.run.err;
  EXPECT_TRUE(none_left(u.store));
  EXPECT_EQ(u.hashes.at("tiny-1/align@12"), undisturbed().hashes.at("tiny-1/align@12"));
  Finished show = tephra(u.scratch, {"ckpt", "show", "tiny-1/instruct@12", "--store", u.store, "--json"});
  json manifest = json::parse(show.out, nullptr, false);
  ASSERT_TRUE(manifest.is_object()) << show.err;
  EXPECT_EQ(manifest["handover"]["lora"], "rank 4, alpha 8, targets q_proj, v_proj, down_proj");
  int adapters = 0;
  double trained = 0;
  for (const json& t : manifest["tensors"]) {
    const std::string name = t["name"];
    const bool adapter = name.find(".lora_") != std::string::npos;
    adapters += adapter ? 1 : 0;
    EXPECT_EQ(t["frozen"].get<bool>(), !adapter && name.find("multi_modal_projector") == std::string::npos) << t;
    double bytes = 4;
    for (double d : t["shape"]) bytes *= d;
    if (!t["frozen"].get<bool>()) trained += bytes;
  }
  EXPECT_GT(adapters, 0);
  EXPECT_EQ(adapters % 18, 0) << "A, B and two moments of each, on three projections of every block";
  EXPECT_LE(manifest["new_bytes"].get<double>(), trained);
  EXPECT_LT(manifest["new_bytes"].get<double>(), 0.3 * manifest["logical_bytes"].get<double>());
}

TEST(LoraJob, OneRankGivesTheSameBitsAsTwo) {
  Scratch scratch;
  std::string store = scratch.path("store");
  Finished run = Process(run_tiny(store, with_lora({"--ranks", "1"})), scratch.path("")).wait();
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(content_hashes(scratch, store), undisturbed_lora().hashes);
}

TEST(LoraJob, AKilledRankCostsNothingButTime) {
  std::mt19937 random(test_seed() + 2);
  // In the second stage, after its first checkpoint.
  a_killed_rank(with_lora(), std::uniform_int_distribution<int>(17, 22)(random), random, undisturbed_lora());
}

// With a learning rate of 0 the second stage ends with what it began with: the first one's adapters.
TEST(LoraJob, AStageGoesOnWithTheAdaptersOfTheOneBefore) {
  Scratch scratch;
  const std::string store = scratch.path("store"), lora = ".lora={rank: 2, targets: [q_proj, up_proj]}";
  Finished run = Process(run_tiny(store, {"--set", "stages.align" + lora, "--set", "stages.align.train=[llm]", "--set",
                                          "stages.align.steps=2", "--set", "stages.align.evaluate=[]", "--set",
                                          "stages.instruct" + lora, "--set", "stages.instruct.optimizer.lr=0", "--set",
                                          "stages.instruct.steps=1", "--set", "stages.instruct.evaluate=[]"}),
                         scratch.path(""))
                     .wait();
  ASSERT_EQ(run.code, 0) << run.err;
  const auto adapters = [&](const std::string& checkpoint) {
    std::map<std::string, std::string> contents;
    const json manifest =
        json::parse(tephra(scratch, {"ckpt", "show", checkpoint, "--store", store, "--json"}).out, nullptr, false);
    for (const json& t : manifest["tensors"])
      if (t["kind"] == "parameter" && t["name"].get<std::string>().find(".lora_") != std::string::npos)
        contents[t["name"]] = t["content"];
    return contents;
  };
  const auto before = adapters("tiny-1/align@2");
  EXPECT_EQ(adapters("tiny-1/instruct@1"), before);
  const std::string layers = "language_model.model.layers.", b = ".self_attn.q_proj.lora_B.weight";
  ASSERT_TRUE(before.contains(layers + "0" + b));
  EXPECT_NE(before.at(layers + "0" + b), before.at(layers + "1" + b)) << "both are still zero";
}

TEST(LoraJob, MergedExportAnswersAndSeparateExportIsSmall) {
  const Undisturbed& u = undisturbed_lora();
  const std::string merged = u.scratch.path("merged"), separate = u.scratch.path("separate");
  Finished ex = tephra(u.scratch, {"ckpt", "export", "tiny-1/instruct@latest", "--store", u.store, "--out", merged});
  ASSERT_EQ(ex.code, 0) << ex.err;
  Finished reply =
      tephra(u.scratch, {"generate", "--model", merged, "--prompt", "What is there?", "--max-new-tokens", "4"});
  ASSERT_EQ(reply.code, 0) << reply.err;
  EXPECT_TRUE(json::parse(reply.out).contains("token_ids"));
  ex = tephra(u.scratch, {"ckpt", "export", "tiny-1/instruct@latest", "--store", u.store, "--lora", "separate",
                          "--layout", "original", "--out", separate});
  ASSERT_EQ(ex.code, 0) << ex.err;
  const json config = json::parse(read_text(separate + "/adapter_config.json"), nullptr, false);
  ASSERT_TRUE(config.is_object());
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(std::filesystem::canonical(config["base_model_name_or_path"].get<std::string>()),
            std::filesystem::canonical(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language"));
  EXPECT_LT(10 * std::filesystem::file_size(separate + "/adapter_model.safetensors"),
            std::filesystem::file_size(merged + "/model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(separate + "/mm_projector.safetensors"));
  ex = tephra(u.scratch, {"ckpt", "export", "tiny-1/align@latest", "--store", u.store, "--lora", "separate", "--out",
                          u.scratch.path("none")});
  EXPECT_EQ(ex.code, 2);
  EXPECT_NE(ex.err.find("trained without lora"), std::string::npos) << ex.err;
}

TEST(LoraJob, PlanCountsNoMomentsForFrozenWeights) {
  Scratch scratch;
  const auto instruct = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command{"plan", tiny_recipe(), "--json"};
    command.insert(command.end(), more.begin(), more.end());
    return json::parse(tephra(scratch, command).out)[1];
  };
  const json whole = instruct({}), lora = instruct(with_lora());
  EXPECT_LT(10 * lora["optimizer_shard_bytes"].get<double>(), whole["optimizer_shard_bytes"].get<double>());
  EXPECT_LT(10 * lora["reduced_bytes_per_step_and_rank"].get<double>(),
            whole["reduced_bytes_per_step_and_rank"].get<double>());
  EXPECT_GT(lora["parameter_shard_bytes"].get<double>(), whole["parameter_shard_bytes"].get<double>());
}

TEST(Plan, PrintsTheScheduleOfTheRecipesChoice) {
  Scratch scratch;
  const auto dumped = [&](const std::string& sharding) {
    const auto ran =
        tephra(scratch, {"plan", tiny_recipe(), "--dump-schedule", "--set", "stages.align.sharding=" + sharding});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out;
  };
  const std::string deep = dumped("{shard: parameters, recompute: 2, prefetch: 2}");
  EXPECT_NE(deep.find("shard parameters, one in 2 units recomputed, prefetch 2\ngather "), std::string::npos) << deep;
  EXPECT_NE(deep.find("; gathering "), std::string::npos);
  EXPECT_NE(deep.find("\nrecompute llm.block."), std::string::npos);
  EXPECT_NE(deep.find("\nreduce_scatter connector\nfree connector\nstep\n"), std::string::npos) << deep;
  const std::string whole = dumped("{shard: none}");
  const std::string align = whole.substr(0, whole.find("\nstep\n"));
  EXPECT_NE(align.find("\nall_reduce connector"), std::string::npos) << whole;
  EXPECT_EQ(align.find("\ngather "), std::string::npos) << whole;
}

TEST(Job, AKilledRankCostsNothingButTime) {
  std::mt19937 random(test_seed());
  const char* const shardings[] = {"{}", "{shard: none, recompute: all}", "{shard: optimizer, prefetch: 0}",
                                   "{shard: gradients, recompute: 2, prefetch: 3}", "{reshard_after_forward: false}"};
  for (int round = 0; round < 2; ++round) {
    int at = std::uniform_int_distribution<int>(1, 22)(random);
    const std::string sharding = shardings[random() % std::size(shardings)];
    SCOPED_TRACE("sharding " + sharding);
    a_killed_rank({"--set", "stages.align.sharding=" + sharding, "--set", "stages.instruct.sharding=" + sharding}, at,
                  random, undisturbed());
  }
}

TEST(Job, AKilledCoordinatorRestartsAndFinishes) {
  std::mt19937 random(test_seed() + 1);
  int at = std::uniform_int_distribution<int>(1, 22)(random);
  SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(test_seed()) + ", coordinator killed after step event " +
               std::to_string(at));
  Scratch scratch;
  std::string store = scratch.path("store");
  {
    Process run(run_tiny(store), scratch.path(""));
    ASSERT_TRUE(run.wait_until([&] { return events_seen(run.output(), "step") >= at; }, 120s));
    run.signal(SIGKILL);
    run.wait();
  }
  Finished again = Process(run_tiny(store), scratch.path("")).wait();
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(content_hashes(scratch, store), undisturbed().hashes);
  EXPECT_TRUE(none_left(store));
}

TEST(Job, CtrlCStopsInOrderAndTheSameCommandGoesOn) {
  Scratch scratch;
  std::string store = scratch.path("store");
  {
    Process run(run_tiny(store), scratch.path(""));
    ASSERT_TRUE(run.wait_until([&] { return events_seen(run.output(), "step") >= 5; }, 120s));
    run.signal(SIGINT);
    Finished stopped = run.wait();
    EXPECT_EQ(stopped.code, 4) << stopped.err;
    EXPECT_TRUE(none_left(store));
  }
  Finished again = Process(run_tiny(store), scratch.path("")).wait();
  ASSERT_EQ(again.code, 0) << again.err;
  auto hashes = content_hashes(scratch, store);
  EXPECT_EQ(hashes["tiny-1/instruct@12"], undisturbed().hashes.at("tiny-1/instruct@12"));
}

TEST(Job, ADaemonTakesWatchesAndCancelsJobs) {
  Scratch scratch;
  std::string store = scratch.path("store");
  Process serve(tephra_command({"serve", "--store", store, "--listen", "127.0.0.1:0"}), scratch.path(""));
  ASSERT_TRUE(serve.wait_until([&] { return serve.output().find("serves") != std::string::npos; }, 20s));
  Finished submit =
      tephra(scratch, {"submit", tiny_recipe(), "--store", store, "--set", "stages[0].steps=400", "--json"});
  ASSERT_EQ(submit.code, 0) << submit.err;
  EXPECT_EQ(json::parse(submit.out)["id"], "tiny-1");
  Process watch(tephra_command({"watch", "tiny-1", "--store", store, "--json"}), scratch.path(""));
  ASSERT_TRUE(
      watch.wait_until([&] { return watch.output().find("\"kind\":\"checkpoint\"") != std::string::npos; }, 60s));
  Finished ps = tephra(scratch, {"ps", "--store", store, "--json"});
  EXPECT_EQ(json::parse(ps.out)[0]["phase"], "training");
  EXPECT_EQ(tephra(scratch, {"ps", "--store", store}, {{"TEPHRA_TOKEN", "wrong"}}).code, 3);
  EXPECT_EQ(tephra(scratch, {"cancel", "tiny-1", "--store", store}).code, 0);
  EXPECT_EQ(watch.wait(30s).code, 1);
  EXPECT_TRUE(serve.wait_until([&] { return gang_of(store, true).empty(); }, 10s));
  Finished show = tephra(scratch, {"show", "tiny-1", "--store", store, "--json"});
  EXPECT_EQ(json::parse(show.out)["phase"], "cancelled");
  Finished report = tephra(scratch, {"report", "tiny-1", "--store", store, "--json"});
  ASSERT_EQ(report.code, 0) << report.err;
  EXPECT_TRUE(json::parse(report.out)["ended_early"].get<std::string>().starts_with("cancelled")) << report.out;
  EXPECT_EQ(json::parse(report.out)["stages"].size(), 1u);
  Finished logs = tephra(scratch, {"logs", "tiny-1", "--store", store});
  EXPECT_EQ(logs.code, 0) << logs.err;
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(20s).code, 0);
  EXPECT_TRUE(none_left(store));
}

TEST(Job, ExportLoadsAgainAndAnswers) {
  const Undisturbed& u = undisturbed();
  std::string folder = u.scratch.path("exported");
  Finished ex = tephra(u.scratch, {"ckpt", "export", "tiny-1/instruct@latest", "--store", u.store, "--out", folder,
                                   "--max-shard-size", "1MB"});
  ASSERT_EQ(ex.code, 0) << ex.err;
  EXPECT_TRUE(std::filesystem::exists(folder + "/model.safetensors.index.json"));
  for (const auto& file : std::filesystem::directory_iterator(folder))
    if (file.path().extension() == ".safetensors") {
      EXPECT_LE(file.file_size(), 1'020'000u) << file.path();
    }
  Finished reply =
      tephra(u.scratch, {"generate", "--model", folder, "--prompt", "What is there?", "--max-new-tokens", "4"});
  ASSERT_EQ(reply.code, 0) << reply.err;
  EXPECT_TRUE(json::parse(reply.out).contains("token_ids"));
  // A sample's loss is its own, whatever stands beside it.
  const auto sample = [](const std::string& id, const std::string& answer) {
    return json{
        {"id", id},
        {"conversations", {{{"from", "human"}, {"value", "What is there?"}}, {{"from", "gpt"}, {"value", answer}}}}};
  };
  const json all = {sample("a", "a large red circle in the northwest"), sample("b", "nothing")};
  const auto score = [&](const json& samples) {
    const std::string file = u.scratch.write("talk.json", samples.dump());
    Finished run = tephra(u.scratch, {"score", "--model", folder, "--data", file, "--template", "v1", "--json"});
    EXPECT_EQ(run.code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  };
  const json together = score(all), alone = score({all[1]});
  ASSERT_EQ(together.size(), 2u) << together;
  EXPECT_EQ(together[0]["id"], "a");
  EXPECT_GT(together[0]["tokens"], together[1]["tokens"]);
  EXPECT_GT(together[1]["loss"].get<double>(), 0);
  ASSERT_EQ(alone.size(), 1u) << alone;
  EXPECT_EQ(alone[0]["tokens"], together[1]["tokens"]);
  EXPECT_NEAR(alone[0]["loss"].get<double>(), together[1]["loss"].get<double>(), 1e-5);
}

}  // namespace
}  // namespace tephra::e2e
