// Ids, labels and prompts equal the original LLaVA's, sample by sample; and, of every template, that training and asking agree.
#include "data/template.h"

#include <gtest/gtest.h>

#include "data/dataset_scenes.h"
#include "data/utf8.h"
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
    if (row.value("prompt", "").empty() || !sample.images.empty() || sample.id.starts_with("odd-") ||
        row["template"] == "v0")
      continue;
    if (find_template(row["template"].get<std::string>())->style == TemplateStyle::kHashes)
      continue;  // trains with another layout
    auto prompt = render_prompt(row["template"].get<std::string>(), sample.turns, false);
    ASSERT_TRUE(prompt.ok());
    EXPECT_EQ(*prompt, row["prompt"].get<std::string>());
  }
}

// Templates with a tokenizer that ships and both of its rules, or with LLaMA 3's. Left out is where the original counts tokens in a way
// that is right for LLaMA's own pieces only, which is compared with the recorded labels above: v0 and its kin ("###" alone has to be as
// long as in a text), and v1 and its kin without `legacy` (" USER" has to be one longer than "USER").
struct Taught {
  std::string name;
  bool legacy = true;
};
void PrintTo(const Taught& taught, std::ostream* out) { *out << taught.name << (taught.legacy ? "" : ", not legacy"); }

std::vector<Taught> taught() {
  std::vector<Taught> out;
  for (const std::string& name : template_names()) {
    const TemplateStyle style = find_template(name)->style;
    if (style == TemplateStyle::kHashes) continue;
    out.push_back({name, true});
    if (style == TemplateStyle::kLlama2 || style == TemplateStyle::kPlain) out.push_back({name, false});
  }
  return out;
}

class EveryTemplate : public ::testing::TestWithParam<Taught> {
 protected:
  void SetUp() override {
    if (style_ == TemplateStyle::kLlama3) {
      tokenizer_ = std::move(*Tokenizer::load(TEPHRA_SOURCE_DIR "/tests/data/byte_level"));
    } else {
      dir_.write("tokenizer.model", *read_file(Env::posix(), kBaseTokenizer + "/tokenizer.model"));
      dir_.write("tokenizer_config.json", GetParam().legacy ? R"({"legacy": true})" : R"({"legacy": false})");
      tokenizer_ = std::move(*Tokenizer::load(dir_.path()));
    }
    SceneDatasetOptions scenes;
    scenes.train_scenes = 40;
    scenes.validation_questions = scenes.test_questions = scenes.heldout_conversations = scenes.text_questions = 0;
    scenes.out_dir = dir_.path() + "/scenes";
    const Status written = write_scene_dataset(scenes);
    ASSERT_TRUE(written.ok()) << written.to_string();
    samples_ = std::move(
        *load_conversations(scenes.out_dir + (style_ == TemplateStyle::kPlain ? "/captions.json" : "/instruct.json")));
    Sample three;  // rounds, texts of more than ASCII, no picture
    three.id = "three";
    three.turns = {{"human", "What is naïve?"}, {"gpt", "é, 日本."}, {"human", "And  12?"},
                   {"gpt", "A number."},        {"human", "Why?"},   {"gpt", "So."}};
    if (style_ != TemplateStyle::kPlain) samples_.push_back(three);
    ASSERT_GE(samples_.size(), 40u);
  }

  // The stretches of ids that have a label, or that have none, as texts.
  std::vector<std::string> stretches(const Encoded& encoded, bool labelled) const {
    std::vector<std::string> out;
    Ids run;
    for (size_t i = 0; i <= encoded.ids.size(); ++i) {
      if (i < encoded.ids.size() && (encoded.labels[i] != kIgnoreLabel) == labelled) {
        run.push_back(encoded.ids[i]);
      } else if (!run.empty()) {
        out.push_back(std::string(strip(tokenizer_->decode(run, true))));
        run.clear();
      }
    }
    return out;
  }

  const TemplateStyle style_ = find_template(GetParam().name)->style;
  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Sample> samples_;
};

TEST_P(EveryTemplate, SupervisesTheAnswersAndNothingElse) {
  for (const Sample& sample : samples_) {
    const auto encoded = encode_sample(sample, *tokenizer_, GetParam().name, 4096);
    ASSERT_TRUE(encoded.ok()) << encoded.status().to_string();
    EXPECT_EQ(encoded->warning, "") << sample.id;
    ASSERT_EQ(encoded->ids.size(), encoded->labels.size());
    EXPECT_EQ(encoded->ids[0], tokenizer_->bos_id());
    EXPECT_EQ(encoded->images, static_cast<int>(sample.images.size()));
    for (size_t i = 0; i < encoded->ids.size(); ++i) {
      if (encoded->labels[i] == kIgnoreLabel) continue;
      EXPECT_EQ(encoded->labels[i], encoded->ids[i]);
    }
    std::vector<std::string> answers, said = stretches(*encoded, true);
    for (const Turn& turn : sample.turns)
      if (turn.from == "gpt") answers.emplace_back(strip(turn.value));
    EXPECT_EQ(said, answers) << sample.id;
  }
}

// What stands before an answer in training is what the model is asked with.
TEST_P(EveryTemplate, AsksAsItWasTaught) {
  const Template& t = *find_template(GetParam().name);
  if (t.image_in_tags || style_ == TemplateStyle::kPlain)
    return;  // as in the original, asked by another text than taught by
  for (const Sample& sample : samples_) {
    const auto encoded = encode_sample(sample, *tokenizer_, t.name, 4096);
    ASSERT_TRUE(encoded.ok());
    for (size_t turn = 0; turn < sample.turns.size(); turn += 2) {
      const std::vector<Turn> asked(sample.turns.begin(), sample.turns.begin() + static_cast<ptrdiff_t>(turn) + 1);
      const auto prompt = encode_prompt(t.name, asked, *tokenizer_);
      ASSERT_TRUE(prompt.ok()) << prompt.status().to_string();
      ASSERT_LT(prompt->size(), encoded->ids.size());
      EXPECT_EQ(Ids(encoded->ids.begin(), encoded->ids.begin() + static_cast<ptrdiff_t>(prompt->size())), *prompt)
          << sample.id << " " << turn;
      EXPECT_EQ(encoded->labels[prompt->size() - 1], kIgnoreLabel) << sample.id << " " << turn;
      EXPECT_NE(encoded->labels[prompt->size()], kIgnoreLabel) << sample.id << " " << turn;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryTemplate, ::testing::ValuesIn(taught()),
                         [](const auto& info) { return info.param.name + (info.param.legacy ? "" : "_fresh"); });

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

// Text of the supervised labels, without blanks: tokenizers differ in those that they show.
std::string supervised_text(const Encoded& encoded, const Tokenizer& tokenizer) {
  Ids supervised;
  for (int32_t label : encoded.labels)
    if (label != kIgnoreLabel) supervised.push_back(label);
  return replace_all(tokenizer.decode(supervised, false), " ", "");
}

// The prompts are written out by hand; each stretch between pictures is tokenized on its own.
void expect_images_where_their_tags_stand(const std::string& tokenizer_dir) {
  SCOPED_TRACE(tokenizer_dir);
  const auto tokenizer = Tokenizer::load(tokenizer_dir);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  // v0's masks take it that "###" is two tokens, as it is to LLaMA's tokenizer.
  const bool is_llama = (*tokenizer)->encode("a###").size() == 3;
  Sample sample;
  sample.id = "s";
  sample.images = {"a.png", "b.png", "c.png"};
  sample.turns = {{"human", "<image>\nCompare it with <image>."},
                  {"gpt", "The first is red."},
                  {"human", "And this one? <image>"},
                  {"gpt", "Blue."}};
  struct Case {
    std::string name;
    std::vector<std::string> stretches;
    std::string supervised;
  };
  const std::string system = std::string(find_template("v1")->system),
                    llama_system = std::string(find_template("llava_llama_2")->system),
                    human_system = std::string(find_template("llava_v0")->system);
  for (const Case& c :
       {Case{"v1",
             {system + " USER: ", "\nCompare it with ", ". ASSISTANT: The first is red.</s>USER: And this one? ",
              " ASSISTANT: Blue.</s>"},
             "Thefirstisred.</s>Blue.</s>"},
        Case{"llava_llama_2",
             {"[INST] <<SYS>>\n" + llama_system + "\n<</SYS>>\n\n", "\nCompare it with ",
              ". [/INST] The first is red. </s><s>[INST] And this one? ", " [/INST] Blue. </s>"},
             "Thefirstisred.</s>Blue.</s>"},
        Case{"llava_v0",
             {human_system + "\n\n### Human: ", "\nCompare it with ",
              ".\n### Assistant: The first is red.\n### Human: And this one? ", "\n### Assistant: Blue.\n### "},
             is_llama ? "######Assistant:Thefirstisred.\n######Assistant:Blue.\n###" : ""},
        Case{"v1_mmtag",
             {std::string(find_template("v1_mmtag")->system) + " USER: <Image>", "</Image>\nCompare it with <Image>",
              "</Image>. ASSISTANT: The first is red.</s>USER: And this one? <Image>", "</Image> ASSISTANT: Blue.</s>"},
             "Thefirstisred.</s>Blue.</s>"}}) {
    Ids expected{(*tokenizer)->bos_id()};
    for (size_t i = 0; i < c.stretches.size(); ++i) {
      if (i > 0) expected.push_back(kImageToken);
      for (int32_t id : (*tokenizer)->encode(c.stretches[i])) expected.push_back(id);
    }
    auto encoded = encode_sample(sample, **tokenizer, c.name, 2048);
    ASSERT_TRUE(encoded.ok()) << encoded.status().to_string();
    EXPECT_EQ(encoded->warning, "") << c.name;
    EXPECT_EQ(encoded->images, 3);
    EXPECT_EQ(encoded->ids, expected) << c.name;
    if (!c.supervised.empty()) {
      EXPECT_EQ(supervised_text(*encoded, **tokenizer), c.supervised) << c.name;
    }
    EXPECT_EQ(supervised_after_expansion(*encoded, 5, 2048), count_supervised(*encoded));
    finish_encoding(*encoded, (*tokenizer)->unk_id(),
                    static_cast<int>(std::find(expected.begin(), expected.end(), kImageToken) - expected.begin()) + 2);
    EXPECT_EQ(encoded->images, 1);
  }
}

TEST(Template, SeveralImagesStandWhereTheirTagsDo) {
  expect_images_where_their_tags_stand(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
  const char* reference = std::getenv("TEPHRA_REFERENCE_DIR");
  if (reference == nullptr) return;  // the same with LLaMA's own tokenizer, of both kinds
  expect_images_where_their_tags_stand(std::string(reference) + "/llama-tiny");
  expect_images_where_their_tags_stand(std::string(reference) + "/llava-tiny");
}

TEST(Template, OneImageInAListIsOneImage) {
  const auto tokenizer = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  Sample sample;
  // Its tag goes to the front, as it always did.
  sample.images = {"a.png"};
  sample.turns = {{"human", "What is <image> this?"}, {"gpt", "Red."}};
  const auto listed = encode_sample(sample, **tokenizer, "v1", 2048);
  sample.turns[0].value = "<image>\nWhat is  this?";
  EXPECT_EQ(listed->ids, encode_sample(sample, **tokenizer, "v1", 2048)->ids);
}

TEST(Template, PlainPutsTheCaptionBehindAllItsImages) {
  const auto tokenizer = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  Sample sample;
  sample.images = {"a.png", "b.png"};
  sample.turns = {{"human", "<image><image>\nDescribe them."}, {"gpt", "a red circle"}};
  const auto encoded = encode_sample(sample, **tokenizer, "plain", 2048);
  ASSERT_TRUE(encoded.ok()) << encoded.status().to_string();
  Ids expected{(*tokenizer)->bos_id(), kImageToken, kImageToken};
  for (int32_t id : (*tokenizer)->encode("a red circle\n")) expected.push_back(id);
  EXPECT_EQ(encoded->ids, expected);
  std::fill_n(expected.begin(), 3, kIgnoreLabel);
  EXPECT_EQ(encoded->labels, expected);
}

TEST(Template, AnImageInAnAnswerHasNoLabel) {
  const auto tokenizer = Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  Sample sample;
  sample.images = {"a.png", "b.png"};
  sample.turns = {{"human", "<image> What is next?"}, {"gpt", "This: <image>"}};
  auto encoded = encode_sample(sample, **tokenizer, "v1", 2048);
  ASSERT_TRUE(encoded.ok()) << encoded.status().to_string();
  finish_encoding(*encoded, (*tokenizer)->unk_id(), 2048);
  EXPECT_EQ(encoded->images, 2);
  EXPECT_GT(count_supervised(*encoded), 0);
  for (size_t i = 0; i < encoded->ids.size(); ++i)
    EXPECT_TRUE(encoded->ids[i] != kImageToken || encoded->labels[i] == kIgnoreLabel) << i;
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
  sample.images = {"x.png"};
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
