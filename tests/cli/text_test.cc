#include "cli/text.h"

#include <gtest/gtest.h>

#include "cli/app.h"
#include "cli/render.h"

namespace tephra::cli {
namespace {

TEST(Text, SizesTimesAndCounts) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1500), "1.5 kB");
  EXPECT_EQ(human_bytes(999999), "1.0 MB");
  EXPECT_EQ(human_bytes(718e6), "718 MB");
  EXPECT_EQ(human_duration(59.6), "1 min 0 s");
  EXPECT_EQ(human_duration(3700), "1 h 1 min");
  EXPECT_EQ(human_count(1234567), "1,234,567");
  EXPECT_EQ(human_count(12), "12");
}

TEST(Text, TablesAlignNumbersRightAndWordsLeft) {
  EXPECT_EQ(table({"name", "n"}, {{"a", "5"}, {"longer", "12"}}), "name    n\na        5\nlonger  12\n");
}

TEST(ExitCodes, FollowTheKindOfFailure) {
  EXPECT_EQ(exit_code(Status(Code::kInvalidArgument, "x")), kBadInput);
  EXPECT_EQ(exit_code(Status(Code::kBusy, "x")), kEnvironment);
  EXPECT_EQ(exit_code(Status(Code::kNoSpace, "x")), kEnvironment);
  EXPECT_EQ(exit_code(Status(Code::kCorruption, "x")), kFailed);
  EXPECT_EQ(exit_code(Status(Code::kCancelled, "x")), kInterrupted);
}

TEST(EventRenderer, SummarisesBenchesOfStagesSideBySideAndSurvivesNulls) {
  EventRenderer out(OutputMode::kLines);
  out.event("not json");
  out.event(R"({"kind": "step", "stage": "align", "step": {"step": 1, "total_steps": 2, "loss": null}})");
  out.event(R"({"kind": "bench_result", "stage": "align", "bench": "q", "result": {"metrics": {"accuracy": 0.25}}})");
  out.event(
      R"({"kind": "bench_result", "stage": "instruct", "bench": "q", "result": {"metrics": {"accuracy": 0.875}}})");
  EXPECT_EQ(out.summary(), "bench  metric    align   instruct\nq      accuracy  25.0 %    87.5 %\n");
}

}  // namespace
}  // namespace tephra::cli
