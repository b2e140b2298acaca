// What is proved: samples that are not of the layout are listed beside the others; a clean copy holds the rest as it stood, and the
// original keeps its bytes; verdicts on pictures are remembered by content, and only for the decoders that gave them.
#include "data/validate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/image.h"
#include "tests/data/folder.h"
#include "tests/data/picture.h"

namespace tephra::data {
namespace {

class ValidateTest : public FolderTest {
 protected:
  ValidateTest() {
    auto loaded = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/language");
    EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
    tokenizer_ = std::move(loaded).value();
    const std::string png = png_text(gradient(9, 9));
    write("images/good.png", png);
    write("images/cut.png", png.substr(0, png.size() / 2));
    options_.conversations_path = write("data.json", kData);
    options_.image_root = root_ + "/images";
    options_.template_name = "v1";
    options_.threads = 2;
  }
  ValidationReport check() const {
    auto report = validate_dataset(options_, *tokenizer_);
    EXPECT_TRUE(report.ok()) << report.status().to_string();
    return report.ok() ? std::move(report).value() : ValidationReport();
  }

  static constexpr const char* kData = R"([
 {"id": "a", "image": "good.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}], "own":  {"kept": 1}},
 {"id": "b", "image": "cut.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]},
 {"id": "c", "conversations": [{"from": "nobody", "value": "?"}]},
 {"conversations": "none"},
 {"id": "e", "conversations": [{"from": "human", "value": "<image> Hm?"}, {"from": "gpt", "value": "Ja."}]},
 {"id": "f", "conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "Ja."}]}
])";

  ValidateOptions options_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(ValidateTest, ListsMalformedSamplesBesideTheOthers) {
  const ValidationReport report = check();
  EXPECT_EQ(report.samples, 6u);
  EXPECT_EQ(report.problems, (std::map<std::string, uint64_t>{{"image", 1}, {"image_tags", 1}, {"malformed", 2}}));
  std::vector<std::string> ids;
  for (const Offender& o : report.offenders) ids.push_back(o.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"b", "#2", "#3", "e"}));
  EXPECT_EQ(report.errors[1].line, 4);
  EXPECT_NE(report.errors[1].message.find("(id \"c\"): conversations[0].from"), std::string::npos)
      << report.errors[1].message;
  const std::string text = to_text(report);
  EXPECT_NE(text.find("malformed"), std::string::npos);
  const nlohmann::json document = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(document["offenders"][0], nlohmann::json({{"index", 1}, {"id", "b"}, {"problems", {"image"}}}));
}

TEST_F(ValidateTest, ACleanCopyHoldsTheRestAsItStood) {
  const ValidationReport report = check();
  const std::string out = root_ + "/clean.json";
  ASSERT_TRUE(write_clean_copy(options_, report, out).ok());
  EXPECT_EQ(*read_file(Env::posix(), options_.conversations_path), kData);
  const std::string clean = *read_file(Env::posix(), out);
  EXPECT_NE(clean.find("\"own\":  {\"kept\": 1}"), std::string::npos) << "byte for byte";
  EXPECT_EQ(nlohmann::json::parse(clean).size(), 2u);
  options_.conversations_path = out;
  EXPECT_TRUE(check().ok());
}

TEST_F(ValidateTest, TheOriginalIsNeverWritten) {
  const ValidationReport report = check();
  std::filesystem::create_symlink(options_.conversations_path, root_ + "/link.json");
  for (const std::string& same : {options_.conversations_path, root_ + "/./data.json", root_ + "/link.json"})
    EXPECT_EQ(write_clean_copy(options_, report, same).code(), Code::kInvalidArgument) << same;
  write("data.json", "[" + std::string(kData).substr(1, 170) + "]");
  EXPECT_FALSE(write_clean_copy(options_, report, root_ + "/clean.json").ok()) << "changed since";
}

TEST_F(ValidateTest, PicturesAreRememberedByContent) {
  const std::string path = root_ + "/cache/checks";
  const std::string first = [&] {
    auto cache = ImageCheckCache::open(Env::posix(), path);
    options_.image_cache = cache.get();
    const std::string text = to_text(check());
    EXPECT_EQ(cache->hits(), 0u);
    EXPECT_TRUE(cache->save().ok());
    return text;
  }();
  auto cache = ImageCheckCache::open(Env::posix(), path);
  options_.image_cache = cache.get();
  EXPECT_EQ(to_text(check()), first) << "the same words, with the file's name";
  EXPECT_EQ(cache->hits(), 2u);
  write("images/cut.png", png_text(gradient(9, 8)));
  EXPECT_EQ(check().problems.count("image"), 0u) << "other content, other verdict";
  write("cache/checks", "tephra image checks 1, decoders of tephra 0\n");
  cache = ImageCheckCache::open(Env::posix(), path);
  options_.image_cache = cache.get();
  check();
  EXPECT_EQ(cache->hits(), 0u) << "of another version";
}

}  // namespace
}  // namespace tephra::data
