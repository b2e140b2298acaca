// `tephra score` against the losses that the original implementation recorded, through the command line.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;

void compare(const std::vector<std::string>& model, const std::string& expected_file, const std::string& template_name,
             const std::string& aspect) {
  const char* reference = std::getenv("TEPHRA_REFERENCE_DIR");
  if (reference == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the recorded numbers to run this test";
  std::string dir = reference;
  Scratch scratch;
  std::vector<std::string> arguments{"score"};
  for (const std::string& word : model) arguments.push_back(word.starts_with("--") ? word : dir + "/" + word);
  for (const std::string& word :
       {std::string("--data"), dir + "/data/forward.json", std::string("--images"), dir + "/images",
        std::string("--template"), template_name, std::string("--image-aspect"), aspect, std::string("--json")})
    arguments.push_back(word);
  Finished run = tephra(scratch, arguments);
  ASSERT_EQ(run.code, 0) << run.err;
  json ours = json::parse(run.out), theirs = json::parse(read_text(dir + "/" + expected_file));
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i]["id"], theirs[i]["id"]);
    EXPECT_EQ(ours[i]["tokens"], theirs[i]["tokens"]) << ours[i];
    EXPECT_LE(std::abs(ours[i]["loss"].get<double>() - theirs[i]["loss"].get<double>()), 1e-4) << ours[i] << theirs[i];
  }
}

TEST(Score, AgreesWithTheRecordedLossesOfAWholeModel) {
  compare({"--model", "llava-tiny"}, "expected-score-llava.json", "v1", "pad");
}

TEST(Score, AgreesWithTheRecordedLossesOfTheParts) {
  compare({"--vision", "clip-tiny", "--connector", "linear-projector/mm_projector.safetensors", "--llm", "llama-tiny"},
          "expected-score-linear.json", "llava_llama_2", "square");
}

}  // namespace
}  // namespace tephra::e2e
