#include "coordinator/job_table.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/env.h"
#include "coordinator/job_files.h"
#include "coordinator/job_runner.h"

namespace tephra::coordinator {
namespace {

bool contains_folded(const std::string& text, const std::string& part) {
  const auto lower = [](unsigned char c) { return std::tolower(c); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(),
                     [&](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

bool matches(const JobEntry& job, const JobQuery& query) {
  if (!query.phases.empty() && std::find(query.phases.begin(), query.phases.end(), job.phase()) == query.phases.end())
    return false;
  if (!query.text.empty() && !contains_folded(job.id, query.text) && !contains_folded(job.user, query.text) &&
      !contains_folded(job.recipe_name, query.text))
    return false;
  if (query.ended_since_unix_ms > 0 && (job.runner != nullptr || job.finished_unix_ms < query.ended_since_unix_ms))
    return false;
  return (query.user.empty() || query.user == job.user) && (query.recipe.empty() || query.recipe == job.recipe_name);
}

JobView view_of(const JobEntry& job) {
  if (job.runner != nullptr) return job.runner->view();
  JobView view;
  view.state.id = job.id;
  view.state.phase = job.ended_as;
  return view;
}

}  // namespace

JobView stored_view(JobState state, const std::string& store_dir) {
  JobView view;
  view.state = std::move(state);
  const JobFiles files(job_directory(store_dir, view.state.id));
  view.directory = files.directory();
  if (Env::posix().exists(files.report_path())) view.report_path = files.report_path();
  return view;
}

JobQuery unfinished_jobs() {
  JobQuery query;
  query.phases = {Phase::kQueued,   Phase::kPaused,     Phase::kPreparing,
                  Phase::kTraining, Phase::kEvaluating, Phase::kReporting};
  query.limit = SIZE_MAX;
  return query;
}

Phase JobEntry::phase() const { return runner == nullptr ? ended_as : runner->state().phase; }

JobEntry live_entry(std::shared_ptr<JobRunner> runner) {
  const JobState& state = runner->state();
  JobEntry entry{.id = state.id, .user = state.user, .recipe_name = state.recipe_name, .order = runner->order()};
  entry.runner = std::move(runner);
  return entry;
}

JobEntry ended_entry(const JobState& state, uint64_t order) {
  return {.id = state.id,
          .user = state.user,
          .recipe_name = state.recipe_name,
          .order = order,
          .ended_as = state.phase,
          .attempt = state.attempt,
          .finished_unix_ms = state.finished_unix_ms};
}

void JobTable::add(JobEntry entry) {
  JobEntry& added = entries_.emplace_back(std::move(entry));
  by_id_[added.id] = &added;
}

const JobEntry* JobTable::find(std::string_view job) const {
  const auto found = by_id_.find(job);
  return found == by_id_.end() ? nullptr : found->second;
}

JobRunner* JobTable::runner(std::string_view job) const {
  const JobEntry* entry = find(job);
  return entry == nullptr ? nullptr : entry->runner.get();
}

void JobTable::retire(std::string_view job) {
  JobEntry& entry = *by_id_.at(job);
  JobEntry ended = ended_entry(entry.runner->state(), entry.order);
  entry.ended_as = ended.ended_as;
  entry.attempt = ended.attempt;
  entry.finished_unix_ms = ended.finished_unix_ms;
  entry.runner.reset();
}

JobPage JobTable::select(const JobQuery& query) const {
  JobPage page;
  const auto take = [&](const JobEntry& job) {  // false: the page is full
    if (!matches(job, query)) return true;
    if (page.jobs.size() == query.limit) {
      page.next = page.last;
      return false;
    }
    page.jobs.push_back(view_of(job));
    page.last = job.order;
    return true;
  };
  const auto by_order = [](const JobEntry& job, uint64_t order) { return job.order < order; };
  if (query.newest_first) {
    const auto end =
        query.after == 0 ? entries_.end() : std::lower_bound(entries_.begin(), entries_.end(), query.after, by_order);
    for (auto at = std::make_reverse_iterator(end); at != entries_.rend() && take(*at); ++at) {
    }
  } else {
    for (auto at = std::lower_bound(entries_.begin(), entries_.end(), query.after + 1, by_order);
         at != entries_.end() && take(*at); ++at) {
    }
  }
  return page;
}

Workload JobTable::workload() const {
  Workload load;
  for (const JobEntry& job : entries_) {
    const Phase phase = job.phase();
    ++load.jobs[phase];
    if (job.runner == nullptr || !holds_slots(phase)) continue;
    load.slots_used += job.runner->state().slots();
    load.running.push_back(job.runner->view());
  }
  return load;
}

}  // namespace tephra::coordinator
