// `tephra eval --checkpoint` on the tiny job's checkpoints: the answers of the job's own bench, on one process and on two, and
// what is said where it cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// The folder of the generated questions in ScienceQA's layout.
std::string scienceqa_of(const std::string& store) {
  std::error_code none;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(store + "/data", none))
    if (entry.path().filename() == "problems.json") return entry.path().parent_path().string();
  return "";
}

// The tiny job's bench `questions`, asked of a checkpoint.
std::vector<std::string> eval_questions(const std::string& store, const std::string& checkpoint,
                                        const std::string& out) {
  const std::string data = scienceqa_of(store);
  return {"eval",
          "scienceqa",
          "--checkpoint",
          checkpoint,
          "--store",
          store,
          "--problems",
          data + "/problems.json",
          "--splits",
          data + "/pid_splits.json",
          "--images",
          data + "/images",
          "--answer-rule",
          "letter",
          "--prompt",
          "CQM-A",
          "--max-new-tokens",
          "2",
          "--limit",
          "12",
          "--threads",
          "1",
          "--out",
          out};
}

std::map<std::string, std::string> answers_in(const std::string& result_file) {
  std::map<std::string, std::string> answers;
  const json result = json::parse(read_text(result_file), nullptr, false);
  if (result.is_object())
    for (const json& row : result["cases"]) answers[row["id"]] = row["answer"];
  return answers;
}

TEST(EvalCheckpoint, GivesTheAnswersOfTheJobsBench) {
  const Undisturbed& job = undisturbed();
  ASSERT_EQ(job.run.code, 0) << job.run.err;
  const Scratch scratch;
  for (const std::string stage : {"align", "instruct"}) {
    const auto expected = answers_in(job.store + "/jobs/tiny-1/eval/" + stage + "/questions.result.json");
    ASSERT_EQ(expected.size(), 12u);
    for (const std::string ranks : {"1", "2"}) {
      const std::string out = scratch.path(stage + ranks);
      // By another name of the same checkpoint.
      std::vector<std::string> words =
          eval_questions(job.store, "tiny-1/" + stage + (ranks == "1" ? "@latest" : "@12"), out);
      words.insert(words.end(), {"--ranks", ranks, "--batch", ranks == "1" ? "8" : "3", "--json"});
      const Finished run = tephra(scratch, words);
      ASSERT_EQ(run.code, 0) << run.err;
      EXPECT_EQ(answers_in(out + "/scienceqa.result.json"), expected) << stage << " on " << ranks;
      const json printed = json::parse(run.out, nullptr, false);  // nothing else is on stdout
      ASSERT_TRUE(printed.is_object()) << run.out;
      EXPECT_EQ(printed["pinned"]["model"], "tiny-1/" + stage + "@12");
      EXPECT_EQ(printed["counts"]["total"], 12);
      EXPECT_THAT(read_text(out + "/report.html"), HasSubstr("tiny-1/" + stage + "@12"));
    }
  }
  // Again, nothing is asked; the other stage's answers are not mixed in.
  const std::string before = read_text(scratch.path("align1/answers-0.jsonl"));
  EXPECT_EQ(tephra(scratch, eval_questions(job.store, "tiny-1/align@12", scratch.path("align1"))).code, 0);
  EXPECT_EQ(read_text(scratch.path("align1/answers-0.jsonl")), before + "\n");
  const Finished mixed = tephra(scratch, eval_questions(job.store, "tiny-1/instruct@12", scratch.path("align1")));
  EXPECT_NE(mixed.code, 0);
  EXPECT_THAT(mixed.err, HasSubstr("holds answers that were asked for otherwise"));
  // A checkpoint in the middle of a stage can be asked too.
  EXPECT_EQ(tephra(scratch, eval_questions(job.store, "tiny-1/instruct@4", scratch.path("middle"))).code, 0);
}

TEST(EvalCheckpoint, SaysWhyItCannotBe) {
  const Undisturbed& job = undisturbed();
  ASSERT_EQ(job.run.code, 0) << job.run.err;
  const Scratch scratch;
  const auto refused = [&](std::vector<std::string> words, const std::vector<std::string>& more, int code,
                           const std::string& said) {
    words.insert(words.end(), more.begin(), more.end());
    const Finished run = tephra(scratch, words);
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_THAT(run.err, HasSubstr(said));
    EXPECT_EQ(run.out, "");
  };
  const auto words = [&](const std::string& checkpoint) {
    return eval_questions(job.store, checkpoint, scratch.path("out"));
  };
  refused(words("tiny-1/tune@12"), {}, 2, "tiny-1/tune@12");
  refused(words("tiny-1/align@13"), {}, 2, "tiny-1/align@13");
  refused(words("nothing"), {}, 2, "nothing");
  std::vector<std::string> elsewhere = words("tiny-1/align@12");
  *(std::find(elsewhere.begin(), elsewhere.end(), "--store") + 1) = scratch.path("no-store");
  refused(elsewhere, {}, 2, "no-store");
  refused(words("tiny-1/align@12"), {"--template", "llama_2"}, 1, "was made with template");
  refused(words("tiny-1/align@12"), {"--image-aspect", "pad"}, 1, "was made with image_aspect square, not pad");
  refused(words("tiny-1/align@12"), {"--model", job.store}, 2, "are both given");
  refused(words("tiny-1/align@12"), {"--ranks", "0"}, 2, "--ranks");
  refused(words("tiny-1/align@12"), {"--ranks", "65"}, 2, "--ranks");
  refused(words("tiny-1/align@12"), {"--split", "none"}, 2, "has no split");
}

}  // namespace
}  // namespace tephra::e2e
