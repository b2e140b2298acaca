// What is proved: each layout is read and written, what can go there and back comes back equal, and what a layout cannot hold is
// refused by id.
#include "data/convert.h"

#include <gtest/gtest.h>

#include "data/scienceqa.h"
#include "tests/data/folder.h"

namespace tephra::data {
namespace {

std::string facts(const std::vector<Sample>& samples) {
  std::string out;
  for (const Sample& s : samples) {
    out += s.id + "|";
    for (const auto& image : s.images) out += image + "|";
    for (const Turn& t : s.turns) out += t.from + ":" + t.value + "|";
    out += "\n";
  }
  return out;
}

class ConvertTest : public FolderTest {
 protected:
  std::vector<Sample> read(const std::string& layout, const std::string& text) {
    auto samples = read_layout({layout, write("in.json", text)});
    EXPECT_TRUE(samples.ok()) << samples.status().to_string();
    return samples.ok() ? *samples : std::vector<Sample>();
  }
  // Written and read again.
  std::vector<Sample> again(const std::vector<Sample>& samples, const std::string& layout) {
    const auto text = write_layout(samples, layout);
    EXPECT_TRUE(text.ok()) << text.status().to_string();
    return text.ok() ? read(layout, *text) : std::vector<Sample>();
  }
  const std::vector<Sample> mixed_{
      {"1",
       {"a.jpg"},
       {{"human", "<image>\nWhat?"}, {"gpt", "That \"thing\".\nYes."}, {"human", "Why?"}, {"gpt", "So."}}},
      {"two", {"b.jpg", "c.jpg"}, {{"human", "<image> and <image>?"}, {"gpt", "\xC3\xA9"}}},
      {"#2", {}, {{"human", "Hello?"}, {"gpt", "Hello."}}}};
  const std::vector<Sample> text_{{"1", {}, {{"human", "a\nb"}, {"gpt", "c"}}},
                                  {"#1", {}, {{"human", "d"}, {"gpt", "e"}}}};
};

TEST_F(ConvertTest, RoundTripsKeepEverything) {
  EXPECT_EQ(facts(again(mixed_, "llava")), facts(mixed_));
  EXPECT_EQ(facts(again(mixed_, "messages")), facts(mixed_));
  EXPECT_EQ(facts(again(again(mixed_, "messages"), "llava")), facts(mixed_));
  for (const char* layout : {"sharegpt", "alpaca", "messages", "llava"})
    EXPECT_EQ(facts(again(text_, layout)), facts(text_)) << layout;
}

TEST_F(ConvertTest, WhatALayoutCannotHoldIsRefusedById) {
  EXPECT_EQ(write_layout(mixed_, "sharegpt").status().message(),
            "sample '1' has a picture, and ShareGPT's layout is text only");
  EXPECT_FALSE(write_layout(mixed_, "alpaca").ok());
  EXPECT_FALSE(write_layout({{"x", {}, {{"human", "a"}, {"gpt", "b"}, {"human", "c"}, {"gpt", "d"}}}}, "alpaca").ok());
  EXPECT_FALSE(write_layout(mixed_, "coco").ok());
  EXPECT_FALSE(write_layout(mixed_, "parquet").ok());
  EXPECT_FALSE(read_layout({"parquet", "x"}).ok());
}

TEST_F(ConvertTest, ScienceQaWantsItsSplits) {
  EXPECT_NE(read_layout({"scienceqa", "problems.json"}).status().message().find("--splits"), std::string::npos);
}

TEST_F(ConvertTest, CocoCaptionsThereAndBack) {
  const std::string text = R"({"images": [{"id": 9, "file_name": "9.jpg"}, {"id": 4, "file_name": "4.jpg"}],
    "annotations": [{"id": 11, "image_id": 4, "caption": "A cat."}, {"id": 12, "image_id": 9, "caption": "A dog."}, {"id": 13, "image_id": 4, "caption": "Cat!"}]})";
  const auto samples = read("coco", text);
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(facts({samples[0]}), "11|4.jpg|human:<image>\nDescribe the picture.|gpt:A cat.|\n");
  EXPECT_EQ(facts(again(samples, "coco")), facts(samples));
  EXPECT_EQ(read_layout({"coco", write("bad.json",
                                       R"({"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]})")})
                .status()
                .code(),
            Code::kInvalidArgument);
}

TEST_F(ConvertTest, ReadsHuggingFaceLines) {
  const auto samples = read(
      "messages",
      R"({"images": ["a.png"], "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}, {"role": "assistant", "content": [{"type": "text", "text": "That."}]}]}

{"id": 7, "conversations": [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Ho"}]}
{"instruction": "Add.", "input": "1 1", "output": "2"}
)");
  EXPECT_EQ(facts(samples),
            "#0|a.png|human:Be brief.\n\n<image>\nWhat?|gpt:That.|\n7|human:Hi|gpt:Ho|\n#2|human:Add.\n1 1|gpt:2|\n");
  for (const char* bad : {"\n[1]", "\n{\"messages\": 3}", "\n{\"messages\": [{\"role\": \"user\"}]}",
                          "\n{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}",
                          "\n{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"sound\"}]}]}"}) {
    const Status status = read_layout({"messages", write("bad.jsonl", bad)}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("bad.jsonl:2: "), std::string::npos) << status.message();
  }
}

TEST_F(ConvertTest, ScienceQaBecomesItsOwnPrompts) {
  const std::string problems =
      R"({"1": {"question": "Q?", "choices": ["x", "y"], "answer": 1, "hint": "H", "image": "image.png", "task": "t", "grade": "grade2",
    "subject": "natural science", "topic": "t", "category": "c", "skill": "s", "lecture": "L.", "solution": "S.", "split": "train"},
    "2": {"question": "R?", "choices": ["x", "y"], "answer": 0, "hint": "", "image": null, "task": "t", "grade": "grade2",
    "subject": "natural science", "topic": "t", "category": "c", "skill": "s", "lecture": "", "solution": "", "split": "train"}})";
  ConvertInput input{"scienceqa", write("problems.json", problems), write("splits.json", R"({"train": ["1", "2"]})"),
                     "train", root_ + "/images"};
  write("images/train/1/image.png", "x");
  const auto samples = read_layout(input);
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  const auto published = parse_scienceqa(problems, "problems");
  ASSERT_EQ(samples->size(), 2u);
  EXPECT_EQ((*samples)[0].turns[0].value, "<image>\n" + *scienceqa_prompt((*published)[0], "QCM-LEA"));
  EXPECT_EQ((*samples)[0].turns[1].value, *scienceqa_reply((*published)[0], "QCM-LEA"));
  EXPECT_EQ((*samples)[0].images, std::vector<std::string>{"train/1/image.png"});
  EXPECT_TRUE((*samples)[1].images.empty());
  EXPECT_EQ(facts(again(*samples, "llava")), facts(*samples));
}

}  // namespace
}  // namespace tephra::data
