// Conversations between the layouts in which they are published. What a layout cannot hold is refused with the sample's id, never
// left out in silence.
//
//   llava      an array of {"id", "image", "conversations": [{"from": "human" or "gpt", "value"}]}
//   sharegpt   the same without an image: text only
//   alpaca     an array of {"instruction", "input", "output"}: text only, one question and answer
//   messages   JSON lines of {"id", "image", "messages": [{"role": "user" or "assistant", "content"}]}, as Hugging Face datasets
//              export and load them. Read with a system message, which goes in front of the first question, and with content in
//              parts [{"type": "text", "text"}, {"type": "image"}]. Lines in LLaVA's own layout are read too.
//   coco       {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}: one caption a sample, asked for
//              in the words of kDescribePrompts in turn; written from samples with one picture and one answer
//   scienceqa  problems.json and pid_splits.json (data/scienceqa.h); read only
// Parquet is not read: it needs Apache Arrow, which Debian 12 does not package. `datasets` writes JSON lines:
//   load_dataset("parquet", data_files="x.parquet")["train"].to_json("x.jsonl")
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"

namespace tephra::data {

struct ConvertInput {
  std::string layout;                                                   // one of those above
  std::string path;                                                     // scienceqa: problems.json
  std::string splits{}, split = "train", images{}, prompt = "QCM-LEA";  // scienceqa
};

std::vector<std::string> readable_layouts();
std::vector<std::string> writable_layouts();

// kNotFound, kIo: a file; kInvalidArgument: what is wrong with it, with its place; an unknown layout.
Result<std::vector<Sample>> read_layout(const ConvertInput& input);

// kInvalidArgument: an unknown layout, or a sample that it cannot hold, by id. A sample that had no id of its own ("#N") gets none.
Result<std::string> write_layout(const std::vector<Sample>& samples, const std::string& layout);

}  // namespace tephra::data
