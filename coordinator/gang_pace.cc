// How fast a gang's ranks are, beside each other.
#include <algorithm>
#include <iterator>
#include <map>

#include "coordinator/gang_flight.h"

namespace tephra::coordinator {
namespace {

// A rank is said to be slow when it was last in this part of at least so many steps, by this factor.
constexpr double kSlowPart = 0.6, kSlowFactor = 1.2;
constexpr int kSlowSteps = 4;

double seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

}  // namespace

// Over the ranks whose flights are known, and the steps that all of those have.
void compare_paces(const GangFlight& gang, FlightFindings* out) {
  std::map<int64_t, int> seen;
  int flown = 0;
  for (const RankFlight& rank : gang.ranks) {
    if (!rank.flight) continue;
    ++flown;
    for (const FlightStep& step : rank.flight->steps) ++seen[step.step];
  }
  std::erase_if(seen, [flown](const auto& entry) { return entry.second < flown; });
  if (seen.empty() || flown < std::min<ptrdiff_t>(std::ssize(gang.ranks), 2)) return;  // nothing to compare with
  out->steps = static_cast<int>(seen.size());
  out->first_step = seen.begin()->first;
  out->last_step = seen.rbegin()->first;
  out->paces.resize(gang.ranks.size());
  std::map<int64_t, std::pair<int64_t, int>> longest;  // by step: compute time and whose
  for (const RankFlight& rank : gang.ranks) {
    if (!rank.flight) continue;
    RankPace& pace = out->paces[rank.rank];
    pace.known = true;
    for (const FlightStep& step : rank.flight->steps) {
      if (!seen.contains(step.step)) continue;
      pace.compute_mean_s += seconds(step.compute_ns()) / out->steps;
      pace.compute_max_s = std::max(pace.compute_max_s, seconds(step.compute_ns()));
      pace.waited_mean_s += seconds(step.waited_ns) / out->steps;
      auto [entry, first] = longest.try_emplace(step.step, step.compute_ns(), rank.rank);
      if (!first && step.compute_ns() > entry->second.first) entry->second = {step.compute_ns(), rank.rank};
    }
  }
  for (const auto& [step, whose] : longest) ++out->paces[whose.second].last;
}

std::string slowest_rank(const FlightFindings& findings) {
  const int world = static_cast<int>(findings.paces.size());
  if (findings.steps < kSlowSteps) return "too few steps are known to compare their speed.";
  int most = 0;
  for (int r = 1; r < world; ++r)
    if (findings.paces[r].last > findings.paces[most].last) most = r;
  double rest = 0;
  int others = 0;
  for (int r = 0; r < world; ++r) {
    if (r == most || !findings.paces[r].known) continue;
    rest += findings.paces[r].compute_mean_s;
    ++others;
  }
  if (others > 0) rest /= others;
  const RankPace& pace = findings.paces[most];
  if (pace.last < kSlowPart * findings.steps || pace.compute_mean_s < kSlowFactor * rest)
    return "none is much slower than the others.";
  return "rank " + std::to_string(most) + " is the slowest: " + seconds_text(pace.compute_mean_s) +
         " of compute a step, the others " + seconds_text(rest) + "; it was the last in " + std::to_string(pace.last) +
         " of " + std::to_string(findings.steps) + " steps.";
}

}  // namespace tephra::coordinator
