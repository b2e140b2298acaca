// A gang's flights as a Chrome trace (the JSON of Google's "Trace Event Format"), which ui.perfetto.dev opens.
// A rank is a process, its compute and comm rows are threads; ranks lie beside each other by their wall clocks, so
// ranks of different machines are off by what those clocks differ.
#pragma once

#include <cstdint>
#include <string>

#include "coordinator/gang_flight.h"

namespace tephra::coordinator {

struct ChromeTrace {
  std::string json;
  int ranks = 0;                          // whose flights are known
  int64_t first_step = 0, last_step = 0;  // whole on each of them; 0: the records cover no whole step
  int steps = 0;
  size_t events = 0;  // operations
};

// The last `steps` finished steps whose records every known flight still has; fewer where they have fewer. None: all
// records. Of a lost gang, also what came after them.
// Pure. kNotFound: no rank has a record.
Result<ChromeTrace> chrome_trace(const GangFlight& gang, int steps);

}  // namespace tephra::coordinator
