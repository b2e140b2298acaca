// The report of a job: one HTML file that opens with no network, the same in Markdown and JSON, and the curves as CSV.
// All formats are written from one list of figures, so they cannot disagree.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "eval/score/results.h"
#include "eval/score/statistics.h"

namespace tephra::eval {

struct CurvePoint {
  int64_t step = 0;  // 0-based optimizer step
  double loss = 0;   // nats per supervised token
  double lr = 0;
  double grad_norm = 0;  // before clipping
  double tokens_per_s = 0;
};

// What a bench measured on the checkpoint of a step during the stage. Cases are for intervals alone: `result` may have none.
struct DuringStage {
  int64_t step = 0;  // optimizer steps done
  BenchResult result;
};

struct StageReport {
  std::string name;
  std::string kind;        // train | contrastive | language_model; empty for a base that was only evaluated
  std::string checkpoint;  // JOB/STAGE@STEP
  std::vector<CurvePoint> curve;
  std::vector<BenchResult> benches;
  std::vector<std::string> notes;
  double duration_s = 0;           // seconds, all attempts
  int64_t trained_parameters = 0;  // elements
  int64_t total_parameters = 0;    // elements; 0: unknown
  int64_t world_size = 0;          // ranks of the last attempt
  int64_t attempts = 0;
  std::vector<DuringStage> during{};  // by bench, then step; may be empty
};

// A column to compare the stages with: an answerer that never sees a picture.
struct Baseline {
  std::string name;                       // "majority", "blind"
  std::map<std::string, double> metrics;  // bench name -> accuracy, 0..1
};

// Those of `names` that any bench of the stages measured (BenchResult::metrics), in the order of `names`.
std::vector<Baseline> baselines_of(const std::vector<std::string>& names, const std::vector<StageReport>& stages);

using KeyValues = std::vector<std::pair<std::string, std::string>>;

struct ReportInput {
  std::string title;
  std::string job;
  std::string created;      // ISO 8601, given by the caller (the report reads no clock)
  std::string ended_early;  // "failed: why", "cancelled: why"; empty: the job did all that its recipe says
  std::vector<StageReport> stages;
  std::string recipe;     // text as resolved
  KeyValues lineage;      // checkpoint -> parent, hashes
  KeyValues handover;     // vision tower, template, tokenizer hash, data hash, ...
  KeyValues environment;  // build, host, threads
  std::vector<Baseline> baselines;
  int examples_per_bench = 20;                      // cases shown with pictures: mixed right and wrong
  int failures_per_bench = 6;                       // and of the most telling failures
  int64_t picture_bytes_max = int64_t{256} * 1024;  // larger picture files are named, not embedded
};

// What changed between two results of one bench, on the questions that both answered.
struct Change {
  std::vector<std::string> differing;  // pinned settings that differ: then the numbers should not be compared
  int64_t questions = 0;               // answered by both
  double difference = 0;               // after - before: share right, or mean of the bench's score per question
  Interval interval;                   // 95 %, bootstrap over the questions
  std::optional<double> p_value;       // McNemar's, of benches with right and wrong answers
};
Change change_between(const BenchResult& before, const BenchResult& after);

// Writes report.html, report.md, report.json, curves.csv, bench_curves.csv and results.csv into `out_dir` (made when absent), each atomically. Blocks
// on disk. A picture that cannot be read becomes a note in its place. Errors are the Env's, with the path.
Status write_report(const ReportInput& input, const std::string& out_dir);

// The texts of the six files by name, without writing them (pictures are still read).
std::map<std::string, std::string> render_report(const ReportInput& input);

}  // namespace tephra::eval
