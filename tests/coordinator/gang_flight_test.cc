// What is proved, by tables of gangs made by hand: the rank that is named, in every way a gang can stand still; what
// each rank is said to wait for; the paces; and that the documents hold it all.
#include "coordinator/gang_flight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flights.h"

namespace tephra::coordinator {
namespace {

using ::testing::HasSubstr;

RankFlight waiting(int rank, uint64_t sequence = 42, double s = 5) {
  RankFlight r = calm_rank(rank);
  put_in(r, FlightOp::kGather, 2, s);
  wait_in(r, FlightOp::kCommAllGather, sequence, 2, s);
  return r;
}

RankFlight computing(int rank, double s) {
  RankFlight r = calm_rank(rank);
  put_in(r, FlightOp::kBackward, 1, s);
  r.flight->sequence = 41;
  return r;
}

// No answer for 5.5 s; known by its heartbeat only.
RankFlight stopped(int rank) {
  RankFlight r = calm_rank(rank);
  r.flight.reset();
  r.silent_ms = 5500;
  r.heartbeat = {"forward", "llm.block.0", 0, 3, 39, 1 << 20, 310, "", "", 0, {"a", "b"}, true};
  return r;
}

RankFlight silent_before(RankFlight r) {
  r.silent_ms = 5500;
  return r;
}

RankFlight killed(int rank) {
  RankFlight r = stopped(rank);
  r.silent_ms = 400;
  r.connected = false;
  r.left_first = true;
  return r;
}

RankFlight killed_after(RankFlight r) {
  r.flight_age_ms = 3000;
  r.connected = false;
  r.left_first = true;
  return r;
}

RankFlight said(RankFlight r, const std::string& what, bool echo) {
  r.said = what;
  r.echo = echo;
  return r;
}

struct Case {
  const char* name;
  GangFlight gang;
  int behind;
  std::string verdict;
};

std::vector<Case> cases() {
  const std::string waits = " Rank 0 waits in all_gather #42 of llm.block.1 for 5.0 s; rank 1 has not begun it.";
  RankFlight other_collective = waiting(1);
  other_collective.flight->records.back().op = FlightOp::kCommReduceScatter;
  std::vector<RankFlight> fast_and_slow{calm_rank(0, 0.75), calm_rank(1, 0.25), calm_rank(2, 0.75)};
  for (RankFlight& rank : fast_and_slow) rank.flight->steps.push_back({4, 3 * kSecond, 4 * kSecond, 500'000'000, 0});
  return {
      {"a stopped rank", gang_of({waiting(0), stopped(1)}), 1,
       "rank 1 (process 101) has not been heard from for 5.5 s; it was last in forward of llm.block.0 (micro-batch 0, "
       "step 4) for 310 ms, with samples a, b." +
           waits},
      {"a stopped rank of a gang that another's deadline ends",
       gang_of({said(waiting(0), "rank 0 waited too long in all_gather #42", true), stopped(1)}, true), 1,
       "rank 1 (process 101) had not been heard from for 5.5 s; it was last in forward of llm.block.0 (micro-batch 0, "
       "step 4) for 310 ms, with samples a, b. Rank 0 waited in all_gather #42 of llm.block.1 for 5.0 s; rank 1 has not "
       "begun it."},
      {"a stopped rank that spoke again when the gang was ended",
       gang_of({said(waiting(0), "too long", true), said(silent_before(waiting(1)), "too long", true)}, true), 1,
       "rank 1 (process 101) had not been heard from for 5.5 s; it was last in gather of llm.block.1 (micro-batch 1, "
       "step 4) for 5.0 s, with samples c, d. Rank 0 waited in all_gather #42 of llm.block.1 for 5.0 s."},
      {"a killed rank", gang_of({waiting(0, 42, 0.2), killed(1)}, true), 1,
       "rank 1 (process 101) is gone: its connection closed without a word; it was last in forward of llm.block.0 "
       "(micro-batch 0, step 4) for 310 ms, with samples a, b. Rank 0 waits in all_gather #42 of llm.block.1 for 200 ms; "
       "rank 1 has not begun it."},
      {"a killed rank that had answered a moment before",
       gang_of({waiting(0, 42, 0.2), killed_after(waiting(1, 41, 0.1))}, true), 1,
       "rank 1 (process 101) is gone: its connection closed without a word; it was last in gather of llm.block.1 "
       "(micro-batch 1, step 4) for 100 ms, with samples c, d. Rank 0 waits in all_gather #42 of llm.block.1 for 200 ms; "
       "the last that rank 1 began is all_gather #41 of llm.block.1."},
      {"a slow rank", gang_of({waiting(0), computing(1, 6), waiting(2, 42, 4)}), 1,
       "rank 1 is behind; it is in backward of llm.block.0 (micro-batch 1, step 4) for 6.0 s, with samples c, d. Rank 0 "
       "waits in all_gather #42 of llm.block.1 for 5.0 s, as do 1 more; rank 1 has not begun it."},
      {"a rank that failed",
       gang_of({said(waiting(0), "peer lost: rank 1", true), said(computing(1, 2), "no memory", false)}, true), 1,
       "rank 1 failed: no memory; it was last in backward of llm.block.0 (micro-batch 1, step 4) for 2.0 s, with samples "
       "c, d. Rank 0 waited in all_gather #42 of llm.block.1 for 5.0 s; rank 1 has not begun it."},
      {"different collectives", gang_of({waiting(0), other_collective}, true), -1,
       "rank 0 is in all_gather #42 of llm.block.1 and rank 1 in reduce_scatter_tree #42 of llm.block.1: they do not run "
       "the same schedule."},
      {"a transport that does not move", gang_of({waiting(0, 42, 3), waiting(1, 42, 2)}), -1,
       "all ranks are in all_gather #42 of llm.block.1 for 2.0 s: its data do not move, so look at the network between "
       "them."},
      {"a gang that runs", gang_of({waiting(0, 42, 0.05), computing(1, 0.06)}), -1,
       "all 2 ranks move; too few steps are known to compare their speed."},
      {"a slow rank in a gang that runs", gang_of(fast_and_slow), -1,
       "all 3 ranks move; rank 1 is the slowest: 688 ms of compute a step, the others 312 ms; it was the last in 3 of 4 "
       "steps."},
      {"one rank alone", gang_of({computing(0, 9)}), -1, "the rank moves."},
      {"nothing known", gang_of({RankFlight{.rank = 0}, RankFlight{.rank = 1}}, true), -1,
       "no rank is known to be behind."},
  };
}

TEST(GangFlight, NamesTheRankThatTheOthersWaitFor) {
  for (const Case& c : cases()) {
    const FlightFindings findings = examine(c.gang);
    EXPECT_EQ(findings.behind, c.behind) << c.name;
    EXPECT_EQ(findings.verdict, c.verdict) << c.name;
  }
}

TEST(GangFlight, SaysWhatEachRankWaitsFor) {
  const FlightFindings findings = examine(gang_of({waiting(0), stopped(1), waiting(2, 43, 1), computing(3, 1)}));
  EXPECT_EQ(findings.waits_for[0], "all_gather #42 of llm.block.1 for 5.0 s");
  EXPECT_EQ(findings.waits_for[1], "");
  EXPECT_EQ(findings.waits_for[2], "all_gather #43 of llm.block.1 for 1.0 s; not begun by rank 0, 1, 3");
  EXPECT_EQ(findings.waits_for[3], "");
  EXPECT_EQ(examine(gang_of({waiting(0), computing(1, 1), stopped(2)})).waits_for[0],
            "all_gather #42 of llm.block.1 for 5.0 s; not begun by rank 1, 2");
}

// Rank 2 is in #43, so that all have begun #42: the stopped rank's heartbeat knows of #39 only.
TEST(GangFlight, ACollectiveThatARankHasFinishedWasBegunByAll) {
  const FlightFindings findings = examine(gang_of({waiting(0, 43, 2), stopped(1), waiting(2, 43, 2)}));
  EXPECT_EQ(findings.behind, 1);
  EXPECT_THAT(findings.verdict, HasSubstr("in all_gather #43"));
  EXPECT_EQ(findings.places[1].sequence, 39u);
}

// Rank 0 has the record of #41, which it finished: rank 1 has begun it.
TEST(GangFlight, SaysWhichCollectiveTheRankBeganLast) {
  RankFlight ahead = calm_rank(0);
  ahead.flight->records.push_back({.track = FlightTrack::kComm,
                                   .op = FlightOp::kCommReduceScatter,
                                   .unit = 0,
                                   .step = 4,
                                   .sequence = 41,
                                   .begin_ns = 1,
                                   .end_ns = 2});
  wait_in(ahead, FlightOp::kCommAllGather, 42, 2, 5);
  RankFlight quiet = stopped(1);
  quiet.heartbeat.collective = "all_gather";  // #39, which is over
  const FlightFindings findings = examine(gang_of({ahead, quiet}));
  EXPECT_THAT(findings.verdict, HasSubstr("; the last that rank 1 began is reduce_scatter_tree #41 of connector."));
  EXPECT_EQ(findings.waits_for[1], "") << "what it was in when it was last heard is over";
}

TEST(GangFlight, ComparesPacesOverTheStepsThatAllRanksHave) {
  std::vector<RankFlight> ranks{calm_rank(0, 0.5), calm_rank(1, 0.25)};
  ranks[0].flight->steps.erase(ranks[0].flight->steps.begin());
  ranks[1].flight->steps[2].waited_ns = 800'000'000;
  const FlightFindings findings = examine(gang_of(ranks));
  EXPECT_EQ(findings.steps, 2);
  EXPECT_EQ(findings.first_step, 2);
  EXPECT_EQ(findings.last_step, 3);
  EXPECT_NEAR(findings.paces[0].compute_mean_s, 0.5, 1e-9);
  EXPECT_NEAR(findings.paces[1].compute_mean_s, (0.75 + 0.2) / 2, 1e-9);
  EXPECT_NEAR(findings.paces[1].compute_max_s, 0.75, 1e-9);
  EXPECT_NEAR(findings.paces[1].waited_mean_s, (0.25 + 0.8) / 2, 1e-9);
  EXPECT_EQ(findings.paces[0].last, 1);
  EXPECT_EQ(findings.paces[1].last, 1);
  ranks[1].flight.reset();
  EXPECT_EQ(examine(gang_of(ranks)).steps, 0) << "one rank has nobody to compare with";
  ranks.push_back(calm_rank(2));
  EXPECT_EQ(examine(gang_of(ranks)).steps, 2);
  EXPECT_FALSE(examine(gang_of(ranks)).paces[1].known);
}

TEST(GangFlight, ThePageHoldsWhatIsKnown) {
  const GangFlight gang = gang_of({said(waiting(0), "rank 0 waited too long", true), stopped(1)}, true);
  const std::string page = flight_page(gang, examine(gang));
  for (const char* line :
       {"job demo-1, attempt 2, stage align, 2025-11-25T", "ended: rank 0: waited too long\n",
        "rank 1 (process 101) had not been heard from for 5.5 s", "rank 0, process 100 on node0, heard 0.2 s before\n",
        "  in gather of llm.block.1, micro-batch 1, step 4, for 5.0 s\n",
        "  waits in all_gather #42 of llm.block.1 for 5.0 s; not begun by rank 1\n", "  samples c, d\n",
        "  said: rank 0 waited too long\n", "#42, 4096 B  <- not finished\n",
        "rank 1, process 101 on node1, heard 5.5 s before\n",
        "  last in forward of llm.block.0, micro-batch 0, step 4"})
    EXPECT_THAT(page, HasSubstr(line));
}

TEST(GangFlight, TheReportIsOneDocument) {
  const GangFlight gang = gang_of({waiting(0), computing(1, 6)}, true);
  const auto j = nlohmann::json::parse(report_json(gang, examine(gang)));
  EXPECT_EQ(j["behind"], 1);
  EXPECT_EQ(j["attempt"], 2);
  EXPECT_EQ(j["ranks"][0]["collective"]["kind"], "all_gather");
  EXPECT_EQ(j["ranks"][0]["collective"]["unit"], "llm.block.1");
  EXPECT_EQ(j["ranks"][1]["collective"], nullptr);
  EXPECT_EQ(j["ranks"][1]["samples"], (nlohmann::json{"c", "d"}));
  EXPECT_EQ(j["paces"][1]["last"].get<int>() + j["paces"][0]["last"].get<int>(), 3);
  EXPECT_EQ(j["page"], flight_page(gang, examine(gang)));
}

TEST(GangFlight, ReadsBackWhatItWrote) {
  for (const Case& c : cases()) {
    const Result<GangFlight> back = gang_flight_from_json(to_json(c.gang));
    ASSERT_TRUE(back.ok()) << c.name << ": " << back.status().to_string();
    ASSERT_EQ(back->ranks.size(), c.gang.ranks.size());
    for (size_t r = 0; r < back->ranks.size(); ++r) {
      EXPECT_TRUE(back->ranks[r].flight == c.gang.ranks[r].flight) << c.name;
    }
    EXPECT_EQ(to_json(*back), to_json(c.gang)) << c.name;
  }
  for (const char* broken : {"", "[]", "{}", R"({"job": 5})"})
    EXPECT_EQ(gang_flight_from_json(broken).status().code(), Code::kCorruption) << broken;
}

}  // namespace
}  // namespace tephra::coordinator
