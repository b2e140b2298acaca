// Ids, labels and prompts equal the original LLaVA's, sample by sample.
#include "data/template.h"

#include <gtest/gtest.h>

#include "tests/data/reference.h"

namespace tephra::data {
namespace {

using Ids = std::vector<int32_t>;

struct Reference {
  nlohmann::json json;
  std::map<std::string, Sample> samples;
  std::unique_ptr<Tokenizer> legacy, fresh;
  const Tokenizer& tokenizer(bool is_legacy) const { return is_legacy ? *legacy : *fresh; }
};

Reference load_reference(const std::string& dir) {
  Reference r;
  r.json = read_reference(dir + "/conversations.json");
  auto samples = load_conversations(dir + "/data/conversations.json");
  EXPECT_TRUE(samples.ok()) << samples.status().to_string();
  for (const Sample& s : *samples) r.samples[s.id] = s;
  r.legacy = std::move(*Tokenizer::load(dir + "/llama-tiny"));
  r.fresh = std::move(*Tokenizer::load(dir + "/llava-tiny"));
  return r;
}

TEST(Template, EncodesEverySampleAsTheOriginalDoes) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  Reference r = load_reference(dir);
  int compared = 0, refused = 0, warned = 0;
  for (const auto& row : r.json["expected"]) {
    const std::string what = row["id"].get<std::string>() + " " + row["template"].get<std::string>() +
                             (row["legacy"] ? " legacy " : " new ") + row["model_max_length"].dump();
    auto encoded = encode_sample(r.samples.at(row["id"]), r.tokenizer(row["legacy"]),
                                 row["template"].get<std::string>(), row["model_max_length"]);
    if (row.contains("error")) {
      EXPECT_EQ(encoded.status().code(), Code::kInvalidArgument) << what;
      ++refused;
      continue;
    }
    ASSERT_TRUE(encoded.ok()) << what << encoded.status().to_string();
    EXPECT_EQ(encoded->ids, row["input_ids"].get<Ids>()) << what;
    EXPECT_EQ(encoded->labels, row["labels"].get<Ids>()) << what;
    EXPECT_EQ(!encoded->warning.empty(), row.contains("warning")) << what << encoded->warning;
    EXPECT_EQ(count_supervised(*encoded), row["n_supervised"]) << what;
    warned += !encoded->warning.empty();
    ++compared;
  }
  EXPECT_GE(compared, 470);
  EXPECT_GE(refused, 14);
  EXPECT_GE(warned, 50);
}

TEST(Template, RendersPromptsAsTheOriginalDoes) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  Reference r = load_reference(dir);
  ASSERT_GE(r.json["prompts"].size(), 252u);
  for (const auto& row : r.json["prompts"]) {
    const std::string name = row["template"];
    const std::vector<Turn> turns{{"human", row["question"]}};
    auto prompt = render_prompt(name, turns, true);
    ASSERT_TRUE(prompt.ok()) << prompt.status().to_string();
    EXPECT_EQ(*prompt, row["prompt"].get<std::string>());
    auto ids = encode_prompt(name, turns, r.tokenizer(row["legacy"]));
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, row["input_ids"].get<Ids>()) << name << row["id"];
  }
  for (const auto& row : r.json["expected"]) {  // whole conversations, of the samples that a prompt can be compared for
    const Sample& sample = r.samples.at(row["id"]);
    if (row.value("prompt", "").empty() || !sample.image.empty() || sample.id.starts_with("odd-") ||
        row["template"] == "v0")
      continue;
    if (find_template(row["template"].get<std::string>())->style == TemplateStyle::kHashes)
      continue;  // trains with another layout
    auto prompt = render_prompt(row["template"].get<std::string>(), sample.turns, false);
    ASSERT_TRUE(prompt.ok());
    EXPECT_EQ(*prompt, row["prompt"].get<std::string>());
  }
}

TEST(Template, FinishCutsAndDropsUnknownTokens) {
  Encoded e{{1, 5, 0, kImageToken, 7, 8}, {-100, 5, 0, -100, 7, 8}, 1, ""};
  finish_encoding(e, 0, 5);
  EXPECT_EQ(e.ids, (Ids{1, 5, kImageToken, 7}));
  EXPECT_EQ(e.labels, (Ids{-100, 5, -100, 7}));
  EXPECT_EQ(count_supervised(e), 2);
  EXPECT_EQ(supervised_after_expansion(e, 10, 2048), 2);
  EXPECT_EQ(supervised_after_expansion(e, 10, 12), 1);  // 1, 5, ten patches: the 7 is cut off
  finish_encoding(e, 0, 2);
  EXPECT_EQ(e.images, 0);
}

TEST(Template, RefusesWhatATemplateDoesNotTake) {
  EXPECT_EQ(find_template("vicuna_v1"), find_template("v1"));
  EXPECT_EQ(find_template("v2"), nullptr);
  EXPECT_EQ(render_prompt("v2", {{"human", "x"}}, true).status().code(), Code::kInvalidArgument);
  Status twice = render_prompt("v1", {{"human", "x"}, {"human", "y"}}, true).status();
  EXPECT_NE(twice.message().find("turn 1"), std::string::npos) << twice.message();
  EXPECT_FALSE(render_prompt("v1", {{"human", "x"}, {"gpt", "y"}}, true).ok());
  EXPECT_EQ(stop_text("v1"), "</s>");
  EXPECT_EQ(stop_text("v0"), "###");
  EXPECT_EQ(stop_text("plain"), "\n");
}

// By hand from LLaMA 3's chat format.
TEST(Template, Llama3SupervisesAnswersAndTheirEnd) {
  const auto tokenizer = Tokenizer::load(TEPHRA_SOURCE_DIR "/tests/data/byte_level");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  Sample sample;
  sample.id = "s";
  sample.image = "x.png";
  sample.turns = {{"human", "<image>\nWhat is it? "}, {"gpt", "a red circle"}, {"human", "Where?"}, {"gpt", "East."}};
  const auto encoded = encode_sample(sample, **tokenizer, "llava_llama_3", 4096);
  ASSERT_TRUE(encoded.ok()) << encoded.status().to_string();
  ASSERT_EQ(encoded->ids.size(), encoded->labels.size());
  EXPECT_EQ(encoded->images, 1);
  const std::string system =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and vision assistant. You are able to "
      "understand the visual content that the user provides, and assist the user with a variety of tasks using natural "
      "language.<|eot_id|>";
  const std::string user = "<|start_header_id|>user<|end_header_id|>\n\n",
                    assistant = "<|start_header_id|>assistant<|end_header_id|>\n\n";
  std::string text, supervised;
  for (size_t i = 0; i < encoded->ids.size(); ++i) {
    const int32_t id = encoded->ids[i];
    text += id == kImageToken ? "<image>" : (*tokenizer)->decode(std::vector<int32_t>{id}, false);
    if (encoded->labels[i] == kIgnoreLabel) continue;
    EXPECT_EQ(encoded->labels[i], id);
    supervised += (*tokenizer)->decode(std::vector<int32_t>{id}, false);
  }
  EXPECT_EQ(text, system + user + "<image>\nWhat is it?<|eot_id|>" + assistant + "a red circle<|eot_id|>" + user +
                      "Where?<|eot_id|>" + assistant + "East.<|eot_id|>");
  EXPECT_EQ(supervised, "a red circle<|eot_id|>East.<|eot_id|>");
  const auto prompt = render_prompt("llava_llama_3", {{"human", "Hi"}}, true);
  ASSERT_TRUE(prompt.ok());
  EXPECT_EQ("<|begin_of_text|>" + *prompt, system + user + "Hi<|eot_id|>" + assistant);
  EXPECT_EQ(stop_ids("llava_llama_3", **tokenizer), (Ids{(*tokenizer)->eos_id(), (*tokenizer)->id_of("<|eot_id|>")}));

  const auto other = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
  EXPECT_NE(encode_sample(sample, **other, "llava_llama_3", 64).status().message().find("no token <|eot_id|>"),
            std::string::npos);
}

}  // namespace
}  // namespace tephra::data
