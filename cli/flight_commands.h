// What the ranks of a job do and did: `show --ranks`, the report of a lost attempt in `show`, and `trace`.
// `server`: the coordinator, or nothing, when the store's files are read. `job`: coordinator::to_json of the JobView.
// Functions that return int print what they have to say and return the exit code.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/http_client.h"

namespace tephra::cli {

int show_ranks(const Server& server, const std::string& job, bool json);

// coordinator::report_json of `attempt`, or with 0 of the newest attempt that was lost. kNotFound: there is none.
Result<nlohmann::json> read_flight_report(const std::optional<Server>& server, const nlohmann::json& job, int attempt);
// The whole page, or a line that says how to see it.
void print_flight_report(const nlohmann::json& report, bool whole);

struct TraceOptions {
  int attempt = 0;  // 0: the running ranks, or the newest attempt that has filed records
  int steps = 3;
  std::string out;
  bool json = false;
};
int trace_job(const std::optional<Server>& server, const nlohmann::json& job, const TraceOptions& options);

}  // namespace tephra::cli
