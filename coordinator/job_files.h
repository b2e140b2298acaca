// STORE/jobs/JOB/: what a job leaves for people and other programs.
//
//   recipe.json                     as resolved
//   logs/attempt-N/gang.log         ranks' stdout and stderr
//   logs/attempt-N/flights.json     what the ranks did last: of a lost gang, or at the end of its last training task
//   logs/attempt-N/flight_report.json   of a lost gang: which rank was behind, and the page that says so
//   checkpoints.log                 which checkpoints were removed and why, where the best one was, space given back
//   metrics.jsonl                   one line a step and attempt; of a step that occurs again the last line counts
//   tensorboard/                    the same numbers as TensorBoard events
//   eval/STAGE/BENCH.answers.jsonl  {"id", "text", "json"}, as they were made; the last line of an id counts
//   eval/STAGE/BENCH.result.json    eval::to_json of the scores
//   report/                         report.html, report.md, report.json, curves.csv
//
// A bench that is run during a stage is BENCH@STEP in the names of its files.
//
// Threading: paths from any thread; the rest blocks on disk and runs on one thread at a time (the job's lane).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "cluster/messages.h"
#include "coordinator/gang_flight.h"
#include "coordinator/job_state.h"
#include "coordinator/judge_policy.h"
#include "coordinator/judging.h"
#include "coordinator/preparation.h"
#include "eval/score/report.h"
#include "eval/score/results.h"
#include "recipes/gate.h"
#include "recipes/recipe.h"

namespace tephra::storage {
class Store;
}

namespace tephra::coordinator {

inline std::string job_directory(const std::string& store_dir, const std::string& job) {
  return store_dir + "/jobs/" + job;
}

class JobFiles {
 public:
  explicit JobFiles(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const { return directory_; }
  std::string log_dir(uint32_t attempt) const;
  std::string metrics_path() const { return directory_ + "/metrics.jsonl"; }
  // `step` here and below: of the checkpoint that the bench is run on during the stage; 0: after the stage.
  std::string answers_path(const std::string& stage, const std::string& bench, int64_t step = 0) const;
  std::string result_path(const std::string& stage, const std::string& bench, int64_t step = 0) const;
  std::string judge_dir(const std::string& stage, const std::string& bench,
                        int64_t step = 0) const;  // journal of the judge's replies
  std::string checkpoints_log_path() const { return directory_ + "/checkpoints.log"; }
  std::string report_dir() const { return directory_ + "/report"; }
  std::string report_path() const { return report_dir() + "/report.html"; }

  std::string flights_path(uint32_t attempt) const { return log_dir(attempt) + "/flights.json"; }
  std::string flight_report_path(uint32_t attempt) const { return log_dir(attempt) + "/flight_report.json"; }

  Status create(const std::string& recipe_json) const;
  Status append_step(uint32_t attempt, int64_t unix_ms, const cluster::StepProgress& step) const;
  // The numbers of a bench that was run during the stage, as TensorBoard events.
  Status append_bench(int64_t unix_ms, const std::string& stage, int64_t step, const eval::BenchResult& result) const;
  int64_t last_step(const std::string& stage) const;  // that append_step has written; 0: none
  Status append_answers(const std::string& stage, const std::string& bench, int64_t step,
                        const std::vector<cluster::Answer>& answers) const;
  // What was done to the job's checkpoints after they were committed: "2026-01-31T12:00:00Z checkpoint ... removed: ...".
  Status append_checkpoint_line(int64_t unix_ms, const std::string& line) const;
  // The attempt's flights, and of a lost gang the report.
  Status write_flights(const GangFlight& gang) const;
  // Those of `attempt`, or with 0 of the newest attempt up to `last` that has filed any. kNotFound.
  Result<std::string> read_flights(uint32_t attempt, uint32_t last) const;
  Result<std::string> read_flight_report(uint32_t attempt, uint32_t last) const;
  // Id -> text. A line that was torn by a kill is passed over: its question is asked again.
  Result<std::map<std::string, std::string>> read_answers(const std::string& stage, const std::string& bench,
                                                          int64_t step = 0) const;
  // What was measured during the stage, by bench and step.
  Result<std::vector<eval::DuringStage>> read_during(const JobState& state, size_t stage) const;

  // Scores the bench's answers and writes the result file; returns its text.
  // With a judge its replies are asked for first, those that earlier calls did not get; one that cannot be had, or that
  // `judges` does not allow, leaves the result incomplete, with the reason. progress: of the judge; may be empty.
  Result<eval::BenchResult> score(const recipes::Recipe& recipe, const PreparedJob& prepared, const std::string& stage,
                                  const std::string& bench, int64_t step, const JudgePolicy& judges,
                                  const std::function<void(const JudgeProgress&)>& progress = {}) const;
  // The stage's gates, by the results that have been written so far, in the recipe's order.
  Result<std::vector<recipes::GateOutcome>> judge_gates(const recipes::Recipe& recipe, const JobState& state,
                                                        const std::string& stage) const;
  // Of every stage that has a checkpoint, whether or not the stage, or the job, came to its end.
  Status write_report(const recipes::Recipe& recipe, const JobState& state, const PreparedJob& prepared,
                      const storage::Store& store, int64_t now_unix_ms) const;

 private:
  std::string directory_;
};

// "2026-01-31T12:00:00Z"
std::string iso_time(int64_t unix_ms);

}  // namespace tephra::coordinator
