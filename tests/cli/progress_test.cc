// What is proved: the words of a progress line, and that work of earlier runs does not count as this one's pace.
#include "cli/progress.h"

#include <gtest/gtest.h>

namespace tephra::cli {
namespace {

TEST(Progress, TellsShareAndEta) {
  EXPECT_EQ(progress_text(0, 1000, "samples", 5, 0), "[....................] 0 %  0 of 1,000 samples");
  const std::string half = progress_text(500, 1000, "samples", 60, 0);
  EXPECT_NE(half.find("[##########..........] 50 %  500 of 1,000 samples  ETA 1 m"), std::string::npos) << half;
  const std::string resumed = progress_text(500, 1000, "samples", 60, 490);
  EXPECT_NE(resumed.find("ETA 50 m"), std::string::npos) << "ten in a minute, " << resumed;
  EXPECT_EQ(progress_text(400, 1000, "samples", 60, 400).find("ETA"), std::string::npos);
  EXPECT_EQ(progress_text(1000, 1000, "samples", 60, 0), "[####################] 100 %  1,000 of 1,000 samples");
}

}  // namespace
}  // namespace tephra::cli
