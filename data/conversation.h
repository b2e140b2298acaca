// Conversations in LLaVA's JSON layout: an array (or JSON lines) of
//   {"id": "000017", "image": "a/b.jpg", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value":
//   "..."}]}
// `image` is absent for a text-only sample, and a list of paths for one with several pictures, whose <image> tags stand for
// them in order. Two layouts of text-only data are read too: ShareGPT's, which is the same with
// roles user, assistant, chatgpt, bard and bing besides, and Alpaca's,
//   {"instruction": "...", "input": "...", "output": "..."}
// whose input may be absent or empty and else stands behind the instruction, after a line break.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tephra::data {

inline constexpr std::string_view kImageTag = "<image>";

struct Turn {
  std::string from;  // "human" or "gpt"
  std::string value;
};

// A question and its answer.
struct Exchange {
  std::string question;
  std::string answer;
};

struct Sample {
  std::string id;                   // as in the file; a number is written out; "#N" (N: index) where the file has none
  std::vector<std::string> images;  // paths relative to the image root; empty: text only
  std::vector<Turn> turns;
  int line = 0;  // 1-based line of the file where the sample starts; 0: not from a file
};

// Samples of a file in its order. Only one sample's JSON is parsed at a time, so memory is the file plus the result.
// kNotFound or kIo: the file cannot be read. kInvalidArgument: the first sample that is not of the layout above, with
// file, line, sample index and id, and field. Unknown keys are passed over.
Result<std::vector<Sample>> load_conversations(const std::string& path);

// The same from text in memory; `name` stands for the path in messages.
Result<std::vector<Sample>> parse_conversations(std::string_view text, const std::string& name);

// A sample as it stands in a file.
struct SampleText {
  size_t index = 0;
  int line = 0;
  std::string_view json;  // of the text that was given; unknown keys are in it
  Result<Sample> sample;  // or what is wrong with it, and with nothing else
};

// Calls `visit` for each sample in order, also for those that are not of the layout, until it fails. kInvalidArgument besides: the
// file as a whole is broken (cut off, no array and no lines).
Status scan_conversations(std::string_view text, const std::string& name,
                          const std::function<Status(SampleText&&)>& visit);

// How often kImageTag stands in a sample's turns.
int count_image_tags(const Sample& sample);

}  // namespace tephra::data
