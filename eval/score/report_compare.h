// Reports of several jobs beside each other.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "eval/score/report.h"

namespace tephra::eval {

// What a report.json says of its stages: names, checkpoints, curves and every result with its cases. kCorruption: it is none, and why.
Result<ReportInput> read_report(const std::string& json_text, const std::string& where);

// One report of all given ones: each stage that has results, or each job's last such stage, named JOB/STAGE, in the given order.
// Differences are between neighbours; what was run with other settings is marked as not comparable.
ReportInput compare_reports(const std::vector<ReportInput>& reports, bool last_stage_only);

}  // namespace tephra::eval
