// The loader reads LLaVA's layout and says where a file departs from it.
#include "data/conversation.h"

#include <gtest/gtest.h>

#include "tests/data/reference.h"

namespace tephra::data {
namespace {

std::string failure_of(const std::string& text) {
  auto samples = parse_conversations(text, "f.json");
  EXPECT_FALSE(samples.ok()) << text;
  if (samples.ok()) return "";
  EXPECT_EQ(samples.status().code(), Code::kInvalidArgument);
  return samples.status().message();
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Conversation, ReadsAnArrayAndJsonLinesAlike) {
  const std::string one =
      R"({"id": "a", "image": "x.png", "conversations": [{"from": "human", "value": "q]}\" {"}, {"from": "gpt", "value": "é"}]})";
  const std::string two = R"({"id": 7, "extra": {"a": [1]}, "conversations": [{"from": "human", "value": "q"}]})";
  const std::string three = R"({"conversations": [{"from": "gpt", "value": ""}], "image": null})";
  for (const std::string& text : {"[" + one + ",\n" + two + "\n, " + three + "\n]\n", one + "\n\n" + two + "\n" + three,
                                  "\xEF\xBB\xBF[" + one + "," + two + "," + three + "]"}) {
    auto samples = parse_conversations(text, "f.json");
    ASSERT_TRUE(samples.ok()) << samples.status().to_string();
    ASSERT_EQ(samples->size(), 3u);
    EXPECT_EQ((*samples)[0].id, "a");
    EXPECT_EQ((*samples)[0].images, std::vector<std::string>{"x.png"});
    EXPECT_EQ((*samples)[0].turns[0].value, "q]}\" {");
    EXPECT_EQ((*samples)[0].turns[1].value, "\xC3\xA9");
    EXPECT_EQ((*samples)[1].id, "7");
    EXPECT_EQ((*samples)[2].id, "#2");
    EXPECT_TRUE((*samples)[2].images.empty());
    EXPECT_GE((*samples)[2].line, (*samples)[1].line);
  }
  EXPECT_TRUE(parse_conversations("[]", "f")->empty());
  EXPECT_TRUE(parse_conversations("", "f")->empty());
}

TEST(Conversation, ReadsShareGptAndAlpaca) {
  auto samples = parse_conversations(R"([
    {"id": "s", "conversations": [{"from": "user", "value": "q"}, {"from": "chatgpt", "value": "a"}]},
    {"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Hi", "input": "", "output": "Ho"},
    {"instruction": "Hi", "output": "Ho"}])",
                                     "f.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  ASSERT_EQ(samples->size(), 4u);
  std::vector<std::string> said;
  for (const Sample& sample : *samples) {
    ASSERT_EQ(sample.turns.size(), 2u);
    EXPECT_EQ(sample.turns[0].from, "human");
    EXPECT_EQ(sample.turns[1].from, "gpt");
    EXPECT_TRUE(sample.images.empty());
    said.push_back(sample.turns[0].value + "|" + sample.turns[1].value);
  }
  EXPECT_EQ(said, (std::vector<std::string>{"q|a", "Add.\n1 2|3", "Hi|Ho", "Hi|Ho"}));
  EXPECT_TRUE(has(failure_of(R"([{"instruction": "Hi"}])"), "output: must be a string"));
  EXPECT_TRUE(has(failure_of(R"([{"instruction": 3, "output": ""}])"), "instruction: must be a string"));
  EXPECT_TRUE(has(failure_of(R"([{"instruction": "Hi", "input": 3, "output": ""}])"), "input: must be a string"));
}

TEST(Conversation, FailuresNameFileSampleAndField) {
  const std::string good = R"({"id": "a", "conversations": [{"from": "human", "value": "q"}]})";
  std::string message =
      failure_of("[" + good + ",\n" + R"({"id": "b", "conversations": [{"from": "system", "value": "q"}]}])");
  EXPECT_TRUE(has(message, "f.json:2") && has(message, "sample 1") && has(message, "\"b\"") &&
              has(message, "conversations[0].from"))
      << message;
  message = failure_of(R"([{"id": "c", "conversations": [{"from": "human"}]}])");
  EXPECT_TRUE(has(message, "\"c\"") && has(message, "conversations[0].value")) << message;
  EXPECT_TRUE(has(failure_of(R"([{"id": "d"}])"), "conversations: is missing"));
  EXPECT_TRUE(has(failure_of(R"([{"id": "d", "conversations": []}])"), "at least one turn"));
  EXPECT_TRUE(
      has(failure_of(R"([{"id": "d", "image": 3, "conversations": [1]}])"), "(id \"d\"): image: must be a path"));
  EXPECT_TRUE(has(failure_of(R"([{"id": "d", "image": ["a", 3], "conversations": [1]}])"), "image[1]: must be a path"));
  EXPECT_TRUE(has(failure_of(R"([{"id": "d", "image": ["a", ""], "conversations": [1]}])"), "image[1]: is empty"));
  EXPECT_TRUE(has(failure_of(R"([{"id": "d", "image": [], "conversations": [1]}])"), "image: is an empty list"));
  EXPECT_TRUE(has(failure_of(R"([{"id": {}, "conversations": [1]}])"), "id"));
  EXPECT_TRUE(has(failure_of("[" + good), "cut off"));
  EXPECT_TRUE(has(failure_of("[" + good.substr(0, 30)), "cut off"));
  EXPECT_TRUE(has(failure_of("[" + good + good + "]"), "comma"));
  EXPECT_TRUE(has(failure_of("[" + good + "] x"), "after the array"));
  EXPECT_TRUE(has(failure_of("hello"), "neither"));
  EXPECT_TRUE(has(failure_of("[{\"id\": \"\xFF\"}]"), "not valid JSON"));
  EXPECT_EQ(load_conversations("/nonexistent.json").status().code(), Code::kNotFound);
}

TEST(Conversation, ReadsAListOfPictures) {
  auto samples = parse_conversations(
      R"([{"id": "a", "image": ["x.png", "b/y.png"], "conversations": [{"from": "human", "value": "<image> and <image>"}]},
          {"id": "b", "image": ["x.png"], "conversations": [{"from": "human", "value": "<image>"}]}])",
      "f.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  EXPECT_EQ((*samples)[0].images, (std::vector<std::string>{"x.png", "b/y.png"}));
  EXPECT_EQ((*samples)[1].images, std::vector<std::string>{"x.png"});
}

// As long and as deep in the file as real data has it: the message still leads to the sample.
TEST(Conversation, AMissingFieldIsNamedWithTheSampleWhereverItIs) {
  std::string text = "[\n";
  for (int i = 0; i < 5000; ++i) {
    text += (i > 0 ? ",\n" : "") + std::string(R"({"id": "s)") + std::to_string(i) +
            R"(", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt")" +
            (i == 3017 ? "" : R"(, "value": "a")") + "}]}";
  }
  EXPECT_EQ(failure_of(text + "]"),
            "f.json:3019: sample 3017 (id \"s3017\"): conversations[1].value: must be a string, and is missing");
}

TEST(Conversation, CountsTags) {
  EXPECT_EQ(count_image_tags({"a", {}, {{"human", "<image><image> x"}, {"gpt", "<image>"}}}), 3);
}

}  // namespace
}  // namespace tephra::data
