// What is proved, with the real programs: what the local teacher writes about captions and boxes passes the data check, and a recipe
// trains on it; the same for its conversion to JSON lines.
#include <gtest/gtest.h>

#include "data/image.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {

using nlohmann::json;

constexpr int kPictures = 12;

TEST(GeneratedData, TrainsAsARecipesDataset) {
  const Scratch scratch;
  std::string facts;
  for (int i = 0; i < kPictures; ++i) {
    data::Image image{32, 32, std::vector<uint8_t>(size_t{3} * 32 * 32, static_cast<uint8_t>(20 * i))};
    const auto png = data::encode_png(image);
    ASSERT_TRUE(png.ok());
    scratch.write(std::to_string(i) + ".png", std::string(reinterpret_cast<const char*>(png->data()), png->size()));
    facts += json{{"id", i},
                  {"image", std::to_string(i) + ".png"},
                  {"width", 32},
                  {"height", 32},
                  {"captions", {"A grey square of shade " + std::to_string(20 * i) + "."}},
                  {"objects", {{{"category", "square"}, {"bbox", {0, 0, 32, 32 - i}}}}}}
                 .dump() +
             "\n";
  }
  const std::string out = scratch.path("generated.json"), lines = scratch.path("generated.jsonl");
  const Finished made = tephra(scratch, {"data", "generate", "--captions", scratch.write("facts.jsonl", facts), "--out",
                                         out, "--teacher", "local"});
  ASSERT_EQ(made.code, 0) << made.err;
  const std::string language = TEPHRA_SOURCE_DIR "/recipes/base/language";
  const Finished checked = tephra(scratch, {"data", "check", out, "--images", scratch.path(""), "--tokenizer", language,
                                            "--max-length", "256", "--no-cache", "--json"});
  ASSERT_EQ(checked.code, 0) << checked.out << checked.err;
  EXPECT_GE(json::parse(checked.out)["with_image"], 2 * kPictures);
  ASSERT_EQ(tephra(scratch, {"data", "convert", out, "--from", "llava", "--to", "messages", "--out", lines}).code, 0);
  // JSON lines in LLaVA's own keys, for the second run.
  std::string own;
  for (const json& sample : json::parse(read_text(out))) own += sample.dump() + "\n";
  scratch.write("generated.jsonl", own);
  for (const std::string& file : {out, lines}) {
    const std::string recipe = scratch.write(
        "recipe.yaml",
        "name: generated\nmodel: {vision: " TEPHRA_SOURCE_DIR "/recipes/base/vision, language: " + language +
            ", connector: {kind: linear}}\ngang: {ranks: 1, threads_per_rank: 1}\ndatasets:\n  made: {kind: llava, conversations: " +
            file + ", images: " + scratch.path("") +
            "}\nstages:\n  - {name: align, train: [connector], template: v1, data: [{dataset: made}], max_length: 256, steps: 2,\n"
            "     micro_batch: 2, global_batch: 4, optimizer: {lr: 1.0e-3}}\n");
    const Finished trained =
        tephra(scratch, {"run", recipe, "--store", scratch.path("store-" + std::to_string(file.size()))});
    EXPECT_EQ(trained.code, 0) << file << "\n" << trained.out << trained.err;
  }
}

}  // namespace
}  // namespace tephra::e2e
