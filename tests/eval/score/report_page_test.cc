// The page by other people's programs: HTML by html5lib in strict mode and by tidy, accessibility by axe-core in headless Chromium.
// Without them (scripts/eval_venv.sh, scripts/web_venv.sh; Debian's tidy and chromium) the tests say that they did not run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "eval/score/report.h"
#include "tests/eval/score/eval_python.h"
#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

bool has_program(const std::string& name) {
  return std::system(("command -v " + name + " > /dev/null 2>&1").c_str()) == 0;
}

// Every part that a report can have: stages with curves, benches of several kinds, pictures, failures, groups, marks and warnings.
std::string whole_report(const TemporaryFolder& folder) {
  // A PNG of one pixel.
  const std::string png = std::string(
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\b\2\0\0\0\x90wS\xde\0\0\0\fIDATx\x9c"
      "c\xf8\xcf\xc0\0\0\3\1\1\0\x18\xdd\x8d\xb0\0\0\0\0IEND\xae"
      "B`\x82",
      69);
  const std::string picture = folder.write("p.png", png);
  const auto bench = [&](const std::string& kind, int right) {
    BenchResult result;
    result.bench = kind;
    result.kind = kind;
    result.pinned = {{"prompt", "CQM-A <b>"}, {"data_hash", "abc"}};
    for (int i = 0; i < 40; ++i) {
      CaseRow row;
      row.id = "q" + std::to_string(i);
      row.question = "Which colour has shape " + std::to_string(i) + " & why < 3?";
      if (kind == "scienceqa") row.choices = {"red", "green", "blue"};
      row.reference = kind == "scienceqa" ? "A" : "red";
      row.correct = i < right;
      row.parsed = row.answer = row.correct ? "A" : "";
      row.image_path = i % 3 == 0 ? picture : i % 3 == 1 ? folder.path("none.png") : "";
      row.category = i % 2 == 0 ? "color" : "shape";
      if (kind == "vqav2") row.scores["accuracy"] = row.correct ? 0.9 : 0.1;
      if (kind == "scienceqa") row.correct_swapped = i % 4 == 0;
      if (kind == "llava_bench" && i % 3 != 0) row.scores = {{"answer_score", 6}, {"reference_score", 8}};
      result.cases.push_back(row);
    }
    if (kind == "scienceqa") {
      for (const auto& name : column_names()) result.columns.push_back({name, right, 40, {}});
      result.groups["topic"] = {{"verbs", 3, 4, {}}, {"maps", 0, 2, {}}};
    }
    summarize(&result);
    return result;
  };
  ReportInput in;
  in.title = "Whole report";
  in.job = "job-1";
  in.created = "2026-01-02T03:04:05Z";
  in.recipe = "name: demo\nmodel: {a: <b>}\n";
  for (int i = 0; i < 60; ++i) in.recipe += "# so long that it scrolls\n";
  in.lineage = {{"align@10", "base"}};
  in.handover = {{"template", "v1"}};
  in.environment = {{"build", "release"}};
  StageReport base{"base", "", "", {}, {bench("scienceqa", 10), bench("vqav2", 5)}, {}};
  StageReport tune{"tune",
                   "train",
                   "job-1/tune@20",
                   {},
                   {bench("scienceqa", 33), bench("vqav2", 30), bench("llava_bench", 0)},
                   {"restarted once"}};
  tune.benches[1].pinned["prompt"] = "another";
  tune.benches[1].incomplete = "the judge does not answer";
  for (int step = 0; step < 20; ++step) tune.curve.push_back({step, 5.0 / (step + 1), 1e-3, 1.5, 1000});
  tune.duration_s = 75;
  in.stages = {base, tune};
  return render_report(in).at("report.html");
}

TEST(ReportPage, IsValidForHtml5lib) {
  const std::string python = eval_python("html5lib");
  if (python.empty()) GTEST_SKIP() << "NOT RUN: no Python with html5lib; scripts/eval_venv.sh makes one";
  const TemporaryFolder folder;
  const auto said = run_python(python, R"py(
import json, re, sys, html5lib
text = json.load(open(sys.argv[1]))
html5lib.HTMLParser(strict=True).parse(text)
# The reader would refuse what is wrong:
try:
    html5lib.HTMLParser(strict=True).parse(text.replace("</table>", "</tabel>", 1))
    wrong = "taken"
except html5lib.html5parser.ParseError:
    wrong = "refused"
json.dump({"ids": re.findall(r'\sid="([^"]*)"', text), "wrong": wrong}, open(sys.argv[2], "w"))
)py",
                               whole_report(folder));
  ASSERT_TRUE(said.is_object()) << said;
  EXPECT_EQ(said["wrong"], "refused");
  const auto ids = said["ids"].get<std::vector<std::string>>();
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size()) << "an id is there twice";
}

TEST(ReportPage, IsValidForTidy) {
  if (!has_program("tidy")) GTEST_SKIP() << "NOT RUN: no tidy (Debian: tidy)";
  const TemporaryFolder folder;
  const std::string page = folder.write("report.html", whole_report(folder));
  const std::string log = folder.path("log");
  const int code =
      std::system(("tidy -errors -quiet --drop-empty-elements no '" + page + "' > '" + log + "' 2>&1").c_str());
  std::ifstream file(log);
  EXPECT_EQ(code, 0) << std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(ReportPage, HasNoAccessibilityViolationForAxe) {
  const std::string python = eval_python("axe_playwright_python");
  const std::string browser = has_program("chromium")           ? "chromium"
                              : has_program("chromium-browser") ? "chromium-browser"
                                                                : "";
  if (python.empty() || browser.empty())
    GTEST_SKIP() << "NOT RUN: needs chromium (Debian) and axe-core; scripts/web_venv.sh makes a Python with it";
  const TemporaryFolder folder;
  const auto said = run_python(python, R"py(
import json, os, sys
from playwright.sync_api import sync_playwright
from axe_playwright_python.sync_playwright import Axe
import shutil
page_path = os.path.join(os.path.dirname(sys.argv[1]), "page.html")
open(page_path, "w").write(json.load(open(sys.argv[1])))
out = []
with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=["--no-sandbox"])
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.goto("file://" + page_path)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            found = Axe().run(page).response["violations"]
            out += [f"{scheme} {width}: {v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found]
            if page.evaluate("document.documentElement.scrollWidth") > width: out.append(f"{scheme} {width}: the page scrolls sideways")
    broken = browser.new_page()
    broken.set_content("<html><body><img src='x.png'></body></html>")
    refuses = any(v["id"] == "image-alt" for v in Axe().run(broken).response["violations"])
    browser.close()
json.dump({"violations": out, "refuses": refuses}, open(sys.argv[2], "w"))
)py",
                               whole_report(folder));
  ASSERT_TRUE(said.is_object()) << said;
  EXPECT_TRUE(said["refuses"].get<bool>());
  EXPECT_EQ(said["violations"].size(), 0u) << said["violations"].dump(1);
}

}  // namespace
}  // namespace tephra::eval
