// The report: its formats agree on every figure, it fetches nothing, and hostile text stays text.
#include "eval/score/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "eval/score/report_compare.h"
#include "eval/score/report_view.h"

namespace tephra::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A PNG file of one pixel is enough: the report embeds bytes and decodes nothing.
const std::string kPng = std::string("\x89PNG\r\n\x1a\n", 8) + "pixels";

class ReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = ::testing::TempDir() + "reportXXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    std::ofstream(folder + "/p.png", std::ios::binary) << kPng;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  BenchResult bench(int right, bool nine_columns = true) {
    BenchResult result;
    result.bench = "science";
    result.kind = "scienceqa";
    result.pinned = {{"prompt", "CQM-A"}, {"data_hash", "abc"}};
    for (int i = 0; i < 40; ++i) {
      CaseRow row;
      row.id = "q" + std::to_string(i);
      row.question = "Which colour has shape " + std::to_string(i) + "?";
      row.choices = {"red", "green", "blue", "yellow"};
      row.reference = std::string(1, static_cast<char>('A' + i % 4));
      row.correct = i < right;
      row.parsed = row.correct ? row.reference : "";
      row.answer = row.correct ? "The answer is " + row.reference + "." : "no idea";
      row.image_path = folder + "/p.png";
      row.correct_swapped = i % 4 == 0;
      result.cases.push_back(row);
    }
    if (nine_columns)
      for (const auto& name : column_names()) result.columns.push_back({name, right, 40, {}});
    summarize(&result);
    return result;
  }

  ReportInput input() {
    ReportInput in;
    in.title = "Demo";
    in.job = "job-1";
    in.created = "2026-01-02T03:04:05Z";
    in.recipe = "name: demo\n";
    in.lineage = {{"align@10", "base"}};
    StageReport base{"base", "", "", {}, {bench(10)}, {}};
    StageReport tune{"tune", "train", "job-1/tune@20", {}, {bench(33)}, {"restarted once"}};
    for (int step = 0; step < 20; ++step) tune.curve.push_back({step, 5.0 / (step + 1), 1e-3, 1.5, 1000});
    tune.duration_s = 75;
    tune.trained_parameters = 12345678;
    tune.world_size = 2;
    tune.attempts = 2;
    in.stages = {base, tune};
    return in;
  }

  std::string folder;
};

TEST_F(ReportTest, ShowsWhatBenchesMeasuredDuringAStage) {
  ReportInput in = input();
  for (const auto& [step, right] : {std::pair{5, 12}, {10, 20}, {15, 30}}) {
    BenchResult result = bench(right);
    result.cases.clear();
    in.stages[1].during.push_back({step, std::move(result)});
  }
  const auto files = render_report(in);
  EXPECT_THAT(files.at("bench_curves.csv"), HasSubstr("stage,step,bench,kind,metric,value\n"));
  EXPECT_THAT(files.at("bench_curves.csv"), HasSubstr("tune,5,science,scienceqa,accuracy,0.3\n"));
  EXPECT_THAT(files.at("report.md"), HasSubstr("## science during tune"));
  EXPECT_THAT(files.at("report.md"), HasSubstr("| 10 | 50.0 ("));
  EXPECT_THAT(files.at("report.md"), HasSubstr("| 20 | 82.5 (")) << "the curve ends with the stage's own result";
  const std::string& html = files.at("report.html");
  EXPECT_THAT(html, HasSubstr("science during tune, accuracy, percent by step, from 30.0 to 82.5"));
  size_t dots = 0;
  for (size_t at = html.find("r=\"3.5\""); at != std::string::npos; at = html.find("r=\"3.5\"", at + 1)) ++dots;
  EXPECT_EQ(dots, 4u);
  // It travels with the report: two compared show it too.
  const auto again = read_report(files.at("report.json"), "report.json");
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  ASSERT_EQ(again->stages[1].during.size(), 3u);
  EXPECT_EQ(again->stages[1].during[1].step, 10);
  EXPECT_THAT(render_report(input()).at("report.html"), Not(HasSubstr("Benches during training")));
}

TEST_F(ReportTest, ThePapersRowsStandBesideScienceQaAlone) {
  ReportInput in = input();
  EXPECT_THAT(render_report(in).at("report.html"), Not(HasSubstr("(paper)"))) << "questions in ScienceQA's form";
  in.stages[1].benches[0].published = kScienceQaTest;
  const auto files = render_report(in);
  EXPECT_THAT(files.at("report.html"), HasSubstr("LLaVA 13B (paper)"));
  EXPECT_EQ(read_report(files.at("report.json"), "report.json")->stages[1].benches[0].published, kScienceQaTest);
}

TEST_F(ReportTest, SaysHowAJobEndedEarly) {
  ReportInput in = input();
  EXPECT_THAT(render_report(in).at("report.md"), Not(HasSubstr("did not finish")));
  in.ended_early = "failed: rank 1 ended by signal 9";
  const auto files = render_report(in);
  for (const char* name : {"report.html", "report.md", "report.json"})
    EXPECT_THAT(files.at(name), HasSubstr("The job did not finish; this is what it had done. It failed: rank 1"))
        << name;
}

TEST_F(ReportTest, AllFormatsShowTheSameFigures) {
  const auto files = render_report(input());
  const auto json = nlohmann::json::parse(files.at("report.json"));
  size_t figures = 0;
  for (const auto& table : json["tables"]) {
    for (const auto& row : table["rows"]) {
      for (const auto& cell : row) {
        if (!cell.contains("value")) continue;
        ++figures;
        const std::string text = html_escape(cell["text"].get<std::string>()), range = cell.value("range", "");
        EXPECT_THAT(files.at("report.html"),
                    HasSubstr(">" + text + (range.empty() ? "</td>" : "<small>" + range + "</small>")));
        EXPECT_THAT(files.at("report.md"), HasSubstr("| " + text + (range.empty() ? " |" : " (" + range + ") |")));
      }
    }
  }
  EXPECT_GT(figures, 30u);
}

TEST_F(ReportTest, FiguresAreThoseOfTheResults) {
  const auto json = nlohmann::json::parse(render_report(input()).at("report.json"));
  const auto& headline = json["tables"][0];
  EXPECT_EQ(headline["header"],
            (std::vector<std::string>{"Bench", "Measure", "Questions", "base", "tune", "guessing", "majority"}));
  const auto& accuracy = headline["rows"][0];
  EXPECT_EQ(accuracy[3]["text"], "25.0");
  EXPECT_EQ(accuracy[4]["text"], "82.5");
  EXPECT_NEAR(accuracy[4]["low"].get<double>(), 68.05, 0.01);  // Wilson, 33 of 40
  EXPECT_NEAR(accuracy[4]["high"].get<double>(), 91.25, 0.01);
  EXPECT_EQ(accuracy[5]["text"], "25.0");
  EXPECT_EQ(headline["rows"][2][1]["text"], "picture questions, swapped pictures");
  EXPECT_EQ(json["stages"][1]["benches"][0]["cases"].size(), 40u);
  EXPECT_THAT(json["findings"]["science"].dump(), HasSubstr("base: 30 answers could not be read"));
  EXPECT_THAT(json["findings"]["science"].dump(),
              HasSubstr("tune against base: +57.5 points on 40 questions (p < 0.001, McNemar)."));
}

TEST_F(ReportTest, ShowsTheNineColumnsStageByStage) {
  const auto json = nlohmann::json::parse(render_report(input()).at("report.json"));
  const auto& table = json["tables"][2];
  EXPECT_EQ(table["header"],
            (std::vector<std::string>{"Stage", "NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12", "Avg"}));
  EXPECT_EQ(table["rows"][1][9]["text"], "82.50");
  EXPECT_EQ(table["rows"][2][1]["text"], "40");
}

TEST_F(ReportTest, BlindAndSwappedPicturesAreSeparateFigures) {
  ReportInput in = input();
  for (auto& stage : in.stages) {
    BenchResult& result = stage.benches[0];
    result.kind = "vqa";
    result.columns.clear();
    for (size_t i = 0; i < result.cases.size(); ++i) {
      result.cases[i].category = i < 10 ? "color" : "shape";
      result.cases[i].baselines = {{"majority", i < 4}, {"blind", i < 15}};
    }
    summarize(&result);
  }
  in.baselines = baselines_of({"majority", "blind", "none"}, in.stages);
  ASSERT_EQ(in.baselines.size(), 2u);
  const auto json = nlohmann::json::parse(render_report(in).at("report.json"));
  const auto& headline = json["tables"][0];
  EXPECT_EQ(headline["header"][6], "majority");
  EXPECT_EQ(headline["header"][7], "blind");
  EXPECT_EQ(headline["rows"][0][6]["text"], "10.0");
  EXPECT_EQ(headline["rows"][0][7]["text"], "37.5");
  EXPECT_EQ(headline["rows"][2][1]["text"], "picture questions, swapped pictures");
  EXPECT_EQ(headline["rows"][2][4]["text"], "25.0");
  const auto& columns = json["tables"][2];
  EXPECT_EQ(columns["header"], (std::vector<std::string>{"Stage", "color", "shape"}));
  ASSERT_EQ(columns["rows"].size(), 5u);
  EXPECT_EQ(columns["rows"][2][0]["text"], "blind");
  EXPECT_EQ(columns["rows"][2][1]["text"], "100.00");
  EXPECT_EQ(columns["rows"][2][2]["text"], "16.67");
  EXPECT_THAT(json["summary"].get<std::string>(), HasSubstr("knowing the questions without their pictures 37.5 %"));
}

TEST_F(ReportTest, SaysHowManyPicturesWereAbsent) {
  ReportInput in = input();
  in.stages[1].benches[0].counts["images_absent"] = 12;
  EXPECT_THAT(make_report_view(in).benches[0].findings,
              ::testing::Contains("tune: 12 questions were asked without their picture, whose file is absent."));
}

TEST_F(ReportTest, FetchesNothing) {
  const std::string html = render_report(input()).at("report.html");
  EXPECT_THAT(html, Not(HasSubstr("http://")));
  EXPECT_THAT(html, Not(HasSubstr("https://")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("<link")));
  EXPECT_THAT(html, Not(HasSubstr("url(")));
  const std::regex source("(src|href)=\"([^\"]*)\"");
  size_t pictures = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), source), end; it != end; ++it, ++pictures)
    EXPECT_TRUE((*it)[2].str().starts_with("data:image/png;base64,iVBORw0KGgpwaXhlbHM=")) << (*it)[2];
  EXPECT_EQ(pictures, 26u);  // twenty examples and six failures
}

TEST_F(ReportTest, ShowsRightAndWrongAnswersOfEveryStage) {
  const ReportView view = make_report_view(input());
  ASSERT_EQ(view.benches.size(), 1u);
  int right = 0;
  for (const auto& example : view.benches[0].examples) {
    ASSERT_EQ(example.answers.size(), 2u);
    EXPECT_EQ(example.answers[0].stage, "base");
    right += example.answers[1].correct.value();
    EXPECT_EQ(example.answers[1].verdict, *example.answers[1].correct ? "right" : "wrong");
  }
  EXPECT_EQ(view.benches[0].examples.size(), 20u);
  EXPECT_GE(right, 7);
  EXPECT_LE(right, 15);
}

TEST_F(ReportTest, WhatAJudgeScoredIsNeitherRightNorWrong) {
  BenchResult judged;
  judged.bench = "wild";
  judged.kind = "llava_bench";
  for (int i = 0; i < 3; ++i) {
    CaseRow row;
    row.id = "q" + std::to_string(i);
    row.question = "What is shown?";
    row.reference = "A fox.";
    row.answer = "A dog.";
    if (i < 2) row.parsed = row.answer, row.scores = {{"answer_score", 6.0 + i}, {"reference_score", 8}};
    judged.cases.push_back(row);
  }
  judged.metrics = {{"relative_score", 0.813}, {"answer_score", 0.65}, {"reference_score", 0.8}};
  judged.counts = {{"total", 3}, {"unparsed", 1}, {"judged", 2}, {"judgments", 4}, {"judgments_unreadable", 0}};
  ReportInput in = input();
  in.stages[1].benches = {judged};
  in.stages[0].benches.clear();
  const auto files = render_report(in);
  const std::string& text = files.at("report.md");
  EXPECT_THAT(text, HasSubstr("tune (6.0 of 10, the reference 8.0): A dog."));
  EXPECT_THAT(text, HasSubstr("tune (not judged): A dog."));
  EXPECT_THAT(text, Not(HasSubstr("(wrong)")));
  EXPECT_THAT(text, HasSubstr("1 answers could not be scored and are left out"));
  EXPECT_THAT(text, HasSubstr("| wild | percent of the reference's score | 2 | – | 81.3 (75.0–87.5) |"))
      << "the bootstrap's ends are those of two questions, 6/8 and 7/8";
  EXPECT_THAT(text, HasSubstr("| wild | the answers' score, percent of ten points | 2 | – | 65.0 (60.0–70.0) |"));
  EXPECT_THAT(text, Not(HasSubstr("| Stage |\n"))) << "no table without columns";
  EXPECT_THAT(files.at("report.html"), Not(HasSubstr("✗")));
}

TEST_F(ReportTest, LossHasAnIntervalThatWeighsByTokens) {
  BenchResult loss;
  loss.bench = "heldout";
  loss.kind = "loss";
  for (const auto& [nats, tokens] : {std::pair(1.0, 30.0), std::pair(2.0, 10.0)}) {
    CaseRow row;
    row.id = std::to_string(tokens);
    row.parsed = row.answer = "said";
    row.scores = {{"loss", nats}, {"tokens", tokens}};
    loss.cases.push_back(row);
  }
  loss.metrics = {{"loss", 1.25}, {"perplexity", std::exp(1.25)}};
  loss.counts = {{"total", 2}, {"unparsed", 0}, {"tokens", 40}};
  ReportInput in = input();
  in.stages[1].benches = {loss};
  in.stages[0].benches.clear();
  const std::string text = render_report(in).at("report.md");
  EXPECT_THAT(text, HasSubstr("| heldout | loss, nats per token | 2 | – | 1.250 (1.000–2.000) |"));
  EXPECT_THAT(text, HasSubstr("| heldout | perplexity | 2 | – | 3.49 (2.72–7.39) |"));
  EXPECT_THAT(text, HasSubstr("tune (loss 2.000): said"));
}

// Another model's answers are what is compared, another rule is not.
TEST_F(ReportTest, WhoseAnswersTheyAreDoesNotKeepResultsFromBeingCompared) {
  ReportInput in = input();
  in.stages[0].benches[0].pinned["answers"] = "theirs.json";
  in.stages[1].benches[0].pinned["answers"] = "ours.json";
  const std::string text = render_report(in).at("report.md");
  EXPECT_THAT(text, HasSubstr("+57.5 (")) << "10 and 33 of 40";
  EXPECT_THAT(text, HasSubstr("p &lt; 0.001"));
  EXPECT_THAT(text, Not(HasSubstr("not comparable")));
  EXPECT_THAT(text, HasSubstr("theirs.json")) << "what was scored is told";
  in.stages[0].benches[0].pinned["answer_rule"] = "letter";
  EXPECT_THAT(render_report(in).at("report.md"), HasSubstr("not comparable: another answer"));
}

TEST_F(ReportTest, EscapesWhatComesFromOutside) {
  const std::string evil = "<script>alert('x')</script> & \"quoted\" | `code` \x01";
  ReportInput in = input();
  in.title = in.job = in.recipe = evil;
  in.lineage = {{evil, evil}};
  for (auto& stage : in.stages) {
    stage.name += evil;
    stage.notes = {evil};
    for (auto& result : stage.benches) {
      result.bench = evil;
      result.pinned[evil] = evil;
      for (auto& row : result.cases) row.id += evil, row.question = row.answer = row.choices[0] = row.category = evil;
    }
  }
  const auto files = render_report(in);
  EXPECT_THAT(files.at("report.html"), Not(HasSubstr("<script")));
  EXPECT_THAT(files.at("report.html"),
              HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;quoted&quot;"));
  EXPECT_THAT(files.at("report.html"), Not(HasSubstr("\x01")));
  const std::string& markdown = files.at("report.md");
  EXPECT_THAT(markdown.substr(0, markdown.find("## Recipe")), Not(HasSubstr("<script")));
  EXPECT_THAT(markdown, HasSubstr("\\| \\`code\\`"));
  EXPECT_EQ(nlohmann::json::parse(files.at("report.json"))["title"], evil);
}

TEST_F(ReportTest, NamesAPictureThatItCannotShow) {
  ReportInput in = input();
  for (auto& stage : in.stages)
    for (auto& row : stage.benches[0].cases) row.image_path = folder + "/none.png";
  EXPECT_THAT(render_report(in).at("report.html"), HasSubstr("No picture: "));
  std::ofstream(folder + "/p.png", std::ios::binary) << "GIF89a";
  EXPECT_THAT(picture_data_uri(folder + "/p.png", 100).status().message(), HasSubstr("neither PNG nor JPEG"));
  EXPECT_THAT(picture_data_uri(folder + "/p.png", 3).status().message(), HasSubstr("not embedded"));
}

TEST_F(ReportTest, WarnsWhenStagesWereMeasuredDifferently) {
  ReportInput in = input();
  in.stages[1].benches[0].pinned["prompt"] = "QCM-LEA";
  EXPECT_THAT(make_report_view(in).warnings, ::testing::ElementsAre(HasSubstr("different values of prompt")));
}

TEST_F(ReportTest, SaysHowSureEachDifferenceIs) {
  const Change change = change_between(bench(10), bench(33));
  EXPECT_EQ(change.questions, 40);
  EXPECT_NEAR(change.difference, 23.0 / 40, 1e-12);
  EXPECT_LT(change.interval.low, change.difference);
  EXPECT_GT(change.interval.low, 0.4);
  EXPECT_LT(*change.p_value, 1e-6);
  const auto json = nlohmann::json::parse(render_report(input()).at("report.json"));
  const auto& table = json["tables"][3];
  EXPECT_EQ(table["id"], "changes-science");
  EXPECT_EQ(table["rows"][0][2]["text"], "+57.5");
  EXPECT_EQ(table["rows"][0][4]["text"], "p < 0.001");
}

TEST_F(ReportTest, MarksWhatIsNotComparableOrNotComplete) {
  ReportInput in = input();
  in.stages[0].benches[0].pinned["prompt"] = "QCM-LEA";
  in.stages[1].benches[0].incomplete = "the judge does not answer";
  const auto files = render_report(in);
  const auto json = nlohmann::json::parse(files.at("report.json"));
  EXPECT_EQ(json["tables"][0]["rows"][0][3]["mark"], "not comparable");
  EXPECT_EQ(json["tables"][0]["rows"][0][4]["mark"], "incomplete");
  EXPECT_EQ(json["tables"][3]["rows"][0][2]["text"], "not comparable: another prompt");
  for (const char* name : {"report.html", "report.md"}) {
    EXPECT_THAT(files.at(name), HasSubstr("not comparable, as prompt differ")) << name;
    EXPECT_THAT(files.at(name), HasSubstr("is incomplete: the judge does not answer")) << name;
  }
}

TEST_F(ReportTest, ShowsTheMostTellingFailuresFirst) {
  ReportInput in = input();
  auto& cases = in.stages[1].benches[0].cases;
  cases[3].correct = false;  // right before
  const ReportView view = make_report_view(in);
  const auto& failures = view.benches[0].failures;
  ASSERT_EQ(failures.size(), 6u);
  EXPECT_EQ(failures[0].id, "q3");
  EXPECT_EQ(failures[0].reason, "right after base, wrong now");
  EXPECT_EQ(failures[1].reason, "wrong with its own picture, right with another's");  // q36
  EXPECT_EQ(failures[2].reason, "the answer could not be read");
}

TEST_F(ReportTest, TellsTopicsAndGradesApart) {
  ReportInput in = input();
  for (auto& stage : in.stages) stage.benches[0].groups["topic"] = {{"verbs", 3, 4, {}}, {"maps", 0, 2, {}}};
  const auto files = render_report(in);
  EXPECT_THAT(files.at("report.html"), HasSubstr("<summary>By topic</summary>"));
  EXPECT_THAT(files.at("report.md"), HasSubstr("| verbs | 4 | 75.0"));
  EXPECT_THAT(files.at("results.csv"), HasSubstr("tune,science,scienceqa,topic verbs,0.75,4\n"));
  EXPECT_THAT(files.at("results.csv"), HasSubstr("tune,science,scienceqa,accuracy,0.825,40\n"));
}

TEST_F(ReportTest, ComparesReportsThatWereWritten) {
  ReportInput other = input();
  other.job = "job-2";
  other.stages[1].benches[0] = bench(20);
  std::vector<ReportInput> read;
  for (const ReportInput& in : {input(), other}) {
    auto again = read_report(render_report(in).at("report.json"), "r.json");
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_EQ(render_report(*again).at("curves.csv"), render_report(in).at("curves.csv"));
    read.push_back(*again);
  }
  const auto json = nlohmann::json::parse(render_report(compare_reports(read, true)).at("report.json"));
  EXPECT_EQ(json["tables"][0]["header"][3], "job-1/tune");
  EXPECT_EQ(json["tables"][0]["header"][4], "job-2/tune");
  EXPECT_EQ(json["tables"][3]["rows"][0][2]["text"], "−32.5");
  EXPECT_EQ(compare_reports(read, false).stages.size(), 4u);
  EXPECT_THAT(read_report("{}", "r.json").status().message(), HasSubstr("r.json: is no report.json"));
}

TEST_F(ReportTest, WritesItsFiveFiles) {
  const std::string out = folder + "/deep/report";
  ASSERT_TRUE(write_report(input(), out).ok());
  const auto files = render_report(input());
  for (const auto& [name, text] : files) {
    std::ifstream file(out + "/" + name, std::ios::binary);
    std::stringstream written;
    written << file.rdbuf();
    EXPECT_EQ(written.str(), text) << name;
  }
  EXPECT_THAT(files.at("curves.csv"), HasSubstr("tune,1,2.5,0.001,1.5,1000\n"));
}

TEST_F(ReportTest, StandsWithoutResultsOrCurves) {
  ReportInput in;
  in.title = "Empty";
  in.stages = {StageReport{"only", "train", "", {}, {}, {}}};
  EXPECT_THAT(render_report(in).at("report.html"), HasSubstr("only"));
  in.stages[0].curve = {{0, std::nan(""), 0, 0, 0}};
  in.stages[0].benches = {BenchResult{}};
  EXPECT_EQ(nlohmann::json::parse(render_report(in).at("report.json"))["stages"][0]["curve"][0]["loss"], nullptr);
}

TEST(ReportFormat, WritesNumbersForReaders) {
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(grouped(-1000), "-1,000");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(duration_text(12.36), "12.4 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(3725), "1 h 02 min");
  EXPECT_EQ(fixed(99.96, 1), "100.0");
}

}  // namespace
}  // namespace tephra::eval
