#include "eval/score/published_rows.h"

#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

struct Row {
  const char* name;
  double values[9];  // percent: NAT SOC LAN TXT IMG NO G1-6 G7-12 Avg
};

// Liu et al. 2023, "Visual Instruction Tuning", the table of ScienceQA.
constexpr Row kRows[] = {
    {"human", {90.23, 84.97, 87.48, 89.60, 87.50, 88.10, 91.59, 82.42, 88.40}},
    {"GPT-4, text only", {84.06, 73.45, 87.36, 81.87, 70.75, 90.73, 84.69, 79.10, 82.69}},
    {"LLaVA 13B", {90.36, 95.95, 88.00, 89.49, 88.00, 90.66, 90.93, 90.90, 90.92}},
    {"LLaVA + GPT-4, complement", {90.36, 95.50, 88.55, 89.05, 87.80, 91.08, 92.22, 88.73, 90.97}},
    {"LLaVA + GPT-4, judge", {91.56, 96.74, 91.09, 90.62, 88.99, 93.52, 92.73, 92.16, 92.53}},
};

}  // namespace

void add_published_rows(ReportTable* nine_columns) {
  if (nine_columns->header.size() != 10) return;
  for (const Row& row : kRows) {
    std::vector<ReportCell> cells = {text_cell(std::string(row.name) + " (paper)")};
    for (const double value : row.values) cells.push_back(number_cell(value, fixed(value, 2)));
    nine_columns->rows.push_back(std::move(cells));
  }
  nine_columns->note += " Rows of the paper (Liu et al. 2023) are over all 4,241 test questions.";
}

}  // namespace tephra::eval
