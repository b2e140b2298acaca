#include "cli/sweep.h"

#include <gtest/gtest.h>

namespace tephra::cli {
namespace {

using Combinations = std::vector<std::vector<std::string>>;

TEST(Sweep, EveryCombinationTheLastChangingFastest) {
  const auto found = expand_sweeps({"seed=1,2", "stages[0].optimizer.lr=1e-3,2e-3"});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, (Combinations{{"seed=1", "stages[0].optimizer.lr=1e-3"},
                                  {"seed=1", "stages[0].optimizer.lr=2e-3"},
                                  {"seed=2", "stages[0].optimizer.lr=1e-3"},
                                  {"seed=2", "stages[0].optimizer.lr=2e-3"}}));
  EXPECT_EQ(*expand_sweeps({}), Combinations{{}});
}

TEST(Sweep, CommasInBracketsAndQuotesBelongToTheValue) {
  EXPECT_EQ(*expand_sweeps({"stages[0].train=[connector],[connector, llm]"}),
            (Combinations{{"stages[0].train=[connector]"}, {"stages[0].train=[connector, llm]"}}));
  EXPECT_EQ(*expand_sweeps({"name='a,b',c"}), (Combinations{{"name='a,b'"}, {"name=c"}}));
}

TEST(Sweep, SaysWhatIsWrong) {
  EXPECT_EQ(expand_sweeps({"seed"}).status().message(), "--sweep seed: write FIELD=VALUE,VALUE");
  EXPECT_EQ(expand_sweeps({"seed=1,,2"}).status().message(), "--sweep seed=1,,2: a value is empty");
  std::string many = "seed=0";
  for (int i = 1; i < 40; ++i) many += "," + std::to_string(i);
  EXPECT_EQ(expand_sweeps({many, many}).status().message(), "--sweep: more than 1000 combinations");
}

}  // namespace
}  // namespace tephra::cli
