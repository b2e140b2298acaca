// Diagnostics print as file:line:column: field: message; hint, and nearest_name suggests only what is near.
#include "base/diagnostic.h"

#include <gtest/gtest.h>

namespace tephra {
namespace {

TEST(Diagnostic, PrintsAllItsParts) {
  Diagnostic d{"stage2.yaml", 41, 19, "stages[1].global_batch", "96 is not a multiple of 128", "use 128"};
  EXPECT_EQ(d.to_string(), "stage2.yaml:41:19: stages[1].global_batch: 96 is not a multiple of 128; use 128");
}

TEST(Diagnostic, LeavesOutWhatIsNotKnown) {
  Diagnostic d;
  d.message = "empty";
  EXPECT_EQ(d.to_string(), "empty");
  d.file = "a.json";
  EXPECT_EQ(d.to_string(), "a.json: empty");
}

TEST(Diagnostic, ListIsOneALine) {
  Diagnostic a, b;
  a.message = "one";
  b.message = "two";
  EXPECT_EQ(to_string(std::vector<Diagnostic>{a, b}), "one\ntwo");
  EXPECT_EQ(to_string(std::vector<Diagnostic>{}), "");
}

TEST(NearestName, FindsTypos) {
  std::vector<std::string> names{"global_batch", "micro_batch", "learning_rate"};
  EXPECT_EQ(nearest_name("globl_batch", names), "global_batch");
  EXPECT_EQ(nearest_name("learning_rte", names), "learning_rate");
  EXPECT_EQ(nearest_name("micro_batch", names), "micro_batch");
}

TEST(NearestName, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("zzzzzz", {"global_batch", "seed"}), "");
  EXPECT_EQ(nearest_name("seed", {}), "");
}

TEST(NearestName, ShortWordsAllowTwoEdits) {
  EXPECT_EQ(nearest_name("lr", {"lrs"}), "lrs");
  EXPECT_EQ(nearest_name("ab", {"abcd"}), "abcd");
  EXPECT_EQ(nearest_name("ab", {"abcde"}), "");
}

}  // namespace
}  // namespace tephra
