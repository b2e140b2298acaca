// The job of tests/e2e/tiny.yaml as several tests run, watch and kill it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/e2e/harness.h"

namespace tephra::e2e {

std::string tiny_recipe();  // path of tiny.yaml
// `tephra run` of it, with events as JSON lines.
std::vector<std::string> run_tiny(const std::string& store, const std::vector<std::string>& more = {});

struct Undisturbed {
  Scratch scratch;
  std::string store = scratch.path("store");
  Finished run;
  std::map<std::string, std::string> hashes;
  explicit Undisturbed(const std::vector<std::string>& more = {});
};
// One undisturbed two-rank run, shared by the tests that compare with it.
const Undisturbed& undisturbed();

// Of the process, printed where a test fails; TEPHRA_TEST_SEED repeats one.
uint32_t test_seed();

int events_seen(const std::string& out, const std::string& kind);  // in what `run --json` printed
// Its rank processes, or their mpirun.
std::vector<pid_t> gang_of(const std::string& store, bool ranks);
// The lines of the job's metrics.jsonl, in order.
std::vector<nlohmann::json> metrics_of(const std::string& store);

}  // namespace tephra::e2e
