#include "coordinator/job_query.h"

#include <algorithm>
#include <cctype>

#include "coordinator/job_runner.h"

namespace tephra::coordinator {
namespace {

bool contains_folded(const std::string& text, const std::string& part) {
  const auto lower = [](unsigned char c) { return std::tolower(c); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(),
                     [&](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

bool matches(const JobState& state, const JobQuery& query) {
  if (!query.phases.empty() && std::find(query.phases.begin(), query.phases.end(), state.phase) == query.phases.end())
    return false;
  if (!query.text.empty() && !contains_folded(state.id, query.text) && !contains_folded(state.user, query.text) &&
      !contains_folded(state.recipe_name, query.text))
    return false;
  return (query.user.empty() || query.user == state.user) &&
         (query.recipe.empty() || query.recipe == state.recipe_name);
}

}  // namespace

JobPage select_jobs(const Runners& runners, const JobQuery& query) {
  JobPage page;
  const auto take = [&](const JobRunner& runner) {  // false: the page is full
    if (!matches(runner.state(), query)) return true;
    if (page.jobs.size() == query.limit) {
      page.next = page.last;
      return false;
    }
    page.jobs.push_back(runner.view());
    page.last = runner.order();
    return true;
  };
  const auto by_order = [](const std::shared_ptr<JobRunner>& runner, uint64_t order) {
    return runner->order() < order;
  };
  if (query.newest_first) {
    const auto end =
        query.after == 0 ? runners.end() : std::lower_bound(runners.begin(), runners.end(), query.after, by_order);
    for (auto at = std::make_reverse_iterator(end); at != runners.rend() && take(**at); ++at) {
    }
  } else {
    for (auto at = std::lower_bound(runners.begin(), runners.end(), query.after + 1, by_order);
         at != runners.end() && take(**at); ++at) {
    }
  }
  return page;
}

Workload workload_of(const Runners& runners) {
  Workload load;
  for (const auto& runner : runners) {
    const Phase phase = runner->state().phase;
    ++load.jobs[phase];
    if (!holds_slots(phase)) continue;
    load.slots_used += runner->state().slots();
    load.running.push_back(runner->view());
  }
  return load;
}

}  // namespace tephra::coordinator
