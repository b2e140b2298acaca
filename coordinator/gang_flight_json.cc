// A gang's flights as JSON documents: all of them, which reads back, and the report.
#include <nlohmann/json.hpp>

#include "coordinator/gang_flight.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

json record_json(const FlightRecord& record) {
  json out = {{"track", flight_track_name(record.track)},
              {"op", flight_op_name(record.op)},
              {"unit", record.unit},
              {"micro_batch", record.micro_batch},
              {"step", record.step},
              {"begin_ns", record.begin_ns},
              {"end_ns", record.end_ns}};
  if (record.sequence > 0) {
    out["sequence"] = record.sequence;
    out["bytes"] = record.bytes;
  }
  if (record.submitted_ns >= 0) out["submitted_ns"] = record.submitted_ns;
  return out;
}

json flight_json(const Flight& flight) {
  json records = json::array(), steps = json::array();
  for (const FlightRecord& record : flight.records) records.push_back(record_json(record));
  for (const FlightStep& step : flight.steps)
    steps.push_back({{"step", step.step},
                     {"begin_ns", step.begin_ns},
                     {"end_ns", step.end_ns},
                     {"waited_ns", step.waited_ns},
                     {"first_number", step.first_number}});
  return {{"zero_unix_us", flight.zero_unix_us},
          {"now_ns", flight.now_ns},
          {"step", flight.step},
          {"sequence", flight.sequence},
          {"units", flight.units},
          {"samples", flight.samples},
          {"samples_per_micro_batch", flight.samples_per_micro_batch},
          {"first_number", flight.first_number},
          {"records", std::move(records)},
          {"steps", std::move(steps)}};
}

json rank_json(const RankFlight& rank) {
  json out = {{"rank", rank.rank},
              {"pid", rank.pid},
              {"host", rank.host},
              {"connected", rank.connected},
              {"left_first", rank.left_first},
              {"silent_ms", rank.silent_ms},
              {"said", rank.said},
              {"echo", rank.echo},
              {"rss_bytes", rank.heartbeat.rss_bytes}};
  if (rank.flight) {
    out["flight_age_ms"] = rank.flight_age_ms;
    out["flight"] = flight_json(*rank.flight);
  }
  return out;
}

FlightOp op_of(const std::string& name) {
  for (int op = 1; op <= kFlightOps; ++op)
    if (flight_op_name(static_cast<FlightOp>(op)) == name) return static_cast<FlightOp>(op);
  throw json::other_error::create(501, "unknown operation '" + name + "'", nullptr);
}

FlightRecord record_from(const json& j) {
  FlightRecord record;
  record.track = j.at("track") == "comm" ? FlightTrack::kComm : FlightTrack::kCompute;
  record.op = op_of(j.at("op"));
  record.unit = j.at("unit");
  record.micro_batch = j.at("micro_batch");
  record.step = j.at("step");
  record.begin_ns = j.at("begin_ns");
  record.end_ns = j.at("end_ns");
  record.sequence = j.value("sequence", uint64_t{0});
  record.bytes = j.value("bytes", int64_t{0});
  record.submitted_ns = j.value("submitted_ns", int64_t{-1});
  return record;
}

Flight flight_from(const json& j) {
  Flight flight;
  flight.zero_unix_us = j.at("zero_unix_us");
  flight.now_ns = j.at("now_ns");
  flight.step = j.at("step");
  flight.sequence = j.at("sequence");
  flight.units = j.at("units").get<std::vector<std::string>>();
  flight.samples = j.at("samples").get<std::vector<std::string>>();
  flight.samples_per_micro_batch = j.at("samples_per_micro_batch");
  flight.first_number = j.at("first_number");
  for (const json& record : j.at("records")) flight.records.push_back(record_from(record));
  for (const json& s : j.at("steps"))
    flight.steps.push_back({s.at("step"), s.at("begin_ns"), s.at("end_ns"), s.at("waited_ns"), s.at("first_number")});
  return flight;
}

RankFlight rank_from(const json& j) {
  RankFlight rank;
  rank.rank = j.at("rank");
  rank.pid = j.at("pid");
  rank.host = j.at("host");
  rank.connected = j.at("connected");
  rank.left_first = j.at("left_first");
  rank.silent_ms = j.at("silent_ms");
  rank.said = j.at("said");
  rank.echo = j.at("echo");
  rank.heartbeat.rss_bytes = j.at("rss_bytes");
  if (!j.contains("flight")) return rank;
  rank.flight_age_ms = j.at("flight_age_ms");
  rank.flight = flight_from(j.at("flight"));
  return rank;
}

json gang_json(const GangFlight& gang) {
  return {{"job", gang.job},   {"attempt", gang.attempt}, {"stage", gang.stage},
          {"lost", gang.lost}, {"reason", gang.reason},   {"unix_ms", gang.unix_ms}};
}

json place_json(const RankFlight& rank, const RankPlace& place, const std::string& waits_for) {
  json out = {{"rank", rank.rank},
              {"pid", rank.pid},
              {"host", rank.host},
              {"connected", rank.connected},
              {"answered", rank.flight.has_value()},
              {"heartbeat_age_ms", rank.silent_ms},
              {"rss_bytes", rank.heartbeat.rss_bytes},
              {"phase", place.phase},
              {"unit", place.unit},
              {"micro_batch", place.micro_batch},
              {"step", place.step},
              {"phase_seconds", place.phase_s},
              {"collective_sequence", place.sequence},
              {"samples", place.samples},
              {"waits_for", waits_for},
              {"said", rank.said}};
  out["collective"] = nullptr;
  if (!place.collective.empty())
    out["collective"] = {{"kind", place.collective},
                         {"sequence", place.sequence},
                         {"unit", place.collective_unit},
                         {"bytes", place.collective_bytes},
                         {"seconds", place.collective_s}};
  return out;
}

}  // namespace

std::string to_json(const GangFlight& gang) {
  json out = gang_json(gang);
  out["ranks"] = json::array();
  for (const RankFlight& rank : gang.ranks) out["ranks"].push_back(rank_json(rank));
  return dump(out);
}

Result<GangFlight> gang_flight_from_json(const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Status(Code::kCorruption, "a gang's flights are not a JSON object");
  try {
    GangFlight gang;
    gang.job = document.at("job");
    gang.attempt = document.at("attempt");
    gang.stage = document.at("stage");
    gang.lost = document.at("lost");
    gang.reason = document.at("reason");
    gang.unix_ms = document.at("unix_ms");
    for (const json& rank : document.at("ranks")) gang.ranks.push_back(rank_from(rank));
    return gang;
  } catch (const json::exception& e) {
    return Status(Code::kCorruption, std::string("a gang's flights: ") + e.what());
  }
}

std::string report_json(const GangFlight& gang, const FlightFindings& findings) {
  json out = gang_json(gang);
  out["behind"] = findings.behind < 0 ? json(nullptr) : json(findings.behind);
  out["verdict"] = findings.verdict;
  out["ranks"] = json::array();
  for (size_t r = 0; r < gang.ranks.size(); ++r)
    out["ranks"].push_back(place_json(gang.ranks[r], findings.places[r], findings.waits_for[r]));
  out["paces"] = json::array();
  for (size_t r = 0; r < findings.paces.size(); ++r) {
    const RankPace& pace = findings.paces[r];
    if (!pace.known) continue;
    out["paces"].push_back({{"rank", r},
                            {"compute_mean_seconds", pace.compute_mean_s},
                            {"compute_max_seconds", pace.compute_max_s},
                            {"waited_mean_seconds", pace.waited_mean_s},
                            {"last", pace.last}});
  }
  out["paced_steps"] = {{"first", findings.first_step}, {"last", findings.last_step}, {"count", findings.steps}};
  out["page"] = flight_page(gang, findings);
  return dump(out);
}

}  // namespace tephra::coordinator
