// What is proved, with real mpirun gangs of fake ranks (fake_worker.h): a job runs to its report; lost ranks lead to a
// new attempt from the last commit, and the result has the same bytes; a killed coordinator's successor goes on; cancel
// leaves no process; a gang that does not fit waits or is refused.
#include "coordinator/coordinator.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <set>

#include "base/env.h"
#include "coordinator/journal.h"
#include "eval/score/results.h"
#include "fake_worker.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"
#include "tests/base/temp_dir.h"
#include "tests/coordinator/ear.h"
#include "tests/coordinator/running.h"
#include "victim.h"

extern char** environ;

namespace tephra::coordinator {
namespace {

using std::chrono::seconds;

JobState run_to_end(Coordinator& coordinator, const std::string& recipe) {
  const Result<std::string> id = coordinator.submit(recipe, "tester");
  EXPECT_TRUE(id.ok()) << id.status().to_string();
  if (!id.ok()) return {};
  return ended(coordinator, *id);
}

// The job's report.json.
nlohmann::json report_of(Coordinator& coordinator, const std::string& job) {
  const JobView view = *coordinator.get(job);
  EXPECT_TRUE(std::filesystem::exists(view.report_path)) << "no report";
  const auto text = read_file(Env::posix(), view.directory + "/report/report.json");
  return text.ok() ? nlohmann::json::parse(*text) : nlohmann::json();
}

TEST(Coordinator, RunsAJobToItsReport) {
  TempDir dir;
  auto coordinator = start(dir / "store");
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  Ear ear(*coordinator, "");
  const JobState state = run_to_end(*coordinator, recipe);
  ASSERT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.id, "demo-1");
  EXPECT_EQ(state.attempt, 1u);
  EXPECT_EQ(state.stages[0].checkpoints, (std::vector<std::string>{"demo-1/lm@2", "demo-1/lm@4", "demo-1/lm@5"}));
  EXPECT_EQ(state.stages[0].gave_way, std::vector<int64_t>{1}) << "as each checkpoint's metadata says";
  EXPECT_EQ(state.stages[1].checkpoint, "demo-1/more@5");

  const auto reader = coordinator->store().reader("demo-1/more@5");
  ASSERT_TRUE(reader.ok()) << reader.status().to_string();
  std::vector<float> w(kFakeElements);
  ASSERT_TRUE((*reader)->read_float32("w", 0, kFakeElements, w.data()).ok());
  EXPECT_EQ(w.front(), 10) << "the second stage starts from the first's end";
  EXPECT_EQ(w.back(), 10);
  EXPECT_TRUE((*reader)->has_state("w", storage::StateKind::kFirstMoment));
  EXPECT_TRUE((*reader)->manifest().stage_complete);
  EXPECT_EQ((*reader)->manifest().handover.at("template"), "v1");

  const JobView view = *coordinator->get("demo-1");
  const nlohmann::json report = report_of(*coordinator, "demo-1");
  EXPECT_EQ(report["stages"].size(), 2u);
  EXPECT_EQ(report["ended_early"], "");
  const auto text = read_file(Env::posix(), view.directory + "/eval/more/quiz.result.json");
  ASSERT_TRUE(text.ok()) << text.status().to_string();
  const auto result = eval::from_json(*text);
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_EQ(result->counts.at("total"), 24);
  EXPECT_EQ(result->counts.at("correct"), 24);
  const auto metrics = read_file(Env::posix(), view.directory + "/metrics.jsonl");
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(std::count(metrics->begin(), metrics->end(), '\n'), 10);

  std::set<JobEvent::Kind> kinds;
  for (const JobEvent& event : ear.events()) kinds.insert(event.kind);
  for (const auto kind : {JobEvent::Kind::kState, JobEvent::Kind::kStep, JobEvent::Kind::kCheckpoint,
                          JobEvent::Kind::kBenchProgress, JobEvent::Kind::kBenchResult, JobEvent::Kind::kReport})
    EXPECT_TRUE(kinds.contains(kind)) << kind_name(kind);
  const auto leases = coordinator->store().leases();
  EXPECT_TRUE(leases.ok() && leases->empty());
}

TEST(Coordinator, ALostRankLeadsToANewAttemptWithTheSameResult) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  std::string whole;
  {
    auto coordinator = start(dir / "whole");
    ASSERT_EQ(run_to_end(*coordinator, recipe).phase, Phase::kDone);
    whole = content_of(*coordinator, "demo-1/more@5");
  }
  Plan plan(R"({"die": {"attempt": 1, "rank": 1, "stage": "lm", "step": 4}})");
  auto coordinator = start(dir / "broken");
  Ear ear(*coordinator, "");
  const JobState state = run_to_end(*coordinator, recipe);
  ASSERT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.attempt, 2u);
  EXPECT_EQ(state.restarts_total, 1);
  EXPECT_NE(state.reason.find("rank 1"), std::string::npos) << state.reason;
  EXPECT_NE(state.reason.find("signal 9"), std::string::npos) << state.reason;
  EXPECT_NE(state.reason.find("is gone: its connection closed without a word"), std::string::npos) << state.reason;
  const auto report =
      read_file(Env::posix(), coordinator->get("demo-1")->directory + "/logs/attempt-1/flight_report.json");
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  const nlohmann::json lost = nlohmann::json::parse(*report);
  EXPECT_EQ(lost["behind"], 1);
  // Rank 0 is asked before it is ended; on a busy machine its end may come before its answer.
  const std::string waits = lost["ranks"][0]["waits_for"];
  if (lost["ranks"][0]["answered"] == true || !waits.empty()) {
    EXPECT_TRUE(waits.starts_with("all_gather #5 of w for ")) << waits;
    EXPECT_TRUE(waits.ends_with("; not begun by rank 1")) << waits;
  }
  EXPECT_EQ(content_of(*coordinator, "demo-1/more@5"), whole);
  EXPECT_TRUE(ear.wait_for([](const JobEvent& e) { return e.kind == JobEvent::Kind::kRestart; }));
}

TEST(Coordinator, AsksRunningRanksForTheirFlights) {
  TempDir dir;
  Plan plan(R"({"hold": {"stage": "lm", "step": 3}, "mute": 1})");
  auto coordinator = start(dir / "store");
  const auto ask = [&](const std::string& job) {
    std::promise<Result<GangFlight>> answer;
    coordinator->flights(job, 1000, [&](Result<GangFlight> gang) { answer.set_value(std::move(gang)); });
    return answer.get_future().get();
  };
  EXPECT_EQ(ask("demo-9").status().code(), Code::kNotFound);
  Ear ear(*coordinator, "");
  ASSERT_TRUE(coordinator->submit(make_recipe(dir.path(), 2, 5), "tester").ok());
  ASSERT_TRUE(ear.wait_for_step(2));
  const Result<GangFlight> gang = ask("demo-1");
  ASSERT_TRUE(gang.ok()) << gang.status().to_string();
  EXPECT_EQ(gang->stage, "lm");
  ASSERT_EQ(gang->ranks.size(), 2u);
  ASSERT_TRUE(gang->ranks[0].flight.has_value());
  EXPECT_EQ(gang->ranks[0].flight->sequence, 5u);
  EXPECT_FALSE(gang->ranks[1].flight.has_value()) << "it does not answer, and is not waited for";
  EXPECT_TRUE(gang->ranks[1].connected);
  EXPECT_EQ(gang->ranks[1].heartbeat.phase, "load");
  ASSERT_TRUE(coordinator->cancel("demo-1", "enough").ok());
  ASSERT_TRUE(coordinator->wait("demo-1", Deadline::after(seconds(20))).ok());
  EXPECT_EQ(ask("demo-1").status().code(), Code::kUnavailable) << "no ranks run";
}

TEST(Coordinator, AnEvaluationGoesOnBehindTheAnswersItHas) {
  TempDir dir;
  Plan plan(R"({"die": {"attempt": 1, "rank": 0, "bench": "quiz", "answers": 5}})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 2, 2));
  ASSERT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.attempt, 2u);
  const std::string job = (*coordinator->get("demo-1")).directory;
  std::ifstream in(job + "/eval/more/quiz.answers.jsonl");
  std::multiset<std::string> ids;
  for (std::string line; std::getline(in, line);) ids.insert(nlohmann::json::parse(line).at("id"));
  EXPECT_EQ(ids.size(), 24u) << "no question was asked twice";
}

TEST(Coordinator, DoesNotRetryAPermanentFailure) {
  TempDir dir;
  Plan plan(R"({"fail": {"rank": 0, "stage": "lm", "step": 2}})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 2, 3));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.attempt, 1u);
  EXPECT_EQ(state.reason, "rank 0: a step that cannot work");
  EXPECT_EQ(coordinator->get("demo-1")->report_path, "") << "nothing was trained";
}

// What ranks find different is no echo of a lost peer, after which another attempt would help.
TEST(Coordinator, DoesNotRetryWhenRanksDiffer) {
  TempDir dir;
  Plan plan(R"({"differ": {"rank": 1, "stage": "lm", "step": 2}})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 2, 3));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.attempt, 1u);
  EXPECT_EQ(state.reason, "rank 1: ranks 0 and 1 differ");
}

TEST(Coordinator, AFailedJobHasAReportOfWhatItDid) {
  TempDir dir;
  Plan plan(R"({"fail": {"rank": 0, "stage": "more", "step": 4}})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 2, 5));
  EXPECT_EQ(state.phase, Phase::kFailed);
  const nlohmann::json report = report_of(*coordinator, "demo-1");
  EXPECT_EQ(report["ended_early"], "failed: rank 0: a step that cannot work");
  ASSERT_EQ(report["stages"].size(), 2u);
  EXPECT_EQ(report["stages"][0]["notes"], nlohmann::json::array());
  EXPECT_EQ(report["stages"][0]["curve"].size(), 5u);
  EXPECT_EQ(report["stages"][1]["checkpoint"], "demo-1/more@2");
  EXPECT_EQ(report["stages"][1]["notes"],
            (nlohmann::json{"not finished; its last checkpoint is of step 2", "bench quiz was not finished"}));
}

TEST(Coordinator, GivesUpAfterMaxRestarts) {
  TempDir dir;
  Plan plan(R"({"die": {"rank": 0, "stage": "lm", "step": 1}})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 1, 3, 1));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.attempt, 2u);
  EXPECT_NE(state.reason.find("after 1 restarts"), std::string::npos) << state.reason;
}

TEST(Coordinator, CancelEndsEveryProcess) {
  for (const char* text :
       {R"({"hold": {"stage": "lm", "step": 3}})", R"({"hold": {"stage": "lm", "step": 3}, "deaf": true})"}) {
    TempDir dir;
    Plan plan(text);
    Options options = make_options(dir / "store");
    options.stop_grace = std::chrono::milliseconds(500);
    auto started = Coordinator::start(options);
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    Coordinator& coordinator = **started;
    Ear ear(coordinator, "");
    const Result<std::string> id = coordinator.submit(make_recipe(dir.path(), 2, 5), "tester");
    ASSERT_TRUE(id.ok()) << id.status().to_string();
    ASSERT_TRUE(ear.wait_for_step(2));
    const JobView view = *coordinator.get(*id);
    ASSERT_EQ(view.ranks.size(), 2u);
    ASSERT_TRUE(coordinator.cancel(*id, "enough").ok());
    const Result<JobState> state = coordinator.wait(*id, Deadline::after(seconds(20)));
    ASSERT_TRUE(state.ok()) << state.status().to_string();
    EXPECT_EQ(state->phase, Phase::kCancelled);
    EXPECT_EQ(state->cancel_reason, "enough");
    const nlohmann::json report = report_of(coordinator, *id);
    EXPECT_EQ(report["ended_early"], "cancelled: enough");
    EXPECT_EQ(report["stages"].size(), 1u);
    for (const RankView& rank : view.ranks) EXPECT_FALSE(is_running(rank.pid)) << "rank " << rank.rank;
    EXPECT_FALSE(is_running(view.state.gang_record.pid));
    EXPECT_TRUE(coordinator.cancel(*id, "again").ok()) << "a job that has ended";
    EXPECT_EQ(coordinator.cancel("demo-9", "x").code(), Code::kNotFound);
  }
}

TEST(Coordinator, ShutdownKeepsTheJobForTheNextStart) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  std::vector<RankView> ranks;
  {
    Plan plan(R"({"hold": {"stage": "lm", "step": 3}})");
    auto coordinator = start(dir / "store");
    Ear ear(*coordinator, "");
    const Result<std::string> id = coordinator->submit(recipe, "tester");
    ASSERT_TRUE(id.ok()) << id.status().to_string();
    ASSERT_TRUE(ear.wait_for_step(2));
    ranks = (*coordinator->get(*id)).ranks;
    coordinator->shutdown();
    EXPECT_EQ(coordinator->wait(*id, Deadline::after(seconds(1))).status().code(), Code::kCancelled);
    for (const RankView& rank : ranks) EXPECT_FALSE(is_running(rank.pid));
    EXPECT_FALSE(coordinator->submit(recipe, "tester").ok());
  }
  auto coordinator = start(dir / "store");
  const Result<JobState> state = coordinator->wait("demo-1", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
  EXPECT_EQ(state->attempt, 2u);
}

TEST(Coordinator, AFinishedJobIsWholeFromTheJournalAndAfterARestart) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 1, 2);
  std::string report;
  {
    auto coordinator = start(dir / "store");
    ASSERT_EQ(*coordinator->submit(recipe, "tester", {"key", "hash"}), "demo-1");
    ASSERT_EQ(coordinator->wait("demo-1", Deadline::after(seconds(60)))->phase, Phase::kDone);
    // Its runner is gone; what is asked for is in the journal.
    const Result<JobView> view = coordinator->get("demo-1");
    ASSERT_TRUE(view.ok()) << view.status().to_string();
    report = view->report_path;
    EXPECT_NE(report, "");
    EXPECT_EQ(view->state.recipe_json, recipe);
    JobQuery done;
    done.phases = {Phase::kDone};
    done.user = "tester";
    ASSERT_EQ(coordinator->page(done)->jobs.size(), 1u);
    EXPECT_EQ(coordinator->page(done)->jobs[0].state.stages[1].step, 2);
    EXPECT_EQ(coordinator->page(done)->jobs[0].state.recipe_json, "");
    done.ended_since_unix_ms = view->state.finished_unix_ms + 1;
    EXPECT_EQ(coordinator->page(done)->jobs.size(), 0u);
    EXPECT_EQ(coordinator->page(unfinished_jobs())->jobs.size(), 0u);
    EXPECT_EQ(coordinator->workload().jobs, (std::map<Phase, int64_t>{{Phase::kDone, 1}}));
    EXPECT_EQ(coordinator->history("demo-1", 0, 1)->size(), 1u);
    EXPECT_TRUE(coordinator->cancel("demo-1", "late").ok());
    EXPECT_TRUE(coordinator->resume("demo-1").ok());
    EXPECT_EQ(*coordinator->submit(recipe, "tester", {"key", "hash"}), "demo-1");
    EXPECT_EQ(coordinator->submit(recipe, "tester", {"key", "other"}).status().code(), Code::kAlreadyExists);
    std::promise<Status> asked;
    coordinator->flights("demo-1", 1, [&](const Result<GangFlight>& flights) { asked.set_value(flights.status()); });
    EXPECT_EQ(asked.get_future().get().message(),
              "no ranks of job demo-1 run at present; it is done, and attempt 1 may have filed its last records");
  }
  auto coordinator = start(dir / "store");
  const JobView view = *coordinator->get("demo-1");
  EXPECT_EQ(view.state.recipe_json, recipe) << "read when it is asked for";
  EXPECT_EQ(view.report_path, report);
  EXPECT_EQ(coordinator->page({})->jobs.front().report_path, report);
  EXPECT_EQ(coordinator->wait("demo-1", Deadline::after(seconds(1)))->phase, Phase::kDone);
  EXPECT_TRUE(coordinator->cancel("demo-1", "late").ok());
  EXPECT_EQ(coordinator->wait("demo-2", Deadline::after(seconds(1))).status().code(), Code::kNotFound);
  EXPECT_EQ(*coordinator->submit(recipe, "tester"), "demo-2");
}

// Stopped on 2 ranks, gone on with on 4, then on 1: the checkpoints are those of a job that stayed on 2.
TEST(Coordinator, GoesOnWithAnotherNumberOfRanks) {
  TempDir dir;
  const auto start_with = [&](int ranks) {
    Options options = make_options(dir / "store");
    options.slots = 4;
    options.goes_on_with = make_recipe(dir.path(), ranks, 5);
    return Coordinator::start(options);
  };
  const auto hold_at = [&](int ranks, uint32_t attempt, const char* stage) {
    const std::string text = nlohmann::json{{"hold", {{"attempt", attempt}, {"stage", stage}, {"step", 3}}}}.dump();
    Plan plan(text.c_str());
    auto coordinator = start_with(ranks);
    ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
    Ear ear(**coordinator, "");
    if (attempt == 1) {
      ASSERT_TRUE((*coordinator)->submit(make_recipe(dir.path(), ranks, 5), "tester").ok());
    }
    const std::string checkpoint = std::string("demo-1/") + stage + "@2";
    ASSERT_TRUE(ear.wait_for([&](const JobEvent& e) { return e.checkpoint == checkpoint; }));
    const JobView view = *(*coordinator)->get("demo-1");
    EXPECT_EQ(view.state.world, ranks);
    EXPECT_EQ(view.ranks.size(), static_cast<size_t>(ranks));
    EXPECT_EQ(view.state.attempt, attempt);
    (*coordinator)->shutdown();
  };
  hold_at(2, 1, "lm");
  Options two_slots = make_options(dir / "store");
  two_slots.goes_on_with = make_recipe(dir.path(), 4, 5);
  const Status refused = Coordinator::start(two_slots).status();
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.message(),
            "recipe wants 4 ranks x 1 threads but this machine has 2 slots; set gang.ranks: 2 or --set "
            "gang.oversubscribe=true");
  hold_at(4, 2, "more");
  auto coordinator = start_with(1);
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  const Result<JobState> state = (*coordinator)->wait("demo-1", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
  EXPECT_EQ(state->world, 1);
  EXPECT_EQ((*coordinator)->page({})->jobs.size(), 1u);
  const auto recipe = read_file(Env::posix(), (*coordinator)->get("demo-1")->directory + "/recipe.json");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(*recipe, make_recipe(dir.path(), 1, 5)) << "as resolved last";

  TempDir other;
  auto undisturbed = start(other / "store");
  ASSERT_EQ(run_to_end(*undisturbed, make_recipe(other.path(), 2, 5)).phase, Phase::kDone);
  EXPECT_EQ(content_of(**coordinator, "demo-1/more@5"), content_of(*undisturbed, "demo-1/more@5"));
}

TEST(Coordinator, RefusesRanksOfDifferentBuilds) {
  TempDir dir;
  Plan plan(R"({"builds": ["fake 1", "fake 2"]})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(*coordinator, make_recipe(dir.path(), 2, 3));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.attempt, 1u) << "another attempt would have the same builds";
  const std::string zero = "rank 0 is of build fake 1 and rank 1 of build fake 2; install the same one everywhere",
                    one = "rank 1 is of build fake 2 and rank 0 of build fake 1; install the same one everywhere";
  EXPECT_TRUE(state.reason == zero || state.reason == one) << state.reason;
  EXPECT_TRUE(state.stages[0].checkpoints.empty()) << "before any work";
}

TEST(Coordinator, ItsSuccessorGoesOnAfterAKill) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  std::ofstream(dir / "recipe.json") << recipe;
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  pid_t victim = 0;
  {
    Plan plan(R"({"hold": {"attempt": 1, "stage": "more", "step": 3}, "deaf": true})");
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, pipe_ends[1], 1);
    std::string self = self_path(), store = dir / "store", file = dir / "recipe.json", mode = "victim";
    char* words[] = {self.data(), mode.data(), store.data(), file.data(), nullptr};
    ASSERT_EQ(posix_spawn(&victim, self.c_str(), &files, nullptr, words, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    close(pipe_ends[1]);
  }
  // Three checkpoints of the first stage, one of the second; then its ranks hold.
  FILE* lines = fdopen(pipe_ends[0], "r");
  char line[128];
  int checkpoints = 0;
  while (checkpoints < 4 && fgets(line, sizeof line, lines) != nullptr) ++checkpoints;
  EXPECT_EQ(checkpoints, 4) << line;
  kill(victim, SIGKILL);
  int ended = 0;
  waitpid(victim, &ended, 0);
  fclose(lines);

  int64_t gang_pid = 0;
  {
    auto store = storage::Store::open(Env::posix(), dir / "store", storage::OpenMode::kReadOnly);
    ASSERT_TRUE(store.ok()) << store.status().to_string();
    auto jobs = Journal(**store).load();
    ASSERT_TRUE(jobs.ok()) << jobs.status().to_string();
    ASSERT_EQ(jobs->size(), 1u);
    gang_pid = jobs->front().state.gang_record.pid;
    EXPECT_EQ(jobs->front().state.stages[1].checkpoint, "demo-1/more@2");
    EXPECT_EQ(jobs->front().state.phase, Phase::kTraining);
  }
  EXPECT_GT(gang_pid, 0);
  auto coordinator = start(dir / "store");
  ASSERT_NE(coordinator, nullptr);
  EXPECT_FALSE(is_running(gang_pid)) << "what the killed one left is ended before anything starts";
  const Result<JobState> state = coordinator->wait("demo-1", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
  EXPECT_EQ(state->attempt, 2u);
  const auto reader = coordinator->store().reader("demo-1/more@5");
  ASSERT_TRUE(reader.ok());
  float w = 0;
  ASSERT_TRUE((*reader)->read_float32("w", 0, 1, &w).ok());
  EXPECT_EQ(w, 10);
}

TEST(Coordinator, RefusesAGangThatCanNeverFit) {
  TempDir dir;
  auto coordinator = start(dir / "store");
  const std::string recipe = make_recipe(dir.path(), 4, 3);
  const Result<std::string> id = coordinator->submit(recipe, "tester");
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.status().code(), Code::kUnavailable);
  EXPECT_EQ(id.status().message(),
            "recipe wants 4 ranks x 1 threads but this machine has 2 slots; set gang.ranks: 2 or --set "
            "gang.oversubscribe=true");
  auto parsed = *recipes::from_json(recipe);
  parsed.gang.oversubscribe = true;
  EXPECT_EQ(run_to_end(*coordinator, recipes::to_json(parsed)).phase, Phase::kDone);
}

TEST(Coordinator, RunsJobsInOrderWhenSlotsAreFree) {
  TempDir dir;
  auto coordinator = start(dir / "store", 2);
  const std::string recipe = make_recipe(dir.path(), 2, 2);
  Ear ear(*coordinator, "");
  const Result<std::string> first = coordinator->submit(recipe, "a"), second = coordinator->submit(recipe, "b");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*second, "demo-2");
  // The first has left the queue.
  ASSERT_TRUE(ear.wait_for([](const JobEvent& e) { return e.job == "demo-1" && e.phase == Phase::kPreparing; }));
  EXPECT_EQ(coordinator->get("demo-2")->state.phase, Phase::kQueued);
  EXPECT_EQ(coordinator->get("demo-2")->queue_position, 1);
  ASSERT_TRUE(coordinator->wait(*second, Deadline::after(seconds(60))).ok());
  bool first_ended = false;
  for (const JobEvent& event : ear.events()) {
    if (event.job == "demo-1" && is_final(event.phase)) first_ended = true;
    if (event.job == "demo-2" && event.phase == Phase::kPreparing) {
      EXPECT_TRUE(first_ended);
    }
  }
  EXPECT_TRUE(first_ended);
}

std::string with_queue(const std::string& recipe, const recipes::QueueRecipe& queue) {
  auto parsed = *recipes::from_json(recipe);
  parsed.queue = queue;
  return recipes::to_json(parsed);
}

TEST(Coordinator, AnUrgentJobTakesTheSlotsAfterACheckpoint) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  std::string undisturbed;
  {
    auto coordinator = start(dir / "other");
    const JobState state = run_to_end(*coordinator, recipe);
    undisturbed = content_of(*coordinator, state.stages.back().checkpoint);
  }
  Plan plan(R"({"hold": {"attempt": 1, "stage": "lm", "step": 4}, "last_words": true})");
  auto coordinator = start(dir / "store");
  Ear ear(*coordinator, "demo-1");
  ASSERT_TRUE(coordinator->submit(recipe, "a").ok());
  ASSERT_TRUE(ear.wait_for_step(2));
  const Result<std::string> urgent = coordinator->submit(
      with_queue(make_recipe(dir.path(), 2, 3), {.priority = 5, .time_limit_s = 0, .after = {}}), "b");
  ASSERT_TRUE(urgent.ok()) << urgent.status().to_string();
  ASSERT_TRUE(ear.wait_for_step(3)) << "no checkpoint when it made room";
  const Result<JobState> state = coordinator->wait("demo-1", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
  EXPECT_EQ(state->attempt, 2u);
  EXPECT_EQ(state->restarts_total, 0);
  EXPECT_EQ(content_of(*coordinator, state->stages.back().checkpoint), undisturbed);
  const JobState other = coordinator->get(*urgent)->state;
  EXPECT_EQ(other.phase, Phase::kDone);
  EXPECT_LE(other.finished_unix_ms, state->slots_unix_ms);
}

// Both have as much to do, and ann asked first; but ann's jobs have had the slots, under the coordinator before.
TEST(Coordinator, TheFairShareSurvivesARestart) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 1, 2);
  {
    auto coordinator = start(dir / "store", 1);
    ASSERT_TRUE(coordinator->submit(recipe, "ann").ok());
    ASSERT_TRUE(coordinator->wait("demo-1", Deadline::after(seconds(60))).ok());
  }
  Plan plan(R"({"hold": {"stage": "lm", "step": 1}})");
  auto coordinator = start(dir / "store", 1);
  for (const char* user : {"carl", "ann", "bob"}) {
    const auto id = coordinator->submit(recipe, user);
    ASSERT_TRUE(id.ok()) << id.status().to_string();
    if (std::string(user) != "carl") continue;
    Ear ear(*coordinator, *id);
    if (coordinator->get(*id)->state.phase == Phase::kQueued) {
      ASSERT_TRUE(ear.wait_for([](const JobEvent& e) { return e.phase != Phase::kQueued; }));
    }
  }
  EXPECT_EQ(coordinator->get("demo-3")->state.user, "ann");
  EXPECT_EQ(coordinator->get("demo-3")->queue_position, 2);
  EXPECT_EQ(coordinator->get("demo-4")->queue_position, 1);
}

// A wall clock that says another time, years apart, whenever it is asked.
class JumpingClock final : public Clock {
 public:
  int64_t unix_ms() const override {
    static constexpr int64_t kYear = 365 * 86'400'000LL;
    static constexpr int64_t kJumps[] = {0, 40 * kYear, -20 * kYear, 3'600'000, -kYear, -5000, 2 * kYear};
    return Clock::system().unix_ms() + kJumps[asked_++ % std::size(kJumps)];
  }
  SteadyTime steady() const override { return Clock::system().steady(); }

 private:
  mutable std::atomic<size_t> asked_{0};
};

TEST(Coordinator, AWallClockThatJumpsDisturbsNothing) {
  TempDir dir;
  Plan plan(R"({"die": {"attempt": 1, "rank": 0, "stage": "lm", "step": 4}})");
  const JumpingClock clock;
  Options options = make_options(dir / "store");
  options.clock = &clock;
  auto coordinator = Coordinator::start(options);
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  // Back-off, heartbeats, the queue and limits that are not reached: all as if the clock stood still.
  const std::string recipe =
      with_queue(make_recipe(dir.path(), 2, 5), {.priority = 0, .time_limit_s = 600, .after = {}});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE((*coordinator)->submit(recipe, i == 1 ? "a" : "b").ok());
  }
  for (const char* job : {"demo-1", "demo-2", "demo-3"}) {
    const Result<JobState> state = (*coordinator)->wait(job, Deadline::after(seconds(60)));
    ASSERT_TRUE(state.ok()) << state.status().to_string();
    EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
    EXPECT_EQ(state->attempt, 2u);
  }
}

TEST(Coordinator, ATimeLimitIsHeldThoughTheWallClockJumps) {
  TempDir dir;
  Plan plan(R"({"hold": {"stage": "lm", "step": 4}, "last_words": true})");
  const JumpingClock clock;
  Options options = make_options(dir / "store");
  options.clock = &clock;
  auto coordinator = Coordinator::start(options);
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  const auto begin = std::chrono::steady_clock::now();
  const JobState state = run_to_end(
      **coordinator, with_queue(make_recipe(dir.path(), 2, 5), {.priority = 0, .time_limit_s = 6, .after = {}}));
  EXPECT_EQ(state.reason, "it held its slots for its time limit (queue.time_limit_s)");
  EXPECT_EQ(state.stages[0].step, 3);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, seconds(5));
}

TEST(Coordinator, APausedJobStaysPausedOverARestart) {
  TempDir dir;
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  {
    Plan plan(R"({"hold": {"stage": "lm", "step": 4}, "last_words": true})");
    auto coordinator = start(dir / "store");
    Ear ear(*coordinator, "");
    ASSERT_TRUE(coordinator->submit(recipe, "a").ok());
    ASSERT_TRUE(ear.wait_for_step(2));
    ASSERT_TRUE(coordinator->pause("demo-1").ok());
    ASSERT_TRUE(ear.wait_for([](const JobEvent& e) { return e.phase == Phase::kPaused; }));
    EXPECT_EQ(coordinator->get("demo-1")->state.stages[0].step, 3);
    EXPECT_EQ(coordinator->pause("demo-9").code(), Code::kNotFound);
  }
  auto coordinator = start(dir / "store");
  EXPECT_EQ(coordinator->get("demo-1")->state.phase, Phase::kPaused);
  ASSERT_TRUE(coordinator->resume("demo-1").ok());
  const Result<JobState> state = coordinator->wait("demo-1", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kDone) << state->reason;
  EXPECT_EQ(state->attempt, 2u);
}

TEST(Coordinator, ADependentWaitsAndFailsWithItsDependency) {
  TempDir dir;
  Plan plan(R"({"hold": {"stage": "lm", "step": 3}})");
  auto coordinator = start(dir / "store", 4);
  const std::string recipe = make_recipe(dir.path(), 2, 5);
  ASSERT_TRUE(coordinator->submit(recipe, "a").ok());
  const std::string dependent = with_queue(recipe, {.priority = 0, .time_limit_s = 0, .after = {"demo-1"}});
  ASSERT_TRUE(coordinator->submit(dependent, "a").ok());
  EXPECT_EQ(coordinator->get("demo-2")->waits_for, "waits for job demo-1 to be done");
  ASSERT_TRUE(coordinator->cancel("demo-1", "enough").ok());
  const Result<JobState> state = coordinator->wait("demo-2", Deadline::after(seconds(60)));
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  EXPECT_EQ(state->phase, Phase::kFailed);
  EXPECT_EQ(state->reason, "job demo-1, which it runs after, did not end well");
  EXPECT_EQ(state->attempt, 0u);
  const Result<std::string> unknown =
      coordinator->submit(with_queue(recipe, {.priority = 0, .time_limit_s = 0, .after = {"demo-7"}}), "a");
  EXPECT_EQ(unknown.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(unknown.status().message(), "queue.after: there is no job 'demo-7'; tephra ps lists them");
}

TEST(Coordinator, ATimeLimitEndsAJobWithItsCheckpoint) {
  TempDir dir;
  Plan plan(R"({"hold": {"stage": "lm", "step": 4}, "last_words": true})");
  auto coordinator = start(dir / "store");
  const JobState state = run_to_end(
      *coordinator, with_queue(make_recipe(dir.path(), 2, 5), {.priority = 0, .time_limit_s = 6, .after = {}}));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.reason, "it held its slots for its time limit (queue.time_limit_s)");
  EXPECT_EQ(state.stages[0].step, 3);
}

TEST(Coordinator, FailsBeforeAnyGangWhenTheModelIsNotThere) {
  TempDir dir;
  auto coordinator = start(dir / "store");
  auto recipe = *recipes::from_json(make_recipe(dir.path(), 1, 2));
  recipe.model.language = dir / "nowhere";
  const JobState state = run_to_end(*coordinator, recipes::to_json(recipe));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.attempt, 0u);
  EXPECT_NE(state.reason.find("nowhere"), std::string::npos) << state.reason;
}

TEST(Coordinator, SaysWhyAGangDidNotStart) {
  TempDir dir;
  Options options = make_options(dir / "store");
  options.worker_program = "/bin/false";
  auto coordinator = Coordinator::start(options);
  ASSERT_TRUE(coordinator.ok());
  const JobState state = run_to_end(**coordinator, make_recipe(dir.path(), 1, 2, 0));
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_NE(state.reason.find("before every rank had connected"), std::string::npos) << state.reason;
}

TEST(Coordinator, OneOwnerAStore) {
  TempDir dir;
  auto first = start(dir / "store");
  const auto second = Coordinator::start(make_options(dir / "store"));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kBusy) << second.status().to_string();
}

}  // namespace
}  // namespace tephra::coordinator
