// The page: one file, no script, nothing fetched. Everything that comes from outside goes through html_escape.
#include "eval/score/report_view.h"

namespace tephra::eval {
namespace {

const char* const kStyle = R"css(
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #626b76; --line: #e2e5e9; --paper: #ffffff;
  --wash: #f6f7f9; --accent: #2f5fa8;
  --raw: #a9bfe0; --good: #1d7347; --bad: #b0392b; --good-wash: #e9f5ee; --bad-wash: #fbeeec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --dim: #98a1ac; --line: #2e343c; --paper: #14171b;
  --wash: #1b1f25; --accent: #86b0ee;
  --raw: #3c5272; --good: #6cc492; --bad: #ee8f83; --good-wash: #16291f; --bad-wash: #2f1d1b; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 4px; }
h2 { font-size: 19px; line-height: 1.3; letter-spacing: -0.01em; margin: 48px 0 10px; padding-top: 14px;
  border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 26px 0 6px; }
p { margin: 6px 0 12px; max-width: 74ch; }
.meta, .note, figcaption { color: var(--dim); font-size: 13px; }
.meta { margin: 0 0 14px; overflow-wrap: anywhere; }
.summary { font-size: 17px; max-width: 70ch; }
.warning { border-left: 3px solid var(--bad); background: var(--bad-wash); padding: 8px 12px; max-width: none; }
.scroll { overflow-x: auto; margin: 8px 0 14px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; min-width: 40%; }
th, td { padding: 6px 14px 6px 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--dim); font-weight: 500; font-size: 13px; }
th.n, td.n { text-align: right; padding: 6px 0 6px 18px; }
tbody tr:last-child td { border-bottom: 0; }
td.lead { font-weight: 600; }
td.words { white-space: normal; min-width: 8em; }
td small.mark { color: var(--bad); }
td small { display: block; color: var(--dim); font-size: 11.5px; line-height: 1.3; }
.wrap td { white-space: normal; overflow-wrap: anywhere; }
.wrap td:first-child { color: var(--dim); white-space: nowrap; min-width: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 18px 36px; }
figure { margin: 0; min-width: 0; max-width: 560px; }
figure th, figure th.n { white-space: normal; vertical-align: bottom; }
figure > b { display: block; font-size: 14px; margin-bottom: 2px; }
.sparks { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; margin-top: 4px; }
svg { display: block; width: 100%; height: auto; font: 11.5px system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
.sparks svg { font-size: 10.5px; }
svg .tick { fill: var(--dim); } svg .label { fill: var(--ink); font-size: 12.5px; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .guess { stroke: var(--dim); stroke-width: 1;
  stroke-dasharray: 3 3; }
svg path { fill: none; stroke-linejoin: round; }
svg .raw { stroke: var(--raw); stroke-width: 1; } svg .curve { stroke: var(--accent); stroke-width: 1.8; }
  svg .spark { stroke: var(--accent); stroke-width: 1.2; }
svg .whisker { stroke: var(--accent); stroke-width: 2.5; stroke-linecap: round; opacity: .45; }
  svg .dim { stroke: var(--dim); }
svg .dot { fill: var(--accent); } svg .ring { fill: var(--paper); stroke: var(--dim); stroke-width: 1.8; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 16px; }
.example { border: 1px solid var(--line); border-radius: 8px; padding: 14px; display: flex; gap: 14px;
  min-width: 0; break-inside: avoid; }
.example img { width: 112px; height: 112px; object-fit: contain; background: var(--wash); border-radius: 4px;
  image-rendering: auto; flex: none; }
.example .nopicture { width: 112px; flex: none; color: var(--dim); font-size: 12px; overflow-wrap: anywhere; }
.example > div:last-child { min-width: 0; flex: 1; }
.question { white-space: pre-line; overflow-wrap: anywhere; margin: 0 0 6px; font-weight: 500; }
.reason { color: var(--bad); font-size: 13px; margin: 0 0 4px; }
.choices { list-style: none; margin: 0 0 8px; padding: 0; color: var(--dim); font-size: 13.5px; }
.choices .right { color: var(--good); font-weight: 600; }
.reference { margin: 0 0 8px; font-size: 13.5px; color: var(--good); overflow-wrap: anywhere; }
.answers { list-style: none; margin: 0; padding: 0; font-size: 13.5px; }
.answers li { display: grid; grid-template-columns: 1.4em minmax(4em, auto) 1fr; gap: 6px; padding: 3px 6px;
  border-radius: 4px; margin-top: 2px; }
.answers .ok { background: var(--good-wash); } .answers .no { background: var(--bad-wash); }
.answers .said { grid-template-columns: minmax(4em, 8em) 1fr; background: var(--wash); }
.answers .ok span:first-child { color: var(--good); } .answers .no span:first-child { color: var(--bad); }
.answers b { color: var(--dim); font-weight: 400; } .answers b + span { overflow-wrap: anywhere; white-space: pre-line; }
summary { cursor: pointer; padding: 4px 0; }
ul.plain { margin: 6px 0; padding-left: 18px; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  overflow: auto; max-height: 480px; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 24px 16px 48px; } h1 { font-size: 23px; }
  td.lead, td.words { white-space: normal; min-width: 7em; }
  .scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; background: var(--paper); }
  .example { flex-direction: column; } .sparks { grid-template-columns: 1fr 1fr; } }
@page { margin: 14mm; }
@media print { :root { --ink: #000; --dim: #444; --line: #ccc; --paper: #fff; --wash: #fff; --accent: #234f91;
  --raw: #bbb; --good: #135c36; --bad: #932a1e;
  --good-wash: #fff; --bad-wash: #fff; } body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  pre { max-height: none; } h2, h3, h2 + .note, h3 + .note { break-after: avoid; }
  table { font-size: 8.5pt; } th, td { padding-right: 8px; } .scroll { overflow: visible; }
  figure, tr { break-inside: avoid; } }
)css";

std::string element(const char* name, const char* css, const std::string& words) {
  return std::string("<") + name + (*css ? std::string(" class=\"") + css + "\"" : "") + ">" + html_escape(words) +
         "</" + name + ">\n";
}

std::string table_html(const ReportTable& table, const char* css = "") {
  std::string out = std::string("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"") +
                    html_escape(table.title.empty() ? table.id : table.title) + "\"><table id=\"" +
                    html_escape(table.id) + "\"" + (*css ? std::string(" class=\"") + css + "\"" : "") + "><thead><tr>";
  for (size_t i = 0; i < table.header.size(); ++i)
    out += std::string(i >= table.first_numeric ? "<th class=\"n\" scope=\"col\">" : "<th scope=\"col\">") +
           html_escape(table.header[i]) + "</th>";
  out += "</tr></thead><tbody>\n";
  std::string lead;
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      // A bench with several rows is named once.
      const bool repeated = i == 0 && row[0].text == lead;
      const char* cell_css = row[i].numeric        ? " class=\"n\""
                             : i == 0 && *css == 0 ? " class=\"lead\""
                                                   : " class=\"words\"";
      out += std::string("<td") + cell_css + ">" + (repeated ? "" : html_escape(row[i].text));
      if (!row[i].range.empty()) out += "<small>" + html_escape(row[i].range) + "</small>";
      if (!row[i].mark.empty()) out += "<small class=\"mark\">" + html_escape(row[i].mark) + "</small>";
      out += "</td>";
    }
    lead = row[0].text;
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string curves_html(const ReportInput& input) {
  std::string figures;
  for (const auto& stage : input.stages) {
    const std::string loss = loss_svg(stage);
    if (loss.empty()) continue;
    figures += "<figure><b>" + html_escape(stage.name) + "</b>" + loss + "<div class=\"sparks\">" +
               spark_svg(stage, "lr", "learning rate") + spark_svg(stage, "grad_norm", "gradient norm") +
               spark_svg(stage, "tokens_per_s", "tokens/s") + "</div></figure>\n";
  }
  if (figures.empty()) return "";
  return "<h2>Training</h2>\n<p class=\"note\">Loss in nats per supervised token, by optimizer step. All points are in "
         "curves.csv.</p>\n<div class=\"grid\">" +
         figures + "</div>\n";
}

std::string during_html(const std::vector<ReportDuring>& all) {
  if (all.empty()) return "";
  std::string out =
      "<h2>Benches during training</h2>\n<p class=\"note\">On checkpoints of the steps, and after the stage. All numbers "
      "are in bench_curves.csv.</p>\n<div class=\"grid\">";
  for (const ReportDuring& during : all) {
    out += "<figure><b>" + html_escape(during.table.title) + "</b>";
    if (!during.measure.empty()) out += element("figcaption", "", during.measure);
    out += during_svg(during) + table_html(during.table) + "</figure>\n";
  }
  return out + "</div>\n";
}

std::string answer_html(const ReportAnswer& answer) {
  const std::string said = answer.answer.empty() ? "(no answer)" : html_escape(answer.answer);
  const std::string stage = html_escape(answer.stage), verdict = html_escape(answer.verdict);
  if (!answer.correct)
    return "<li class=\"said\"><b>" + stage + "<br>" + verdict + "</b><span>" + said + "</span></li>";
  return std::string("<li class=\"") + (*answer.correct ? "ok" : "no") + "\"><span title=\"" + verdict + "\">" +
         (*answer.correct ? "✓" : "✗") + "</span><b>" + stage + "</b><span>" + said + "</span></li>";
}

std::string example_html(const ReportExample& example) {
  std::string out = "<div class=\"example\">";
  if (!example.picture.empty())
    out += "<img alt=\"Picture of question " + html_escape(example.id) + "\" src=\"" + example.picture + "\">";
  else if (!example.picture_note.empty())
    out += "<div class=\"nopicture\">No picture: " + html_escape(example.picture_note) + "</div>";
  out += "<div>" + (example.reason.empty() ? "" : element("p", "reason", example.reason)) +
         element("p", "question", example.question);
  if (!example.choices.empty()) {
    out += "<ul class=\"choices\">";
    for (size_t i = 0; i < example.choices.size(); ++i) {
      const std::string letter(1, static_cast<char>('A' + i));
      const bool right = letter == example.reference;
      out += element("li", right ? "right" : "", letter + "  " + example.choices[i] + (right ? "  (right)" : ""));
    }
    out += "</ul>";
  } else {
    out += element("p", "reference", "Reference: " + example.reference);
  }
  out += "<ul class=\"answers\">";
  for (const auto& answer : example.answers) out += answer_html(answer);
  out += "</ul><p class=\"note\">" + html_escape(example.id) +
         (example.category.empty() ? "" : ", " + html_escape(example.category)) + "</p>";
  return out + "</div></div>\n";
}

std::string examples_html(const char* title, const char* note, const std::vector<ReportExample>& examples) {
  if (examples.empty()) return "";
  std::string out = element("h3", "", title) + element("p", "note", note) + "<div class=\"examples\">";
  for (const auto& example : examples) out += example_html(example);
  return out + "</div>\n";
}

std::string bench_html(const ReportBench& bench) {
  std::string out = element("h2", "", bench.name);
  if (bench.columns.header.size() > 1) out += element("p", "note", bench.columns.note) + table_html(bench.columns);
  if (!bench.changes.rows.empty())
    out +=
        element("h3", "", bench.changes.title) + element("p", "note", bench.changes.note) + table_html(bench.changes);
  if (!bench.findings.empty()) {
    out += "<ul class=\"plain\">";
    for (const auto& finding : bench.findings) out += element("li", "", finding);
    out += "</ul>\n";
  }
  for (const auto& group : bench.groups)
    out += "<details open><summary>" + html_escape(group.title) + "</summary>" + table_html(group) + "</details>\n";
  out += examples_html(
      "The most telling failures",
      "Wrong after the last stage, and why each is shown; of equals, drawn by a hash of the question's id.",
      bench.failures);
  out += examples_html(
      "Examples",
      has_right_answers(bench.kind)
          ? "In turn: put right by training, still wrong, and right all along; drawn by a hash of the question's id."
          : "Drawn by a hash of the question's id.",
      bench.examples);
  return out;
}

std::string pairs_html(const char* title, const KeyValues& pairs) {
  if (pairs.empty()) return "";
  std::string out = element("h3", "", title) + "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"" +
                    title + "\"><table class=\"wrap\"><tbody>";
  for (const auto& [key, value] : pairs)
    out += "<tr><td>" + html_escape(key) + "</td><td>" + html_escape(value) + "</td></tr>\n";
  return out + "</tbody></table></div>\n";
}

std::string notes_html(const ReportInput& input) {
  std::string out;
  for (const auto& stage : input.stages)
    for (const auto& note : stage.notes) out += element("li", "", stage.name + ": " + note);
  return out.empty() ? "" : "<ul class=\"plain\">" + out + "</ul>\n";
}

}  // namespace

std::string render_html(const ReportInput& input, const ReportView& view) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
      html_escape(input.title) + "</title>\n<style>" + kStyle + "</style></head>\n<body><main>\n";
  out += element("h1", "", input.title);
  out += element("p", "meta", "Job " + input.job + (input.created.empty() ? "" : ", " + input.created));
  if (!view.summary.empty()) out += element("p", "summary", view.summary);
  for (const auto& warning : view.warnings) out += element("p", "warning", warning);
  if (!view.headline.rows.empty()) {
    out += element("h2", "", view.headline.title) + element("p", "note", view.headline.note) +
           table_html(view.headline) + "<div class=\"grid\">";
    for (const auto& ranges : view.ranges)
      out += "<figure><b>" + html_escape(ranges.title) + "</b>" + ranges_svg(ranges) + "</figure>\n";
    out += "</div>\n";
  }
  for (const auto& bench : view.benches) out += bench_html(bench);
  out += curves_html(input) + during_html(view.during);
  out += element("h2", "", view.stages.title) + table_html(view.stages) + notes_html(input);
  out += element("h2", "", "Made with");
  for (const auto& bench : view.benches)
    out += element("h3", "", bench.pinned.title) + table_html(bench.pinned, "wrap");
  out += pairs_html("Lineage", input.lineage) + pairs_html("Hand-over", input.handover) +
         pairs_html("Environment", input.environment);
  // It scrolls, so the keyboard reaches it.
  if (!input.recipe.empty())
    out += element("h2", "", "Recipe") + "<pre tabindex=\"0\">" + html_escape(input.recipe) + "</pre>\n";
  return out + "</main></body></html>\n";
}

}  // namespace tephra::eval
