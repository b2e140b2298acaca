// What is proved: the limit is never passed, and a request waits for what others under way will turn out to cost.
#include "cluster/chat/spending.h"

#include <gtest/gtest.h>

#include <future>

namespace tephra::cluster {
namespace {

TEST(Spending, StopsBeforeTheLimit) {
  Spending spending(1.0);
  ASSERT_TRUE(spending.reserve(0.6, {}).ok());
  spending.settle(0.6, 0.5);
  EXPECT_EQ(spending.spent(), 0.5);
  ASSERT_TRUE(spending.reserve(0.5, {}).ok());
  spending.settle(0.5, 0.25);
  const Status full = spending.reserve(0.3, {});
  EXPECT_EQ(full.code(), Code::kNoSpace);
  EXPECT_NE(full.message().find("0.7500 USD are spent"), std::string::npos) << full.message();
  spending.add_spent(1);
  EXPECT_EQ(spending.spent(), 1.75);
}

TEST(Spending, WaitsForWhatIsUnderWay) {
  Spending spending(1.0);
  ASSERT_TRUE(spending.reserve(0.9, {}).ok());
  auto second = std::async(std::launch::async, [&] { return spending.reserve(0.9, {}); });
  spending.settle(0.9, 0.05);
  EXPECT_TRUE(second.get().ok());
  EXPECT_EQ(spending.reserve(0.9, [] { return true; }).code(), Code::kCancelled);
}

TEST(Spending, WithoutALimitAllFits) { EXPECT_TRUE(Spending(0).reserve(1e9, {}).ok()); }

}  // namespace
}  // namespace tephra::cluster
