// Datasets, the loader and validation over a small folder made here; validation over the parity set's data too.
#include <gtest/gtest.h>

#include "data/batch.h"
#include "data/validate.h"
#include "tests/data/picture.h"
#include "tests/data/reference.h"

namespace tephra::data {
namespace {

using Json = nlohmann::json;

Json sample_json(const std::string& id, const std::string& image, const std::string& question,
                 const std::string& answer) {
  Json json{{"id", id},
            {"conversations", {{{"from", "human"}, {"value", question}}, {{"from", "gpt"}, {"value", answer}}}}};
  if (!image.empty()) json["image"] = image;
  return json;
}

// 20 samples over 5 pictures, every fourth without one.
class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = std::move(*Tokenizer::load(kBaseTokenizer));
    Json samples = Json::array();
    for (int i = 0; i < 5; ++i) dir_.write("images/" + std::to_string(i) + ".png", png_text(gradient(20 + i, 30 - i)));
    for (int i = 0; i < 20; ++i) {
      const std::string n = std::to_string(i);
      samples.push_back(i % 4 == 3 ? sample_json("t" + n, "", "How much is it?", "It is " + n + ".")
                                   : sample_json("i" + n, std::to_string(i % 5) + ".png", "<image>\nWhat is it?",
                                                 "Number " + n + "."));
    }
    options_.conversations_path = dir_.write("data.json", samples.dump());
    options_.image_root = dir_.path() + "/images";
    options_.template_name = "v1";
    options_.preprocess.image_size = options_.preprocess.shortest_edge = 14;
  }

  ValidateOptions validate_options() const {
    ValidateOptions v;
    v.conversations_path = options_.conversations_path;
    v.image_root = options_.image_root;
    v.template_name = options_.template_name;
    v.threads = 3;
    return v;
  }

  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_;
  DatasetOptions options_;
};

std::vector<EncodedSample> drain(Loader& loader, int micro_batch) {
  std::vector<EncodedSample> all;
  for (;;) {
    auto batch = loader.next();
    EXPECT_TRUE(batch.ok()) << batch.status().to_string();
    if (!batch.ok() || batch->empty()) return all;
    EXPECT_LE(batch->size(), static_cast<size_t>(micro_batch));
    for (auto& s : *batch) all.push_back(std::move(s));
  }
}

TEST_F(DatasetTest, GivesIdsLabelsAndPixels) {
  auto dataset = Dataset::open(options_, tokenizer_.get());
  ASSERT_TRUE(dataset.ok()) << dataset.status().to_string();
  ASSERT_EQ((*dataset)->size(), 20u);
  auto with_image = (*dataset)->get(0);
  ASSERT_TRUE(with_image.ok()) << with_image.status().to_string();
  EXPECT_EQ(with_image->id, "i0");
  EXPECT_EQ(std::count(with_image->ids.begin(), with_image->ids.end(), kImageToken), 1);
  ASSERT_EQ(with_image->pixels.size(), 1u);
  EXPECT_EQ(with_image->pixels[0], preprocess(gradient(20, 30), options_.preprocess));
  auto text = (*dataset)->get(3);
  ASSERT_TRUE(text.ok());
  EXPECT_TRUE(text->pixels.empty());
  EXPECT_EQ(std::count(text->ids.begin(), text->ids.end(), kImageToken), 0);
  options_.max_length = 10;
  EXPECT_EQ((*Dataset::open(options_, tokenizer_.get()))->get_text(0)->ids.size(), 10u);
}

TEST_F(DatasetTest, LoaderKeepsTheOrderWhateverTheThreads) {
  auto plain = std::move(*Dataset::open(options_, tokenizer_.get()));
  options_.cache_bytes = 3 * 14 * 14 * 4 * 2;  // two pictures of five
  auto cached = std::move(*Dataset::open(options_, tokenizer_.get()));
  const SampleOrder order{42, 20, true};
  std::vector<uint64_t> positions;
  for (uint64_t p = 3; p < 50; ++p) positions.push_back(p);
  std::vector<EncodedSample> first;
  for (int threads : {1, 2, 7}) {
    for (int micro_batch : {1, 4}) {
      Loader loader(threads == 2 ? cached.get() : plain.get(), order, positions, {threads, 2, micro_batch});
      auto all = drain(loader, micro_batch);
      ASSERT_EQ(all.size(), positions.size());
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i].position, positions[i]);
        EXPECT_EQ(all[i].id, plain->sample(order.index_at(positions[i]))->id);
      }
      if (first.empty()) {
        first = std::move(all);
        continue;
      }
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i].ids, first[i].ids);
        EXPECT_EQ(all[i].pixels, first[i].pixels);
      }
    }
  }
}

TEST_F(DatasetTest, LoaderStopsWhileBusyAndReportsFailuresInOrder) {
  auto dataset = std::move(*Dataset::open(options_, tokenizer_.get()));
  std::vector<uint64_t> positions(1000);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = i;
  { Loader dropped(dataset.get(), {1, 20, true}, positions, {3, 2, 2}); }
  std::filesystem::remove(dir_.path() + "/images/4.png");
  Loader loader(dataset.get(), {1, 20, false}, positions, {3, 3, 2});
  EXPECT_TRUE(loader.next().ok());
  EXPECT_TRUE(loader.next().ok());
  auto failed = loader.next();  // samples 4 and 5: 4 has the picture that is gone
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.status().code(), Code::kNotFound);
  EXPECT_NE(failed.status().message().find("i4"), std::string::npos) << failed.status().message();
  EXPECT_EQ(loader.next().status().message(), failed.status().message());
}

TEST_F(DatasetTest, ValidationPassesGoodDataAndCounts) {
  auto report = validate_dataset(validate_options(), *tokenizer_);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  EXPECT_TRUE(report->ok()) << to_text(*report);
  EXPECT_EQ(report->samples, 20u);
  EXPECT_EQ(report->with_image, 15u);
  EXPECT_EQ(report->text_only, 5u);
  EXPECT_EQ(report->distinct_images, 5u);
  EXPECT_EQ(report->truncated, 0u);
  auto dataset = std::move(*Dataset::open(options_, tokenizer_.get()));
  uint64_t tokens = 0;
  for (uint64_t i = 0; i < 20; ++i) tokens += dataset->get_text(i)->ids.size();
  EXPECT_EQ(report->tokens, tokens);
  EXPECT_TRUE(Json::parse(to_json(*report))["ok"].get<bool>());
}

TEST_F(DatasetTest, ValidationListsEveryOffenderById) {
  const std::string png = png_text(gradient(9, 9));
  dir_.write("images/cut.png", png.substr(0, png.size() / 2));
  dir_.write("images/text.png", "not a picture");
  dir_.write("secret.png", png);
  std::filesystem::create_symlink(dir_.path() + "/secret.png", options_.image_root + "/link.png");
  std::string endless;
  for (int i = 0; i < 3000; ++i) endless += "word ";
  Json samples = Json::array();
  samples.push_back(sample_json("good", "0.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("gone", "none.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("cut", "cut.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("nopicture", "text.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("dotdot", "../secret.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("absolute", dir_.path() + "/secret.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("symlink", "link.png", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("notag", "1.png", "What?", "That."));
  samples.push_back(sample_json("twotags", "1.png", "<image> <image>\nWhat?", "That."));
  samples.push_back(sample_json("noimage", "", "<image>\nWhat?", "That."));
  samples.push_back(sample_json("toolong", "1.png", "<image>\n" + endless, "That."));
  samples.push_back(sample_json("textlong", "", endless, "That."));
  samples.push_back(sample_json("empty", "1.png", "<image>\nWhat?", ""));
  Json roles = sample_json("roles", "", "What?", "That.");
  roles["conversations"][1]["from"] = "human";
  samples.push_back(roles);
  ValidateOptions v = validate_options();
  v.conversations_path = dir_.write("bad.json", samples.dump(1));
  auto report = validate_dataset(v, *tokenizer_);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  EXPECT_EQ(report->errors_total, samples.size() - 1) << to_text(*report);
  for (size_t i = 1; i < samples.size(); ++i) {
    const std::string id = "\"" + samples[i]["id"].get<std::string>() + "\"";
    EXPECT_EQ(std::count_if(report->errors.begin(), report->errors.end(),
                            [&](const Diagnostic& d) { return d.field.find(id) != std::string::npos && d.line > 0; }),
              1)
        << id;
  }
  EXPECT_EQ(report->truncated, 2u);
  v.allow_masked = true;
  v.max_diagnostics = 3;
  report = validate_dataset(v, *tokenizer_);
  EXPECT_EQ(report->warnings_total, 1u);
  EXPECT_EQ(report->errors.size(), 3u);
  EXPECT_EQ(report->errors_total, samples.size() - 2);
  EXPECT_FALSE(Json::parse(to_json(*report))["ok"].get<bool>());
}

TEST_F(DatasetTest, ValidationJudgesTheExpandedLength) {
  ValidateOptions v = validate_options();
  v.max_length = static_cast<int>(validate_dataset(v, *tokenizer_)->longest_tokens);
  EXPECT_TRUE(validate_dataset(v, *tokenizer_)->ok());
  v.image_tokens = v.max_length;  // the picture alone fills it: what follows is cut off
  auto report = validate_dataset(v, *tokenizer_);
  EXPECT_EQ(report->errors_total, 15u);
  v.template_name = "v9";
  EXPECT_EQ(validate_dataset(v, *tokenizer_).status().code(), Code::kInvalidArgument);
}

// Needs no reference: the tokenizer is the base model's.
class SeveralImages : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
    tokenizer_ = std::move(*tokenizer);
    for (int i = 0; i < 3; ++i) dir_.write("images/" + std::to_string(i) + ".png", png_text(gradient(20 + i, 30 - i)));
    options_.image_root = dir_.path() + "/images";
    options_.template_name = "v1";
    options_.preprocess.image_size = options_.preprocess.shortest_edge = 14;
  }
  Json sample(const std::string& id, const std::vector<std::string>& images, const std::string& question) const {
    Json json = sample_json(id, "", question, "That.");
    json["image"] = images;
    return json;
  }
  void write(const Json& samples) { options_.conversations_path = dir_.write("data.json", samples.dump(1)); }
  std::vector<float> pixels(int i) const { return preprocess(gradient(20 + i, 30 - i), options_.preprocess); }
  Result<ValidationReport> validate(int image_tokens) const {
    ValidateOptions v;
    v.conversations_path = options_.conversations_path;
    v.image_root = options_.image_root;
    v.template_name = options_.template_name;
    v.image_tokens = image_tokens;
    return validate_dataset(v, *tokenizer_);
  }

  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_;
  DatasetOptions options_;
};

TEST_F(SeveralImages, ComeInTheOrderOfTheirTags) {
  write({sample("a", {"2.png", "0.png", "2.png"}, "Is <image> like <image> or <image>"),
         sample_json("b", "1.png", "<image>\nWhat?", "That."), sample_json("c", "", "What?", "That.")});
  auto dataset = Dataset::open(options_, tokenizer_.get());
  ASSERT_TRUE(dataset.ok()) << dataset.status().to_string();
  Loader loader(dataset->get(), {1, 3, false}, {0, 1, 2}, {2, 2, 3});
  auto batch = loader.next();
  ASSERT_TRUE(batch.ok()) << batch.status().to_string();
  ASSERT_EQ(batch->size(), 3u);
  EXPECT_EQ((*batch)[0].pixels, (std::vector<std::vector<float>>{pixels(2), pixels(0), pixels(2)}));
  EXPECT_EQ((*batch)[1].pixels, std::vector<std::vector<float>>{pixels(1)});
  EXPECT_TRUE((*batch)[2].pixels.empty());
  const std::vector<int32_t>& ids = (*batch)[0].ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImageToken), 3);

  auto report = validate(10);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  EXPECT_TRUE(report->ok()) << to_text(*report);
  EXPECT_EQ(report->with_image, 2u);
  EXPECT_EQ(report->distinct_images, 3u);
  EXPECT_EQ(report->longest_tokens, ids.size() + 3 * 9);
  EXPECT_EQ(report->tokens, ids.size() + (*batch)[1].ids.size() + (*batch)[2].ids.size() + 4 * 9);

  // A cut behind the first picture leaves the others unread.
  const auto first = std::find(ids.begin(), ids.end(), kImageToken) - ids.begin();
  options_.max_length = static_cast<int>(first) + 1;
  EXPECT_EQ((*Dataset::open(options_, tokenizer_.get()))->get(0)->pixels, std::vector<std::vector<float>>{pixels(2)});
}

TEST_F(SeveralImages, CountsThatDifferAndBadPicturesNameTheSample) {
  dir_.write("images/text.png", "not a picture");
  write({sample("fewer", {"0.png", "1.png"}, "<image> What?"),
         sample("more", {"0.png", "1.png"}, "<image><image><image>"),
         sample("bad", {"0.png", "text.png"}, "<image><image>"),
         sample("gone", {"none.png", "0.png"}, "<image><image>")});
  auto report = validate(1);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  ASSERT_EQ(report->errors_total, 4u) << to_text(*report);
  EXPECT_EQ(report->errors[0].field, "sample 0 (id \"fewer\")");
  EXPECT_EQ(report->errors[0].message, "has 2 images and 1 <image> in its text");
  EXPECT_EQ(report->errors[1].message, "has 2 images and 3 <image> in its text");
  EXPECT_EQ(report->errors[2].field, "sample 2 (id \"bad\").image[1]");
  EXPECT_EQ(report->errors[3].field, "sample 3 (id \"gone\").image[0]");
  auto dataset = std::move(*Dataset::open(options_, tokenizer_.get()));
  for (uint64_t i = 0; i < 4; ++i) {
    const Status status = dataset->get(i).status();
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find("sample '" + dataset->sample(i)->id + "'"), std::string::npos) << status.message();
  }
}

TEST_F(DatasetTest, TheParitySetsOwnDataIsValid) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  const auto tokenizer = std::move(*Tokenizer::load(dir + "/llava-tiny"));
  for (auto [file, name] : {std::pair{"stage1.json", "plain"},
                            {"stage1_train_order.json", "plain"},
                            {"stage2_train_order.json", "v1"},
                            {"forward.json", "v1"},
                            {"forward.json", "llava_llama_2"}}) {
    ValidateOptions v;
    v.conversations_path = dir + "/data/" + file;
    v.image_root = dir + "/images";
    v.template_name = name;
    auto report = validate_dataset(v, *tokenizer);
    ASSERT_TRUE(report.ok()) << report.status().to_string();
    EXPECT_TRUE(report->ok()) << file << "\n" << to_text(*report);
  }
}

}  // namespace
}  // namespace tephra::data
