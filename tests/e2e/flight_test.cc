// Where the ranks of a real job are: live, while one of them is stopped with SIGSTOP, and after the deadline of a
// collective has ended that attempt; and traces of its steps.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <map>

#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

// A daemon with the tiny job, whose first stage has many steps, or so many as `more` says.
class LiveJob {
 public:
  explicit LiveJob(const std::vector<std::string>& more) {
    EXPECT_TRUE(serve_.wait_until([&] { return serve_.output().find("serves") != std::string::npos; }, 20s));
    std::vector<std::string> command{"submit", std::string(TEPHRA_SOURCE_DIR) + "/tests/e2e/tiny.yaml"};
    command.insert(command.end(), more.begin(), more.end());
    const Finished submit = with_store(command);
    EXPECT_EQ(submit.code, 0) << submit.err;
  }
  ~LiveJob() {
    with_store({"cancel", "tiny-1"});
    serve_.signal(SIGTERM);
    EXPECT_EQ(serve_.wait(30s).code, 0);
    EXPECT_TRUE(none_left(store_));
  }

  Finished with_store(std::vector<std::string> command) {
    command.insert(command.end(), {"--store", store_});
    return tephra(scratch_, command);
  }
  json show(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"show", "tiny-1", "--json"};
    command.insert(command.end(), more.begin(), more.end());
    const Finished shown = with_store(command);
    return shown.code == 0 ? json::parse(shown.out, nullptr, false) : json();
  }
  // Both ranks have done `steps` steps of the first stage.
  bool wait_for_steps(int steps) {
    return wait_until([&] {
      const json job = show();
      return job.is_object() && job["progress"].is_object() && job["progress"]["step"] >= steps;
    });
  }
  bool wait_until(const std::function<bool()>& ready) { return serve_.wait_until(ready, 120s); }
  std::string path(const std::string& name) const { return scratch_.path(name); }

 private:
  Scratch scratch_;
  std::string store_ = scratch_.path("store");
  Process serve_{tephra_command({"serve", "--store", store_, "--listen", "127.0.0.1:0"}), scratch_.path("")};
};

TEST(Flight, RanksAreShownAndTracedWhileTheyRun) {
  LiveJob job({"--set", "stages.align.steps=100000", "--set", "stages.align.checkpoint.every_steps=0"});
  ASSERT_TRUE(job.wait_for_steps(6));
  const json ranks = job.show({"--ranks"});
  ASSERT_TRUE(ranks.is_object());
  ASSERT_EQ(ranks["ranks"].size(), 2u);
  for (const json& rank : ranks["ranks"]) {
    EXPECT_TRUE(rank["answered"].get<bool>());
    EXPECT_GT(rank["pid"], 0);
    EXPECT_NE(rank["host"], "");
    EXPECT_NE(rank["phase"], "");
    EXPECT_GT(rank["step"], 6);
    EXPECT_GT(rank["collective_sequence"], 100);
    EXPECT_GT(rank["rss_bytes"], 1 << 20);
    EXPECT_LT(rank["heartbeat_age_ms"], 10000);
  }
  EXPECT_GE(ranks["paced_steps"]["count"], 6);
  EXPECT_GT(ranks["paces"][0]["compute_mean_seconds"], 0);
  EXPECT_EQ(ranks["paces"][0]["last"].get<int>() + ranks["paces"][1]["last"].get<int>(), ranks["paced_steps"]["count"]);
  EXPECT_FALSE(ranks["verdict"].get<std::string>().empty());
  const Finished table = job.with_store({"show", "tiny-1", "--ranks"});
  EXPECT_EQ(table.code, 0) << table.err;
  for (const char* word : {"heartbeat", "compute mean", "rank"})
    EXPECT_NE(table.out.find(word), std::string::npos) << table.out;

  const std::string file = job.path("trace.json");
  const Finished traced = job.with_store({"trace", "tiny-1", "--steps", "2", "--out", file, "--json"});
  ASSERT_EQ(traced.code, 0) << traced.err;
  const json said = json::parse(traced.out);
  EXPECT_EQ(said["steps"], 2) << "of 1,000 records";
  EXPECT_EQ(said["last_step"].get<int>() - said["first_step"].get<int>(), 1);
  const json trace = json::parse(read_text(file), nullptr, false);
  ASSERT_TRUE(trace.is_object());
  std::map<std::pair<int, std::string>, double> row_ends;
  std::map<std::string, int> categories;
  double last = 0;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "M") continue;
    ++categories[event["cat"]];
    const double begin = event["ts"], duration = event["dur"];
    EXPECT_GE(begin, last);
    EXPECT_GE(duration, 0);
    last = begin;
    if (event["cat"] == "step") continue;  // its operations nest in it
    double& end = row_ends[{event["pid"], event["tid"].dump()}];
    EXPECT_GE(begin, end - 1e-3) << "rows do not overlap: " << event;
    end = begin + duration;
  }
  EXPECT_EQ(categories["step"], 4);
  EXPECT_GT(categories["compute"], 50);
  EXPECT_GT(categories["collective"], 20);
  EXPECT_EQ(row_ends.size(), 4u) << "compute and comm of two ranks";

  EXPECT_EQ(job.with_store({"trace", "tiny-1", "--out", file, "--attempt", "7"}).code, 2);
  EXPECT_EQ(job.with_store({"show", "tiny-1", "--attempt", "1"}).code, 2) << "nothing was lost";
  EXPECT_EQ(job.show()["flight_report"], nullptr);
}

// Whether every thread of the process has stopped: the signal waits until the one that it was given to runs.
bool is_stopped(pid_t pid) {
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    const std::string stat = read_text(thread.path().string() + "/stat");
    const size_t state = stat.rfind(") ");
    if (state == std::string::npos || stat[state + 2] != 'T') return false;
  }
  return true;
}

TEST(Flight, AStoppedRankIsNamedAndTheJobGoesOn) {
  LiveJob job({"--set", "gang.collective_timeout_s=8", "--set", "stages.align.steps=40", "--set",
               "stages.align.evaluate=[]", "--set", "stages.instruct.steps=4", "--set", "stages.instruct.evaluate=[]"});
  ASSERT_TRUE(job.wait_for_steps(4));
  // Stops rank 1 where rank 0 then waits in a unit's collective; between two steps there is none, so it is tried again.
  pid_t stopped = 0;
  json live;
  std::string unit;
  for (int attempt = 0; attempt < 20 && unit.empty(); ++attempt) {
    if (stopped > 0) kill(stopped, SIGCONT);
    live = job.show({"--ranks"});
    ASSERT_TRUE(live.is_object());
    stopped = live["ranks"][1]["pid"];
    kill(stopped, SIGSTOP);
    ASSERT_TRUE(job.wait_until([&] { return is_stopped(stopped); }));
    live = job.show({"--ranks"});  // takes a second, in which rank 0 comes to wait
    ASSERT_TRUE(live.is_object());
    // Its last heartbeat may be from before the first step.
    const bool known = !live["ranks"][1]["samples"].empty();
    if (known && live["ranks"][0]["collective"].is_object()) unit = live["ranks"][0]["collective"]["unit"];
  }
  ASSERT_NE(unit, "");
  const std::string collective = live["ranks"][0]["collective"]["kind"].get<std::string>() + " #" +
                                 std::to_string(live["ranks"][0]["collective"]["sequence"].get<int>()) + " of " + unit;
  EXPECT_FALSE(live["ranks"][1]["answered"].get<bool>());

  ASSERT_TRUE(job.wait_until([&] { return job.show()["flight_report"].is_object(); }));
  const json report = job.show()["flight_report"];
  EXPECT_EQ(report["behind"], 1);
  EXPECT_EQ(report["attempt"], 1);
  const std::string verdict = report["verdict"];
  // By its silence; or, where ending the gang woke it long before that was noticed, by what it has not begun.
  EXPECT_TRUE(verdict.starts_with("rank 1 (process " + std::to_string(stopped) + ") had not been heard from") ||
              verdict.starts_with("rank 1 is behind;"))
      << verdict;
  EXPECT_NE(verdict.find("Rank 0 waited in " + collective), std::string::npos) << verdict;
  EXPECT_NE(report["ranks"][1]["phase"], "");
  if (report["ranks"][1]["phase"] != "data") {  // there it waits for its samples
    EXPECT_FALSE(report["ranks"][1]["samples"].empty()) << report["ranks"][1];
  }
  const Finished page = job.with_store({"show", "tiny-1", "--attempt", "1"});
  EXPECT_EQ(page.code, 0) << page.err;
  EXPECT_NE(page.out.find("why attempt 1 was lost"), std::string::npos) << page.out;
  EXPECT_NE(page.out.find("<- not finished"), std::string::npos) << page.out;
  const Finished traced = job.with_store({"trace", "tiny-1", "--attempt", "1", "--out", job.path("lost.json")});
  EXPECT_EQ(traced.code, 0) << traced.err;

  // Nothing but time was lost, and what the last attempt filed can be traced when no rank runs.
  ASSERT_TRUE(job.wait_until([&] { return job.show()["phase"] == "done"; }));
  EXPECT_EQ(job.show()["attempt"], 2);
  EXPECT_NE(job.show()["reason"].get<std::string>().find("rank 1"), std::string::npos);
  EXPECT_EQ(job.with_store({"show", "tiny-1", "--ranks"}).code, 3);
  const Finished last = job.with_store({"trace", "tiny-1", "--out", job.path("last.json"), "--json"});
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(json::parse(last.out)["attempt"], 2);
  EXPECT_EQ(json::parse(last.out)["last_step"], 4);
}

}  // namespace
}  // namespace tephra::e2e
