// What `tephra eval` does once it knows a bench's questions and answers: scores, writes, prints.
#pragma once

#include <map>
#include <string>

#include "eval/score/bench_files.h"

namespace tephra::cli {

struct EvalOutput {
  std::string out;  // folder for NAME.result.json and the report; empty: nothing is written
  bool json = false;
};

// NAME.result.json and a report of it alone.
Status write_result(const eval::BenchResult& result, const std::string& folder);

// Writes and prints a result. The exit code.
int finish_eval(const eval::BenchResult& result, int64_t unknown, const EvalOutput& output);

}  // namespace tephra::cli
