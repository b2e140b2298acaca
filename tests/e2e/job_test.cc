// Whole jobs on two real ranks, from the command line: they end, leave what they promise and nothing else, and give the same bits
// whatever happened on the way. Kills are real SIGKILLs at points drawn from a printed seed (TEPHRA_TEST_SEED repeats one).
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <random>

#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

std::string tiny() { return std::string(TEPHRA_SOURCE_DIR) + "/tests/e2e/tiny.yaml"; }

std::vector<std::string> run_command(const std::string& store, std::vector<std::string> more = {}) {
  std::vector<std::string> command{"run", tiny(), "--store", store, "--json"};
  command.insert(command.end(), more.begin(), more.end());
  return tephra_command(command);
}

struct Undisturbed {
  Scratch scratch;
  std::string store = scratch.path("store");
  Finished run;
  std::map<std::string, std::string> hashes;
  Undisturbed() : run(Process(run_command(store), scratch.path("")).wait()), hashes(content_hashes(scratch, store)) {}
};

// One undisturbed two-rank run, shared by the tests that compare with it.
const Undisturbed& undisturbed() {
  static const Undisturbed run;
  return run;
}

uint32_t seed() {
  const char* given = std::getenv("TEPHRA_TEST_SEED");
  static const uint32_t value = given != nullptr ? static_cast<uint32_t>(std::atol(given)) : std::random_device{}();
  return value;
}

int steps_seen(const std::string& out) {
  int n = 0;
  for (size_t at = 0; (at = out.find("\"kind\":\"step\"", at)) != std::string::npos; ++at) ++n;
  return n;
}

std::vector<pid_t> ranks_of(const std::string& store) {
  std::vector<pid_t> ranks;
  for (pid_t pid : processes_with("tephra-worker")) {
    std::string line = read_text("/proc/" + std::to_string(pid) + "/cmdline");
    if (line.find("rank") != std::string::npos && line.find("mpirun") == std::string::npos &&
        read_text("/proc/" + std::to_string(pid) + "/environ").find(store) != std::string::npos)
      ranks.push_back(pid);
  }
  return ranks;
}

TEST(Job, RunsBothStagesAndReports) {
  const Undisturbed& u = undisturbed();
  ASSERT_EQ(u.run.code, 0) << u.run.err;
  EXPECT_TRUE(u.hashes.contains("tiny-1/align@12"));
  EXPECT_TRUE(u.hashes.contains("tiny-1/instruct@12"));
  EXPECT_EQ(steps_seen(u.run.out), 24);
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
  Finished run = Process(run_command(store, {"--ranks", "1"}), scratch.path("")).wait();
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(content_hashes(scratch, store), u.hashes);
}

TEST(Job, AKilledRankCostsNothingButTime) {
  std::mt19937 random(seed());
  for (int round = 0; round < 2; ++round) {
    int at = std::uniform_int_distribution<int>(1, 22)(random);
    SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(seed()) + ", rank killed after step event " + std::to_string(at));
    Scratch scratch;
    std::string store = scratch.path("store");
    Process run(run_command(store), scratch.path(""));
    ASSERT_TRUE(run.wait_until([&] { return steps_seen(run.output()) >= at; }, 120s));
    std::vector<pid_t> ranks = ranks_of(store);
    ASSERT_FALSE(ranks.empty());
    kill(ranks[random() % ranks.size()], SIGKILL);
    Finished finished = run.wait();
    ASSERT_EQ(finished.code, 0) << finished.err;
    EXPECT_NE(finished.out.find("\"kind\":\"restart\""), std::string::npos);
    EXPECT_EQ(content_hashes(scratch, store), undisturbed().hashes);
    EXPECT_TRUE(none_left(store));
  }
}

TEST(Job, AKilledCoordinatorRestartsAndFinishes) {
  std::mt19937 random(seed() + 1);
  int at = std::uniform_int_distribution<int>(1, 22)(random);
  SCOPED_TRACE("TEPHRA_TEST_SEED=" + std::to_string(seed()) + ", coordinator killed after step event " +
               std::to_string(at));
  Scratch scratch;
  std::string store = scratch.path("store");
  {
    Process run(run_command(store), scratch.path(""));
    ASSERT_TRUE(run.wait_until([&] { return steps_seen(run.output()) >= at; }, 120s));
    run.signal(SIGKILL);
    run.wait();
  }
  Finished again = Process(run_command(store), scratch.path("")).wait();
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(content_hashes(scratch, store), undisturbed().hashes);
  EXPECT_TRUE(none_left(store));
}

TEST(Job, CtrlCStopsInOrderAndTheSameCommandGoesOn) {
  Scratch scratch;
  std::string store = scratch.path("store");
  {
    Process run(run_command(store), scratch.path(""));
    ASSERT_TRUE(run.wait_until([&] { return steps_seen(run.output()) >= 5; }, 120s));
    run.signal(SIGINT);
    Finished stopped = run.wait();
    EXPECT_EQ(stopped.code, 4) << stopped.err;
    EXPECT_TRUE(none_left(store));
  }
  Finished again = Process(run_command(store), scratch.path("")).wait();
  ASSERT_EQ(again.code, 0) << again.err;
  auto hashes = content_hashes(scratch, store);
  EXPECT_EQ(hashes["tiny-1/instruct@12"], undisturbed().hashes.at("tiny-1/instruct@12"));
}

TEST(Job, ADaemonTakesWatchesAndCancelsJobs) {
  Scratch scratch;
  std::string store = scratch.path("store");
  Process serve(tephra_command({"serve", "--store", store, "--listen", "127.0.0.1:0"}), scratch.path(""));
  ASSERT_TRUE(serve.wait_until([&] { return serve.output().find("serves") != std::string::npos; }, 20s));
  Finished submit = tephra(scratch, {"submit", tiny(), "--store", store, "--set", "stages[0].steps=400", "--json"});
  ASSERT_EQ(submit.code, 0) << submit.err;
  EXPECT_EQ(json::parse(submit.out)["id"], "tiny-1");
  Process watch(tephra_command({"watch", "tiny-1", "--store", store, "--json"}), scratch.path(""));
  ASSERT_TRUE(watch.wait_until([&] { return steps_seen(watch.output()) >= 3; }, 60s));
  Finished ps = tephra(scratch, {"ps", "--store", store, "--json"});
  EXPECT_EQ(json::parse(ps.out)[0]["phase"], "training");
  EXPECT_EQ(tephra(scratch, {"ps", "--store", store}, {{"TEPHRA_TOKEN", "wrong"}}).code, 3);
  EXPECT_EQ(tephra(scratch, {"cancel", "tiny-1", "--store", store}).code, 0);
  EXPECT_EQ(watch.wait(30s).code, 1);
  EXPECT_TRUE(serve.wait_until([&] { return ranks_of(store).empty(); }, 10s));
  Finished show = tephra(scratch, {"show", "tiny-1", "--store", store, "--json"});
  EXPECT_EQ(json::parse(show.out)["phase"], "cancelled");
  Finished logs = tephra(scratch, {"logs", "tiny-1", "--store", store});
  EXPECT_EQ(logs.code, 0) << logs.err;
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(20s).code, 0);
  EXPECT_TRUE(none_left(store));
}

TEST(Job, ExportLoadsAgainAndAnswers) {
  const Undisturbed& u = undisturbed();
  std::string folder = u.scratch.path("exported");
  Finished ex = tephra(u.scratch, {"ckpt", "export", "tiny-1/instruct@latest", "--store", u.store, "--out", folder});
  ASSERT_EQ(ex.code, 0) << ex.err;
  Finished reply =
      tephra(u.scratch, {"generate", "--model", folder, "--prompt", "What is there?", "--max-new-tokens", "4"});
  ASSERT_EQ(reply.code, 0) << reply.err;
  EXPECT_TRUE(json::parse(reply.out).contains("token_ids"));
}

}  // namespace
}  // namespace tephra::e2e
