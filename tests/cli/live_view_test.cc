#include "cli/live_view.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace tephra::cli {
namespace {
using nlohmann::json;

json job() {
  return json::parse(R"({"id": "demo-1", "phase": "training", "stage": "instruct", "attempt": 2, "restarts": 1,
    "stages": [{"name": "align", "complete": true, "step": 10, "benches": {"vqa": true}},
               {"name": "instruct", "complete": false, "step": 4, "benches": {"vqa": false}}],
    "rank_states": [{"rank": 0, "phase": "forward", "step": 6, "rss_bytes": 1048576, "heartbeat_age_ms": 400},
                    {"rank": 1, "phase": "gather", "step": 6, "rss_bytes": 1048576, "heartbeat_age_ms": -1}]})");
}

json step(int n, double loss) {
  return {{"kind", "step"},
          {"phase", "training"},
          {"stage", "instruct"},
          {"attempt", 2},
          {"step",
           {{"step", n},
            {"total_steps", 12},
            {"loss", loss},
            {"learning_rate", 0.001},
            {"tokens_per_second", 5000},
            {"step_seconds", 2.0}}}};
}

TEST(LiveView, ShowsStagesLossAndRanks) {
  LiveView view(false);
  view.job(job());
  for (int n = 1; n <= 6; ++n) EXPECT_FALSE(view.event(step(n, 7 - n)));
  const std::vector<std::string> lines = view.lines(120);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(lines[0], "demo-1  training  attempt 2, 1 restarts");
  EXPECT_EQ(lines[1], "  align    [########################] trained  vqa done");
  EXPECT_EQ(lines[2], "> instruct [############............] 6/12  5,000 tok/s  12 s left  vqa");
  EXPECT_EQ(lines[3], "  loss 1.0000  #*=-._  lr 1.00e-03");
  EXPECT_NE(lines[4].find("rank 0"), std::string::npos);
  EXPECT_NE(lines[4].find("heard 0.4 s ago"), std::string::npos) << lines[4];
  EXPECT_NE(lines[5].find("no heartbeat yet"), std::string::npos);
  for (const std::string& line : view.lines(20)) EXPECT_LE(line.size(), 20u);
}

TEST(LiveView, AnEndedJobHasNoRanksAndNothingToLeave) {
  LiveView view(false);
  json document = job();
  view.job(document);
  view.event(step(6, 1));
  document["phase"] = "failed";
  view.job(document);
  const std::vector<std::string> lines = view.lines(120);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "demo-1  failed  attempt 2, 1 restarts");
  EXPECT_EQ(lines[2].substr(0, 10), "  instruct");
  EXPECT_EQ(lines[3].substr(0, 6), "  loss");
}

TEST(LiveView, EventsWorthALineAreSaid) {
  LiveView view(true);
  EXPECT_TRUE(view.event({{"kind", "checkpoint"}, {"message", "checkpoint demo-1/align@4 committed"}}));
  EXPECT_FALSE(view.event({{"kind", "bench_progress"}, {"bench", "vqa"}, {"done", 3}, {"total", 9}}));
  EXPECT_FALSE(view.event(json::array()));
}

TEST(LiveView, AWaitingJobSaysWhy) {
  LiveView view(true);
  view.job({{"id", "b-1"}, {"phase", "queued"}, {"waits_for", "waits for job a-1 to be done"}});
  EXPECT_EQ(view.lines(100)[0], "b-1  queued: waits for job a-1 to be done");
}

TEST(Sparkline, LevelsBetweenLeastAndGreatest) {
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, false), "_.,-=+*#");
  EXPECT_EQ(sparkline({5, 5}, false), "__");
  EXPECT_EQ(sparkline({1, NAN, 2}, false), "_ #");
  EXPECT_EQ(sparkline({1, 2}, true), "▁█");
  EXPECT_EQ(sparkline({}, true), "");
}

}  // namespace
}  // namespace tephra::cli
