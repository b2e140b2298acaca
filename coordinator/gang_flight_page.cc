// A gang's flights as one page for people.
#include <algorithm>
#include <cstdio>

#include "coordinator/gang_flight.h"
#include "coordinator/job_files.h"

namespace tephra::coordinator {
namespace {

constexpr int kOperationsShown = 8;  // of a rank's last

std::string padded(const std::string& text, size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}

std::string bytes_text(int64_t bytes) {
  char text[32];
  if (bytes < 10'000)
    std::snprintf(text, sizeof text, "%lld B", static_cast<long long>(bytes));
  else if (bytes < 10'000'000)
    std::snprintf(text, sizeof text, "%.1f kB", static_cast<double>(bytes) / 1e3);
  else
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

std::string title(const GangFlight& gang) {
  std::string text = "job " + gang.job + ", attempt " + std::to_string(gang.attempt);
  if (!gang.stage.empty()) text += ", stage " + gang.stage;
  text += ", " + iso_time(gang.unix_ms) + "\n";
  if (gang.lost) text += "ended: " + gang.reason + "\n";
  return text;
}

std::string head_of(const RankFlight& rank) {
  std::string text = "rank " + std::to_string(rank.rank);
  if (rank.pid > 0) text += ", process " + std::to_string(rank.pid);
  if (!rank.host.empty()) text += " on " + rank.host;
  if (rank.silent_ms < 0) return text + ", never heard\n";
  char heard[48];
  std::snprintf(heard, sizeof heard, ", heard %.1f s before", static_cast<double>(rank.silent_ms) / 1000);
  return text + heard + (rank.connected ? "" : ", connection closed") + "\n";
}

std::string place_of(const RankFlight& rank, const RankPlace& place) {
  if (place.phase.empty()) return "  nothing is known of where it is\n";
  std::string text = rank.flight && rank.connected ? "  in " : "  last in ";
  text += place.phase;
  if (!place.unit.empty()) text += " of " + place.unit;
  if (place.micro_batch >= 0) text += ", micro-batch " + std::to_string(place.micro_batch);
  if (place.step > 0) text += ", step " + std::to_string(place.step);
  if (place.phase_s > 0) text += ", for " + seconds_text(place.phase_s);
  return text + "\n";
}

// "  -1.25 s  compute  forward   llm.block.1  micro-batch 0   12 ms", times before the copy was taken.
std::string operation(const Flight& flight, const FlightRecord& record) {
  char when[32];
  std::snprintf(when, sizeof when, "%9.3f s  ", static_cast<double>(record.begin_ns - flight.now_ns) / 1e9);
  const int64_t end = record.open() ? flight.now_ns : record.end_ns;
  std::string text = "  " + std::string(when) + padded(std::string(flight_track_name(record.track)), 9) +
                     padded(std::string(flight_op_name(record.op)), 20) + padded(flight.unit_name(record), 16) +
                     padded(seconds_text(static_cast<double>(end - record.begin_ns) / 1e9), 8);
  if (record.micro_batch >= 0) text += "  micro-batch " + std::to_string(record.micro_batch);
  if (record.sequence > 0) text += "  #" + std::to_string(record.sequence) + ", " + bytes_text(record.bytes);
  if (record.open()) text += "  <- not finished";
  return text + "\n";
}

// The last operations by their beginnings, of both rows, and what is in progress.
std::string operations(const Flight& flight) {
  std::vector<const FlightRecord*> shown;
  for (const FlightRecord& record : flight.records)
    if (record.op != FlightOp::kFree) shown.push_back(&record);
  std::stable_sort(shown.begin(), shown.end(), [](const FlightRecord* a, const FlightRecord* b) {
    if (a->open() != b->open()) return b->open();
    return a->begin_ns < b->begin_ns;
  });
  std::string text;
  for (size_t i = shown.size() - std::min<size_t>(shown.size(), kOperationsShown); i < shown.size(); ++i)
    text += operation(flight, *shown[i]);
  return text;
}

std::string paces(const FlightFindings& findings) {
  if (findings.steps == 0) return "";
  std::string text = "\nsteps " + std::to_string(findings.first_step) + " to " + std::to_string(findings.last_step) +
                     "; a step's compute is its time outside waits for other ranks\n" + padded("rank", 6) +
                     padded("compute mean", 14) + padded("longest", 10) + padded("waited mean", 13) + "last in\n";
  for (size_t r = 0; r < findings.paces.size(); ++r) {
    const RankPace& pace = findings.paces[r];
    if (!pace.known) continue;
    text += padded(std::to_string(r), 6) + padded(seconds_text(pace.compute_mean_s), 14) +
            padded(seconds_text(pace.compute_max_s), 10) + padded(seconds_text(pace.waited_mean_s), 13) +
            std::to_string(pace.last) + " of " + std::to_string(findings.steps) + " steps\n";
  }
  return text;
}

}  // namespace

std::string flight_page(const GangFlight& gang, const FlightFindings& findings) {
  std::string text = title(gang) + "\n" + findings.verdict + "\n";
  for (const RankFlight& rank : gang.ranks) {
    const RankPlace& place = findings.places[rank.rank];
    text += "\n" + head_of(rank) + place_of(rank, place);
    const std::string& waits = findings.waits_for[rank.rank];
    if (!waits.empty()) text += "  waits in " + waits + "\n";
    if (waits.empty() && place.sequence > 0)
      text += "  in no collective; the last it began was #" + std::to_string(place.sequence) + "\n";
    if (!place.samples.empty()) text += "  samples " + samples_text(place.samples) + "\n";
    if (!rank.said.empty()) text += "  said: " + rank.said + "\n";
    if (rank.flight) text += operations(*rank.flight);
  }
  return text + paces(findings);
}

}  // namespace tephra::coordinator
