// What is proved: times and sizes are read as written, and nothing else is taken for one; the differences of two recipes
// are named by field.
#include "recipes/quantity.h"

#include <gtest/gtest.h>

#include "recipes/difference.h"

namespace tephra::recipes {
namespace {

TEST(Quantity, Times) {
  EXPECT_EQ(parse_duration_ms("90s"), 90'000);
  EXPECT_EQ(parse_duration_ms("30min"), 1'800'000);
  EXPECT_EQ(parse_duration_ms("12h"), 43'200'000);
  EXPECT_EQ(parse_duration_ms("7d"), 604'800'000);
  for (const char* bad : {"", "7", "d", "-1d", "0h", "1.5h", "7 d", "7days", "99999999d", "nan"})
    EXPECT_FALSE(parse_duration_ms(bad)) << bad;
}

TEST(Quantity, Sizes) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("500MB"), 500'000'000u);
  EXPECT_EQ(parse_bytes("1.5GB"), 1'500'000'000u);
  EXPECT_EQ(parse_bytes("2GiB"), uint64_t{2} << 30);
  EXPECT_EQ(parse_bytes("50TB"), 50'000'000'000'000u);
  for (const char* bad : {"", "GB", "-1GB", "0", "0.1B", "5 GB", "5gb", "2000000TB", "1e3", "inf"})
    EXPECT_FALSE(parse_bytes(bad)) << bad;
}

TEST(Difference, NamesChangedAddedAndRemovedFields) {
  const std::string before =
      R"({"name": "a", "seed": 1, "gang": {"ranks": 2}, "stages": [{"name": "s", "train": ["x"]}]})";
  const std::string after =
      R"({"name": "a", "gang": {"ranks": 4}, "stages": [{"name": "s", "train": ["x", "y"]}, {"name": "t"}]})";
  std::string text;
  for (const FieldDifference& d : differences(before, after))
    text += d.field + ": " + d.before + " > " + d.after + "\n";
  EXPECT_EQ(text,
            "gang.ranks: 2 > 4\nstages[0].train: [\"x\"] > [\"x\",\"y\"]\nstages[1].name: - > \"t\"\nseed: 1 > -\n");
  EXPECT_TRUE(differences(before, before).empty());
  EXPECT_EQ(differences("", R"({"seed": 1})").size(), 1u) << "an imported model has no recipe";
}

}  // namespace
}  // namespace tephra::recipes
