// The schedule against rates recorded from transformers (train.json) and against the written formula's corners.
#include "recipes/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tephra::recipes {
namespace {

TEST(LrSchedule, WarmsUpFromZeroOverTheRoundedUpSteps) {
  EXPECT_EQ(warmup_steps(0.03, 8), 1);
  EXPECT_EQ(warmup_steps(0.0, 8), 0);
  EXPECT_EQ(warmup_steps(0.5, 4), 2);
  EXPECT_EQ(learning_rate("cosine", 1.0, 0, 100, 0.1), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate("constant", 1.0, 5, 100, 0.1), 0.5);
  EXPECT_EQ(learning_rate("linear", 1.0, 10, 100, 0.1), 1.0);
}

TEST(LrSchedule, FallsAsItsKindSays) {
  EXPECT_EQ(learning_rate("cosine", 2.0, 0, 10, 0), 2.0);
  EXPECT_NEAR(learning_rate("cosine", 2.0, 5, 10, 0), 1.0, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate("linear", 2.0, 9, 10, 0), 0.2);
  EXPECT_EQ(learning_rate("constant", 2.0, 9, 10, 0), 2.0);
  EXPECT_NEAR(learning_rate("cosine", 1.0, 9, 10, 1.0), 0.9, 1e-12);  // all warm-up
}

// Worked by hand: peak 8, 10 steps of which the first ceil(0.15 * 10) = 2 warm up, so 8 remain.
//   warm-up  8 * s / 2                      linear  8 * (8 - t) / 8 after t of the 8
//   cosine   4 * (1 + cos(pi * t / 8)), whose values at pi/8 steps are 1, .923880, .707107, .382683, 0 and their negatives
TEST(LrSchedule, FollowsAHandWorkedTable) {
  const struct {
    const char* kind;
    double rates[10];
  } table[] = {
      {"constant", {0, 4, 8, 8, 8, 8, 8, 8, 8, 8}},
      {"linear", {0, 4, 8, 7, 6, 5, 4, 3, 2, 1}},
      {"cosine", {0, 4, 8, 7.695518, 6.828427, 5.530734, 4, 2.469266, 1.171573, 0.304482}},
  };
  for (const auto& row : table) {
    for (int step = 0; step < 10; ++step)
      EXPECT_NEAR(learning_rate(row.kind, 8, step, 10, 0.15), row.rates[step], 1e-6) << row.kind << " step " << step;
  }
}

TEST(LrSchedule, EqualsTheRecordedRatesOfTransformers) {
  const char* folder = std::getenv("TEPHRA_REFERENCE_DIR");
  if (folder == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the folder of reference fixtures";
  std::ifstream file(std::string(folder) + "/train.json");
  const auto train = nlohmann::json::parse(file);
  int compared = 0;
  for (const auto& run : train["runs"]) {
    const auto& steps = run["steps"];
    for (size_t i = 0; i < steps.size(); ++i, ++compared) {
      const double expected = steps[i]["lr"];
      const double got =
          learning_rate(run["lr_scheduler"].get<std::string>(), run["learning_rate"], static_cast<int64_t>(i),
                        static_cast<int64_t>(steps.size()), run["warmup_ratio"]);
      EXPECT_LE(std::abs(got - expected), 1e-6 * expected) << run["name"] << " step " << i;
    }
  }
  EXPECT_EQ(compared, 40);
}

}  // namespace
}  // namespace tephra::recipes
