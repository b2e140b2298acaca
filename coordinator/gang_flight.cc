#include "coordinator/gang_flight.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

namespace tephra::coordinator {
namespace {

// A rank beats once a second. One that has missed two beats is not well; in a gang that is being lost, one is enough.
constexpr int64_t kSilentMs = 2500, kSilentMsWhenLost = 1500;
// Between ranks that run as they should, waits are shorter.
constexpr double kLongWaitSeconds = 1;

RankPlace place_by_flight(const RankFlight& rank) {
  const Flight& flight = *rank.flight;
  // Seconds go on while the flight lies here, and stand still once the rank has said its last word or is gone.
  const double since = rank.connected && rank.said.empty() ? static_cast<double>(rank.flight_age_ms) / 1000 : 0;
  RankPlace place;
  place.phase = rank.heartbeat.phase;
  place.step = flight.step > 0 ? flight.step : rank.heartbeat.step;
  place.sequence = flight.sequence;
  place.samples = flight.samples_in_flight();
  for (const FlightRecord& record : flight.records) {
    if (!record.open()) continue;
    const double elapsed = static_cast<double>(flight.now_ns - record.begin_ns) / 1e9 + since;
    if (record.track == FlightTrack::kCompute) {
      place.phase = flight_op_name(record.op);
      place.unit = flight.unit_name(record);
      place.micro_batch = record.micro_batch;
      place.phase_s = elapsed;
    }
    if (record.sequence > 0) {
      place.collective = flight_op_name(record.op);
      place.collective_unit = flight.unit_name(record);
      place.collective_bytes = record.bytes;
      place.collective_s = elapsed;
    }
  }
  return place;
}

RankPlace place_by_heartbeat(const RankFlight& rank) {
  const cluster::Heartbeat& beat = rank.heartbeat;
  RankPlace place;
  if (!rank.beaten) return place;
  place.phase = beat.phase;
  place.unit = beat.unit;
  if (!beat.unit.empty()) place.micro_batch = beat.micro_batch;
  place.step = beat.step + (beat.in_step ? 1 : 0);
  place.phase_s = static_cast<double>(beat.phase_ms) / 1000;
  place.sequence = beat.collective_sequence;
  place.collective = beat.collective;
  place.collective_unit = beat.collective_unit;
  place.collective_s = static_cast<double>(beat.collective_ms) / 1000;
  place.samples = beat.samples;
  return place;
}

// The last collective that the rank has certainly begun: a rank that was not heard from may have gone on since, and a
// collective that another rank has finished was begun by all.
uint64_t finished_sequence(const RankPlace& place) {
  return place.collective.empty() ? place.sequence : place.sequence - (place.sequence > 0 ? 1 : 0);
}

std::string collective_words(const RankPlace& place) {
  std::string text = place.collective + " #" + std::to_string(place.sequence);
  if (!place.collective_unit.empty()) text += " of " + place.collective_unit;
  return text;
}

std::string phase_words(const RankPlace& place) {
  if (place.phase.empty()) return "nowhere known";
  std::string text = place.phase;
  if (!place.unit.empty()) text += " of " + place.unit;
  std::string where;
  if (place.micro_batch >= 0) where = "micro-batch " + std::to_string(place.micro_batch);
  if (place.step > 0) where += (where.empty() ? "" : ", ") + ("step " + std::to_string(place.step));
  return where.empty() ? text : text + " (" + where + ")";
}

std::string rank_words(int rank) { return "rank " + std::to_string(rank); }

// In a gang that is lost a rank may speak after its silence: ending the gang wakes a stopped one.
bool silent(const RankFlight& rank, bool lost) {
  if (lost) return rank.silent_ms >= kSilentMsWhenLost;
  return !rank.flight.has_value() && rank.silent_ms >= kSilentMs;
}

// Which rank the others wait for, most telling sign first; -1 where there is none.
struct Culprit {
  int rank = -1;
  std::string words;  // "rank 1 ..."
};

class Examiner {
 public:
  explicit Examiner(const GangFlight& gang) : gang_(gang) {
    for (const RankFlight& rank : gang.ranks)
      out_.places.push_back(rank.flight ? place_by_flight(rank) : place_by_heartbeat(rank));
    for (const RankPlace& place : out_.places) all_began_ = std::max(all_began_, finished_sequence(place));
    for (int r = 0; r < world();
         ++r) {  // a heartbeat, or what a rank said before it was gone, may tell of one that is over
      RankPlace& place = out_.places[r];
      const bool old = !gang.ranks[r].flight || !gang.ranks[r].connected;
      if (old && place.sequence <= all_began_) place.collective.clear();
    }
  }

  FlightFindings run() {
    compare_paces(gang_, &out_);
    out_.verdict = mismatch();
    const Culprit culprit = out_.verdict.empty() ? find() : Culprit{};
    out_.behind = culprit.rank;
    describe_waits();
    if (!out_.verdict.empty()) return std::move(out_);
    out_.verdict = culprit.rank >= 0 ? culprit.words + where(culprit.rank) + others(culprit.rank) : no_culprit();
    return std::move(out_);
  }

 private:
  int world() const { return static_cast<int>(gang_.ranks.size()); }
  // As far as is known: it has begun at least what another has finished.
  uint64_t reached(int rank) const { return std::max(out_.places[rank].sequence, all_began_); }

  // Two ranks in collectives of the same number that are not the same.
  std::string mismatch() const {
    for (int a = 0; a < world(); ++a) {
      for (int b = a + 1; b < world(); ++b) {
        const RankPlace &one = out_.places[a], &other = out_.places[b];
        if (one.collective.empty() || other.collective.empty() || one.sequence != other.sequence) continue;
        if (one.collective == other.collective && one.collective_unit == other.collective_unit) continue;
        return rank_words(a) + " is in " + collective_words(one) + " and " + rank_words(b) + " in " +
               collective_words(other) + ": they do not run the same schedule.";
      }
    }
    return "";
  }

  Culprit find() const {
    for (const RankFlight& rank : gang_.ranks)
      if (!rank.said.empty() && !rank.echo) return {rank.rank, rank_words(rank.rank) + " failed: " + rank.said + ";"};
    for (const RankFlight& rank : gang_.ranks) {
      if (rank.left_first)
        return {rank.rank, rank_words(rank.rank) + " (process " + std::to_string(rank.pid) +
                               ") is gone: its connection " + "closed without a word;"};
    }
    const RankFlight* quiet = nullptr;
    for (const RankFlight& rank : gang_.ranks)
      if (silent(rank, gang_.lost) && (quiet == nullptr || rank.silent_ms > quiet->silent_ms)) quiet = &rank;
    if (quiet != nullptr)
      return {quiet->rank, rank_words(quiet->rank) + " (process " + std::to_string(quiet->pid) + ") " +
                               (gang_.lost ? "had" : "has") + " not been heard from for " +
                               seconds_text(quiet->silent_ms / 1000.0) + ";"};
    return lowest();
  }

  // The rank that has begun fewer collectives than one in which another waits.
  Culprit lowest() const {
    int behind = -1;
    for (int r = 0; r < world(); ++r)
      if (behind < 0 || reached(r) < reached(behind)) behind = r;
    for (int r = 0; r < world(); ++r) {
      const RankPlace& place = out_.places[r];
      const bool waits = !place.collective.empty() && place.sequence > reached(behind);
      if (waits && (gang_.lost || place.collective_s >= kLongWaitSeconds))
        return {behind, rank_words(behind) + " is behind;"};
    }
    return {};
  }

  // " it is in forward of head (...) for 2.0 s, with samples a, b."
  std::string where(int rank) const {
    const RankFlight& known = gang_.ranks[rank];
    const RankPlace& place = out_.places[rank];
    if (place.phase.empty()) return " where it was is not known.";
    std::string text = known.flight && known.connected && known.said.empty() ? " it is in " : " it was last in ";
    text += phase_words(place);
    if (place.phase_s >= 0.05) text += " for " + seconds_text(place.phase_s);
    if (!place.samples.empty()) text += ", with samples " + samples_text(place.samples);
    return text + ".";
  }

  // " Rank 0 waits in all_gather #12 of head for 2.0 s, which rank 1 has not begun."
  std::string others(int culprit) const {
    int longest = -1;
    for (int r = 0; r < world(); ++r) {
      if (r == culprit || out_.places[r].collective.empty()) continue;
      if (longest < 0 || out_.places[r].collective_s > out_.places[longest].collective_s) longest = r;
    }
    if (longest < 0) return "";
    int waiting = 0;
    for (int r = 0; r < world(); ++r) waiting += r != culprit && !out_.places[r].collective.empty() ? 1 : 0;
    const RankPlace& place = out_.places[longest];
    std::string text = " Rank " + std::to_string(longest) + (gang_.ranks[longest].said.empty() ? " waits" : " waited") +
                       " in " + collective_words(place) + " for " + seconds_text(place.collective_s);
    if (waiting > 1) text += ", as do " + std::to_string(waiting - 1) + " more";
    if (place.sequence > reached(culprit)) {
      const std::string last = name_of(reached(culprit));
      text += last.empty() ? "; " + rank_words(culprit) + " has not begun it"
                           : "; the last that " + rank_words(culprit) + " began is " + last;
    }
    return text + ".";
  }

  // "all_gather #11 of head", as a rank that still has its record calls it; empty: none has.
  std::string name_of(uint64_t sequence) const {
    for (const RankFlight& rank : gang_.ranks) {
      if (!rank.flight) continue;
      for (const FlightRecord& record : rank.flight->records) {
        if (record.sequence != sequence || sequence == 0) continue;
        const std::string unit = rank.flight->unit_name(record);
        return std::string(flight_op_name(record.op)) + " #" + std::to_string(sequence) +
               (unit.empty() ? "" : " of " + unit);
      }
    }
    return "";
  }

  std::string no_culprit() const {
    std::set<uint64_t> sequences;
    double shortest = -1;
    for (const RankPlace& place : out_.places) {
      if (place.collective.empty()) {
        shortest = 0;
        continue;
      }
      sequences.insert(place.sequence);
      shortest = shortest < 0 ? place.collective_s : std::min(shortest, place.collective_s);
    }
    if (world() > 1 && sequences.size() == 1 && shortest >= kLongWaitSeconds)
      return "all ranks are in " + collective_words(out_.places[0]) + " for " + seconds_text(shortest) +
             ": its data do not move, so look at the network between them.";
    if (gang_.lost) return "no rank is known to be behind.";
    return world() == 1 ? "the rank moves." : "all " + std::to_string(world()) + " ranks move; " + slowest_rank(out_);
  }

  void describe_waits() {
    for (int r = 0; r < world(); ++r) {
      const RankPlace& place = out_.places[r];
      std::string text;
      if (!place.collective.empty()) {
        text = collective_words(place) + " for " + seconds_text(place.collective_s);
        std::string late;
        for (int other = 0; other < world(); ++other)
          if (other != r && reached(other) < place.sequence)
            late += (late.empty() ? "rank " : ", ") + std::to_string(other);
        text += late.empty() ? "" : "; not begun by " + late;
      }
      out_.waits_for.push_back(std::move(text));
    }
  }

  const GangFlight& gang_;
  FlightFindings out_;
  uint64_t all_began_ = 0;
};

}  // namespace

std::string seconds_text(double value) {
  char text[32];
  if (value >= 0.9995)
    std::snprintf(text, sizeof text, "%.1f s", value);
  else if (value >= 0.001)
    std::snprintf(text, sizeof text, "%.*f ms", value < 0.01 ? 1 : 0, value * 1e3);
  else
    std::snprintf(text, sizeof text, "%.0f us", value * 1e6);
  return text;
}

std::string samples_text(const std::vector<std::string>& samples) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(samples.size(), kShown); ++i) text += (i > 0 ? ", " : "") + samples[i];
  if (samples.size() > kShown) text += " and " + std::to_string(samples.size() - kShown) + " more";
  return text;
}

FlightFindings examine(const GangFlight& gang) { return Examiner(gang).run(); }

}  // namespace tephra::coordinator
