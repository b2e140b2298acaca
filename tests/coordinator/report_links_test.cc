// What is proved: an address of a report is good for its job and its time, and cannot be guessed or fill the memory.
#include "coordinator/report_links.h"

#include <gtest/gtest.h>

#include <set>

namespace tephra::coordinator {
namespace {

TEST(ReportLinks, AreOfOneJobUntilTheirTimeIsOver) {
  ReportLinks links;
  const ReportLink one = links.make("a-1", 1000), other = links.make("b-1", 1000);
  EXPECT_EQ(one.ticket.size(), 64u) << "256 bits";
  EXPECT_NE(one.ticket, other.ticket);
  EXPECT_EQ(one.until_unix_ms, 1000 + kReportLinkMs);
  EXPECT_EQ(links.job(one.ticket, 1000), "a-1");
  EXPECT_EQ(links.job(other.ticket, one.until_unix_ms - 1), "b-1");
  EXPECT_EQ(links.job(one.ticket, one.until_unix_ms), "");
  EXPECT_EQ(links.job("", 1000), "");
  EXPECT_EQ(links.job(one.ticket.substr(0, 63), 1000), "");
}

TEST(ReportLinks, TheOldestGoesWhenThereAreTooMany) {
  ReportLinks links(2);
  const ReportLink first = links.make("a-1", 1), second = links.make("a-1", 2), third = links.make("a-1", 3);
  EXPECT_EQ(links.job(first.ticket, 3), "");
  EXPECT_EQ(links.job(second.ticket, 3), "a-1");
  EXPECT_EQ(links.job(third.ticket, 3), "a-1");
}

}  // namespace
}  // namespace tephra::coordinator
