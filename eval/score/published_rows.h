// ScienceQA's numbers as the LLaVA paper prints them, to stand beside one's own.
#pragma once

#include "eval/score/report_view.h"

namespace tephra::eval {

// Rows behind a table of the nine columns, each with where it comes from. They are over the whole test split of 4,241 questions.
void add_published_rows(ReportTable* nine_columns);

}  // namespace tephra::eval
