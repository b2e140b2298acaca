#include "tests/e2e/tiny_job.h"

#include <cstdlib>
#include <random>
#include <sstream>

namespace tephra::e2e {

std::string tiny_recipe() { return std::string(TEPHRA_SOURCE_DIR) + "/tests/e2e/tiny.yaml"; }

std::vector<std::string> run_tiny(const std::string& store, const std::vector<std::string>& more) {
  std::vector<std::string> command{"run", tiny_recipe(), "--store", store, "--json"};
  command.insert(command.end(), more.begin(), more.end());
  return tephra_command(command);
}

Undisturbed::Undisturbed(const std::vector<std::string>& more)
    : run(Process(run_tiny(store, more), scratch.path("")).wait()), hashes(content_hashes(scratch, store)) {}

const Undisturbed& undisturbed() {
  static const Undisturbed run;
  return run;
}

uint32_t test_seed() {
  const char* given = std::getenv("TEPHRA_TEST_SEED");
  static const uint32_t value = given != nullptr ? static_cast<uint32_t>(std::atol(given)) : std::random_device{}();
  return value;
}

int events_seen(const std::string& out, const std::string& kind) {
  const std::string wanted = "\"kind\":\"" + kind + "\"";
  int n = 0;
  for (size_t at = 0; (at = out.find(wanted, at)) != std::string::npos; ++at) ++n;
  return n;
}

std::vector<pid_t> gang_of(const std::string& store, bool ranks) {
  std::vector<pid_t> found;
  for (const pid_t pid : processes_with("tephra-worker")) {
    const std::string process = "/proc/" + std::to_string(pid);
    if (read_text(process + "/comm").starts_with(ranks ? "tephra-worker" : "mpirun") &&
        read_text(process + "/cmdline").find(store) != std::string::npos)
      found.push_back(pid);
  }
  return found;
}

std::vector<nlohmann::json> metrics_of(const std::string& store) {
  std::vector<nlohmann::json> rows;
  std::istringstream lines(read_text(store + "/jobs/tiny-1/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
    if (row.is_object()) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace tephra::e2e
