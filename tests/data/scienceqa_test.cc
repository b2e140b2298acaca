// ScienceQA's files are read as published, broken ones are refused with their place, and prompts read as documented.
#include "data/scienceqa.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/data/folder.h"

namespace tephra::data {
namespace {

constexpr const char* kProblems = R"({
 "7": {"question": "Which is red?", "choices": ["rose", "grass"], "answer": 0, "hint": "", "image": "image.png", "task": "closed choice",
       "grade": "grade2", "subject": "natural science", "topic": "biology", "category": "Plants", "skill": "Colors",
       "lecture": "Plants have colors.", "solution": "A rose is red.", "split": "test"},
 "3": {"question": "Where is it?", "choices": ["here", "there", "nowhere"], "answer": 2, "hint": "It is gone.", "image": null, "split": "test"}
})";

class ScienceQa : public FolderTest {};

TEST_F(ScienceQa, LoadsASplitInTheOrderOfTheSplitsFile) {
  const auto loaded = load_scienceqa(write("problems.json", kProblems),
                                     write("splits.json", R"({"test": ["3", "99", "7"]})"), "test", "/images");
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  ASSERT_EQ(loaded->size(), 2u);  // 99 is not in this cut-down copy
  const ScienceQaProblem& told = (*loaded)[0];
  const ScienceQaProblem& shown = (*loaded)[1];
  EXPECT_EQ(told.pid, "3");
  EXPECT_EQ(told.image_path, "");
  EXPECT_EQ(told.answer, 2);
  EXPECT_EQ(shown.pid, "7");
  EXPECT_EQ(shown.image_path, "/images/test/7/image.png");
  EXPECT_EQ(shown.choices, (std::vector<std::string>{"rose", "grass"}));
  EXPECT_EQ(shown.subject, "natural science");
  EXPECT_EQ(shown.grade, "grade2");
  EXPECT_EQ(shown.solution, "A rose is red.");
}

TEST_F(ScienceQa, NamesWhatIsMissing) {
  const std::string problems = write("problems.json", kProblems),
                    splits = write("splits.json", R"({"test": ["8"], "val": []})");
  const auto no_split = load_scienceqa(problems, splits, "minitest", "");
  EXPECT_EQ(no_split.status().code(), Code::kNotFound);
  EXPECT_NE(no_split.status().message().find("it has test, val"), std::string::npos) << no_split.status().message();
  std::string keys;  // of a problems.json that is named as the splits
  for (int i = 0; i < 300; ++i) keys += (i > 0 ? ", \"" : "\"") + std::to_string(i) + "\": []";
  const std::string other =
      load_scienceqa(problems, write("other.json", "{" + keys + "}"), "test", "").status().message();
  EXPECT_NE(other.find("300 other keys; is it ScienceQA's pid_splits.json?"), std::string::npos) << other;
  const auto no_pid = load_scienceqa(problems, splits, "test", "");
  EXPECT_EQ(no_pid.status().code(), Code::kNotFound);
  const auto no_file = load_scienceqa(root_ + "/none.json", splits, "test", "");
  EXPECT_EQ(no_file.status().code(), Code::kNotFound);
  EXPECT_NE(no_file.status().message().find("none.json"), std::string::npos);
}

// Pictures of questions are shown in reports, so a problems.json from elsewhere must not name any file of the machine.
TEST_F(ScienceQa, RefusesPicturesOutsideTheImageFolder) {
  const std::string images = root_ + "/images", secret = write("secret.png", "not for reports");
  std::filesystem::create_directories(images + "/test/7");
  std::filesystem::create_symlink(secret, images + "/test/7/link.png");
  const std::string splits = write("splits.json", R"({"test": ["7", "../../.."]})");
  const auto load = [&](const std::string& pid, const std::string& image) {
    return load_scienceqa(write("problems.json", "{\"" + pid + R"(": {"question": "q", "choices": ["a"], "answer": 0,
                                "image": ")" + image +
                                                     R"(", "split": "test"}})"),
                          splits, "test", images)
        .status();
  };
  for (const auto& [pid, image] :
       {std::pair{"7", "../../../secret.png"}, std::pair{"../../..", "secret.png"}, std::pair{"7", "link.png"}}) {
    const Status refused = load(pid, image);
    EXPECT_EQ(refused.code(), Code::kInvalidArgument) << refused.to_string();
    EXPECT_NE(refused.message().find("leads out of it"), std::string::npos) << refused.message();
  }
  EXPECT_TRUE(load("7", "absent.png").ok()) << "counted, not refused";
}

TEST(ScienceQaParsing, RefusesBrokenProblemsByPid) {
  const struct {
    const char* text;
    const char* says;
  } cases[] = {
      {"{", "not JSON"},
      {"[]", "not a JSON object"},
      {R"({"5": 3})", "problem 5: is not an object"},
      {R"({"5": {"choices": ["a"], "answer": 0}})", "problem 5: has no question"},
      {R"({"5": {"question": "q", "answer": 0}})", "problem 5: has no choices"},
      {R"({"5": {"question": "q", "choices": [], "answer": 0}})", "problem 5: has no choices"},
      {R"({"5": {"question": "q", "choices": ["a", 2], "answer": 0}})", "choice that is not a string"},
      {R"({"5": {"question": "q", "choices": ["a"], "answer": 1}})", "answer 1 is not an index of its 1 choices"},
      {R"({"5": {"question": "q", "choices": ["a"], "answer": "A"}})", "\"answer\" is not an integer"},
      {R"({"5": {"question": "q", "choices": ["a"], "answer": 0, "hint": 4}})", "\"hint\" is not a string"},
  };
  for (const auto& c : cases) {
    const auto parsed = parse_scienceqa(c.text, "p.json");
    ASSERT_FALSE(parsed.ok()) << c.text;
    EXPECT_EQ(parsed.status().code(), Code::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find(c.says), std::string::npos) << parsed.status().message();
    EXPECT_EQ(parsed.status().message().rfind("p.json: ", 0), 0u);
  }
}

TEST(ScienceQaPrompt, IsTheSameWordsEverywhere) {
  const auto problems = parse_scienceqa(kProblems, "p.json");
  ASSERT_TRUE(problems.ok());
  const ScienceQaProblem& shown = (*problems)[0];
  const ScienceQaProblem& told = (*problems)[1];
  EXPECT_EQ(
      *scienceqa_prompt(shown, "CQM-A"),
      "Which is red?\nOptions: (A) rose (B) grass\nAnswer with the option's letter from the given choices directly.");
  EXPECT_EQ(*scienceqa_prompt(told, "CQM-A"),
            "Where is it?\nContext: It is gone.\nOptions: (A) here (B) there (C) nowhere\n"
            "Answer with the option's letter from the given choices directly.");
  EXPECT_EQ(*scienceqa_prompt(shown, "QCM-LEA"), "Question: Which is red?\nContext: N/A\nOptions: (A) rose (B) grass");
  EXPECT_EQ(*scienceqa_reply(told, "CQM-A"), "C");
  EXPECT_EQ(*scienceqa_reply(shown, "QCM-LEA"), "Plants have colors. A rose is red. The answer is A.");
  EXPECT_EQ(*scienceqa_reply(told, "QCM-LEA"), "The answer is C.");
  EXPECT_EQ(scienceqa_prompt(shown, "CQM").status().code(), Code::kInvalidArgument);
}

TEST(ScienceQaReference, ReadsThePublishedFiles) {
  const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
  if (root == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the folder of reference fixtures";
  const std::string folder = std::string(root) + "/scienceqa";
  const auto loaded = load_scienceqa(folder + "/problems.json", folder + "/pid_splits.json", "test", "");
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->size(), 361u);
  for (const ScienceQaProblem& problem : *loaded) EXPECT_EQ(problem.split, "test");
  EXPECT_TRUE(is_published_scienceqa_test(folder + "/pid_splits.json", "test"));
  EXPECT_FALSE(is_published_scienceqa_test(folder + "/pid_splits.json", "val"));
  EXPECT_FALSE(is_published_scienceqa_test(folder + "/none.json", "test"));
  EXPECT_FALSE(is_published_scienceqa_test(folder + "/problems.json", "test")) << "no splits";
}

}  // namespace
}  // namespace tephra::data
