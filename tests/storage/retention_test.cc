// What is proved: which checkpoints each rule keeps, alone and together, and that no rule takes what is protected.
// Tables of values; nothing is written.
#include "storage/index/retention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace tephra::storage {
namespace {

constexpr int64_t kHour = 3600 * 1000, kDay = 24 * kHour, kNow = 1000 * kDay;

CheckpointInfo info(const std::string& job, const std::string& stage, int64_t step, double loss, int64_t age_ms = 0,
                    uint64_t bytes = 100) {
  CheckpointInfo out;
  out.header.job = job;
  out.header.stage = stage;
  out.header.step = step;
  out.header.metrics["loss"] = loss;
  out.header.created_unix_ms = kNow - age_ms;
  out.header.new_bytes = bytes;
  out.name = out.header.name();
  return out;
}

// Steps 10..60 of one stage, an hour apart, the newest just made; losses fall but for step 50.
std::vector<CheckpointInfo> six() {
  std::vector<CheckpointInfo> all;
  const double losses[] = {6, 2, 4, 3, 9, 5};
  for (int i = 0; i < 6; ++i) all.push_back(info("j", "s", 10 * (i + 1), losses[i], (5 - i) * kHour));
  return all;
}

std::set<int64_t> kept_steps(const std::vector<CheckpointInfo>& all, const RetentionPolicy& policy,
                             const std::map<std::string, std::string>& held = {}) {
  std::set<int64_t> steps;
  const auto verdicts = retain(all, policy, held, kNow);
  EXPECT_EQ(verdicts.size(), all.size());
  for (size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].name, all[i].name);
    EXPECT_FALSE(verdicts[i].reason.empty());
    if (verdicts[i].keep) steps.insert(all[i].header.step);
  }
  return steps;
}

TEST(Retention, EachRuleAloneAndTogether) {
  using Steps = std::set<int64_t>;
  struct Case {
    const char* what;
    RetentionPolicy policy;
    Steps kept;
  };
  const Case cases[] = {
      {"no rule", {}, {10, 20, 30, 40, 50, 60}},
      {"last", {.last = 2}, {50, 60}},
      {"last more than there are", {.last = 9}, {10, 20, 30, 40, 50, 60}},
      {"best, and the newest all the same", {.best = 2}, {20, 40, 60}},
      {"largest is best", {.best = 1, .largest_is_best = true}, {50, 60}},
      {"a metric that none has", {.best = 3, .metric = "accuracy"}, {60}},
      {"every", {.every_steps = 20}, {20, 40, 60}},
      {"one rule is enough", {.last = 1, .best = 1, .every_steps = 30}, {20, 30, 60}},
      {"age alone", {.max_age_ms = 2 * kHour}, {40, 50, 60}},
      {"age is exclusive", {.max_age_ms = 2 * kHour - 1}, {50, 60}},
      {"age takes what a rule keeps", {.best = 1, .max_age_ms = 3 * kHour}, {60}},
      {"bytes alone, oldest first", {.max_bytes = 250}, {50, 60}},
      {"bytes exactly", {.max_bytes = 300}, {40, 50, 60}},
      {"bytes below one checkpoint leave the newest", {.max_bytes = 1}, {60}},
      {"bytes of what the rules keep", {.every_steps = 20, .max_bytes = 200}, {40, 60}},
  };
  for (const Case& c : cases) EXPECT_EQ(kept_steps(six(), c.policy), c.kept) << c.what;
}

TEST(Retention, WhatIsProtectedStaysAndSaysWhy) {
  const std::map<std::string, std::string> held{{"j/s@10", "tagged 'good'"}};
  EXPECT_EQ(kept_steps(six(), {.last = 1}, held), (std::set<int64_t>{10, 60}));
  EXPECT_EQ(kept_steps(six(), {.max_age_ms = 1}, held), (std::set<int64_t>{10, 60}));
  EXPECT_EQ(kept_steps(six(), {.max_bytes = 1}, held), (std::set<int64_t>{10, 60}));
  const auto verdicts = retain(six(), {.last = 1}, held, kNow);
  EXPECT_EQ(verdicts[0].reason, "tagged 'good'");
  EXPECT_EQ(verdicts[1].reason, "no rule keeps it");
  EXPECT_EQ(verdicts[1].bytes, 100u);
  EXPECT_EQ(verdicts[5].reason, "newest of its stage");
}

TEST(Retention, StagesAndJobsAreCountedByThemselves) {
  std::vector<CheckpointInfo> all{info("a", "s", 1, 1), info("a", "s", 2, 1), info("a", "t", 1, 1),
                                  info("b", "s", 1, 1), info("b", "s", 2, 1)};
  std::vector<std::string> gone;
  for (const auto& verdict : retain(all, {.last = 1}, {}, kNow))
    if (!verdict.keep) gone.push_back(verdict.name);
  EXPECT_EQ(gone, (std::vector<std::string>{"a/s@1", "b/s@1"}));
}

TEST(Retention, ImportedModelsStay) {
  std::vector<CheckpointInfo> all{info("base", "0123", 0, 1, 99 * kDay), info("base", "4567", 0, 1, 99 * kDay)};
  for (const auto& verdict : retain(all, {.last = 1, .max_age_ms = 1, .max_bytes = 1}, {}, kNow))
    EXPECT_TRUE(verdict.keep) << verdict.name;
}

TEST(Retention, TheBestIgnoresWhatIsNotANumberAndTakesTheNewestOfEquals) {
  std::vector<CheckpointInfo> all{info("j", "s", 1, 2), info("j", "s", 2, std::nan("")), info("j", "s", 3, 2),
                                  info("j", "s", 4, 3)};
  ASSERT_NE(best_of(all, "loss", false), nullptr);
  EXPECT_EQ(best_of(all, "loss", false)->name, "j/s@3");
  EXPECT_EQ(best_of(all, "loss", true)->name, "j/s@4");
  EXPECT_EQ(best_of(all, "accuracy", false), nullptr);
  EXPECT_EQ(best_of({}, "loss", false), nullptr);
}

}  // namespace
}  // namespace tephra::storage
