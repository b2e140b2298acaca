// Looking at the jobs of a coordinator. On the dispatcher thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {

class JobRunner;
using Runners = std::vector<std::shared_ptr<JobRunner>>;  // in order of submission

JobPage select_jobs(const Runners& runners, const JobQuery& query);
Workload workload_of(const Runners& runners);

}  // namespace tephra::coordinator
