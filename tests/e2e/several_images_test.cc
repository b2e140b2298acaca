// Conversations about several pictures, from the check of the data to a reply, through the command line.
#include <gtest/gtest.h>

#include <fstream>

#include "data/image.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;

std::string base(const std::string& name) { return std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/" + name; }

json sample(const std::string& id, const json& image, const std::string& question, const std::string& answer) {
  json out = {
      {"id", id},
      {"conversations", json::array({{{"from", "human"}, {"value", question}}, {{"from", "gpt"}, {"value", answer}}})}};
  if (!image.is_null()) out["image"] = image;
  return out;
}

class SeveralImages : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<uint8_t> colors[] = {{220, 20, 30}, {20, 200, 40}, {30, 40, 210}};
    const char* const names[] = {"red", "green", "blue"};
    for (int i = 0; i < 3; ++i) {
      data::Image image{48, 48, {}};
      for (int p = 0; p < 48 * 48; ++p) image.rgb.insert(image.rgb.end(), colors[i].begin(), colors[i].end());
      const auto png = data::encode_png(image);
      ASSERT_TRUE(png.ok());
      picture_[i] =
          scratch_.write(std::string(names[i]) + ".png", {reinterpret_cast<const char*>(png->data()), png->size()});
    }
    json samples = json::array();
    for (int i = 0; i < 4; ++i) {
      const std::string one = names[i % 3], two = names[(i + 1) % 3], n = std::to_string(i);
      samples.push_back(
          sample("two" + n, {one + ".png", two + ".png"}, "<image>\n<image>\nWhat color is the first?", one));
      samples.push_back(sample("between" + n, {one + ".png", two + ".png", one + ".png"},
                               "Is <image> or <image> like <image>", "the first"));
      samples.push_back(sample("one" + n, one + ".png", "<image>\nWhat color is it?", one));
      samples.push_back(sample("text" + n, nullptr, "What color is the circle?", one));
    }
    data_ = scratch_.write("data.json", samples.dump());
  }

  std::string picture_[3], data_;
  Scratch scratch_;
};

TEST_F(SeveralImages, AreCheckedTrainedOnScoredAndAnswered) {
  Finished check = tephra(
      scratch_, {"data", "check", data_, "--images", scratch_.path(""), "--tokenizer", base("language"), "--json"});
  ASSERT_EQ(check.code, 0) << check.out << check.err;
  EXPECT_EQ(json::parse(check.out)["with_image"], 12);
  EXPECT_EQ(json::parse(check.out)["distinct_images"], 3);

  const std::string recipe = scratch_.write(
      "recipe.yaml", "name: several\nmodel: {vision: " + base("vision") + ", language: " + base("language") +
                         ", connector: {kind: mlp2x_gelu}}\n"
                         "gang: {ranks: 2, threads_per_rank: 1}\n"
                         "datasets:\n  mine: {kind: llava, conversations: " +
                         data_ + ", images: " + scratch_.path("") +
                         "}\nstages:\n"
                         "  - {name: tune, train: [connector, llm], template: v1, "
                         "data: [{dataset: mine}], max_length: 400, steps: 3, "
                         "micro_batch: 2, global_batch: 8, optimizer: {lr: 1.0e-3}}\n");
  std::map<std::string, std::string> hashes[2];
  for (int ranks : {1, 2}) {
    const std::string store = scratch_.path("store" + std::to_string(ranks));
    Finished run = tephra(scratch_, {"run", recipe, "--store", store, "--ranks", std::to_string(ranks)});
    ASSERT_EQ(run.code, 0) << run.out << run.err;
    hashes[ranks - 1] = content_hashes(scratch_, store);
  }
  ASSERT_TRUE(hashes[0].contains("several-1/tune@3"));
  EXPECT_EQ(hashes[0], hashes[1]);

  const std::string model = scratch_.path("model");
  Finished exported =
      tephra(scratch_, {"ckpt", "export", "several-1/tune@latest", "--store", scratch_.path("store2"), "--out", model});
  ASSERT_EQ(exported.code, 0) << exported.err;
  const auto losses = [&](const std::string& data) {
    Finished score = tephra(scratch_, {"score", "--model", model, "--threads", "1", "--data", data, "--images",
                                       scratch_.path(""), "--json"});
    EXPECT_EQ(score.code, 0) << score.err;
    std::map<std::string, double> by_id;
    for (const json& row : json::parse(score.out)) {
      EXPECT_GT(row["tokens"], 0);
      by_id[row["id"]] = row["loss"];
    }
    return by_id;
  };
  const auto all = losses(data_);
  EXPECT_EQ(all.size(), 16u);
  // The places of the pictures count: exchanged, they give another loss.
  json exchanged = json::parse(read_text(data_));
  for (json& one : exchanged)
    if (one["id"] == "two0") std::swap(one["image"][0], one["image"][1]);
  const auto other = losses(scratch_.write("exchanged.json", exchanged.dump()));
  EXPECT_NE(other.at("two0"), all.at("two0"));
  EXPECT_EQ(other.at("two1"), all.at("two1"));

  Finished generated =
      tephra(scratch_, {"generate", "--model", model, "--threads", "1", "--image", picture_[0], "--image", picture_[2],
                        "--prompt", "Is <image> like <image>", "--max-new-tokens", "4"});
  ASSERT_EQ(generated.code, 0) << generated.err;
  EXPECT_FALSE(json::parse(generated.out)["token_ids"].empty()) << generated.out;
  Finished uneven = tephra(scratch_, {"generate", "--model", model, "--threads", "1", "--image", picture_[0],
                                      "--prompt", "Is <image> like <image>"});
  EXPECT_EQ(uneven.code, 2);
  EXPECT_NE(uneven.err.find("2 <image> tags and 1 pictures"), std::string::npos) << uneven.err;
}

TEST_F(SeveralImages, ThatDoNotAgreeWithTheTagsAreNamedBeforeTraining) {
  json samples = json::parse(read_text(data_));
  samples[4]["image"].push_back("green.png");
  const std::string data = scratch_.write("uneven.json", samples.dump());
  Finished check =
      tephra(scratch_, {"data", "check", data, "--images", scratch_.path(""), "--tokenizer", base("language")});
  EXPECT_EQ(check.code, 1);
  EXPECT_NE(check.out.find("sample 4 (id \"two1\"): has 3 images and 2 <image> in its text"), std::string::npos)
      << check.out;
}

}  // namespace
}  // namespace tephra::e2e
