// What a report says, before it is HTML, Markdown or JSON: tables whose cells hold both the number and the one text
// that every format shows, so that the formats cannot disagree.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "eval/score/report.h"

namespace tephra::eval {

struct ReportCell {
  std::string text;                                         // "88.6"; "–": not measured
  std::string range;                                        // "84.9–91.5"; empty: none
  double value = std::numeric_limits<double>::quiet_NaN();  // the number behind the text, in the text's unit
  double low = std::numeric_limits<double>::quiet_NaN();    // of the range
  double high = std::numeric_limits<double>::quiet_NaN();
  bool numeric = false;  // set to the right
  std::string mark;      // "not comparable", "incomplete"; empty: none
};

struct ReportTable {
  std::string id;  // "headline", "stages", "bench-science"
  std::string title;
  std::string note;  // how to read it
  std::vector<std::string> header;
  std::vector<std::vector<ReportCell>> rows;
  size_t first_numeric = 1;  // columns from here on are set to the right
};

// One bench's numbers as a picture: a row a stage, on an axis of 0 to 100 %.
struct ReportRange {
  std::string label;
  ReportCell cell;
  bool swapped = false;
};
struct ReportRanges {
  std::string title;
  double guess = std::numeric_limits<double>::quiet_NaN();  // %
  std::vector<ReportRange> rows;
};

struct ReportAnswer {
  std::string stage;
  std::string answer;           // raw, cut
  std::string verdict;          // "right", "wrong", or what it scored: "7.5 of 10, the reference 8.0", "not judged"
  std::optional<bool> correct;  // absent: the bench has no right answers
};
struct ReportExample {
  std::string bench;
  std::string id;
  std::string category;
  std::string question;
  std::vector<std::string> choices;
  std::string reference;
  std::string picture;       // data URI; empty: none
  std::string picture_note;  // why there is none, when there should be
  std::vector<ReportAnswer> answers;
  std::string reason;  // of a failure: why it is shown
};

struct ReportBench {
  std::string name;
  std::string kind;
  ReportTable columns;                // the nine columns, or categories
  std::vector<ReportTable> groups;    // by topic, by grade; may be empty
  ReportTable changes;                // from stage to stage; may have no rows
  ReportTable pinned;                 // what the numbers depend on
  std::vector<std::string> findings;  // sentences: differences with their p-values
  std::vector<ReportExample> examples;
  std::vector<ReportExample> failures;
};

// A bench by the steps of a stage at which it was run, and after it.
struct ReportDuring {
  ReportTable table;
  std::string measure;                                 // of the curve: the bench's first
  std::vector<std::pair<int64_t, ReportCell>> points;  // by step
};

struct ReportView {
  std::string summary;  // one sentence
  ReportTable headline;
  std::vector<ReportRanges> ranges;
  ReportTable stages;
  std::vector<ReportBench> benches;
  std::vector<ReportDuring> during;
  std::vector<std::string> warnings;  // a job that ended early; results that should not be compared
};

// Reads the examples' pictures; otherwise pure.
ReportView make_report_view(const ReportInput& input);

// "0.0031" as written everywhere in the report: `digits` after the point.
std::string fixed(double value, int digits);
std::string grouped(int64_t value);         // 1,234,567
std::string duration_text(double seconds);  // "1 h 02 min", "3 min 20 s", "12.4 s"
std::string compact(double value);          // three significant digits: "0.00123", "12.3", "4560"

// The picture file as a data URI; kUnsupported for anything but PNG and JPEG, kInvalidArgument when larger than
// `size_bytes_max`.
Result<std::string> picture_data_uri(const std::string& path, int64_t size_bytes_max);

// The curves and ranges as SVG elements, coloured by the page's style sheet.
std::string ranges_svg(const ReportRanges& ranges);
std::string loss_svg(const StageReport& stage);
std::string during_svg(const ReportDuring& during);  // empty: no point has a number
// name: "lr", "grad_norm" or "tokens_per_s"; empty when the curve has no such numbers.
std::string spark_svg(const StageReport& stage, const std::string& name, const std::string& label);

std::string html_escape(std::string_view text);
std::string render_html(const ReportInput& input, const ReportView& view);

}  // namespace tephra::eval
