// Conversations that are read where they are needed, so that a dataset may be larger than memory: each sample at any index, without those
// before it. A run's place in such a dataset is one integer, the position in the order of samples (data/sampler.h), as in any other.
//
//   x.json            an array: read into memory
//   x.jsonl, .ndjson  one sample a line: mapped, with an index of lines
//   a folder          of WebDataset shards, *.tar in the order of their names: mapped, with an index of samples each
//
// Shards (github.com/webdataset/webdataset): files of a sample stand one after another and share their name up to the first dot of
// its last part: 000017.json (a sample in LLaVA's layout) or 000017.txt (a caption, asked for in the words of kDescribePrompts), and its pictures,
// 000017.jpg or 000017.0.png, 000017.1.png. Pictures that stand there are the sample's, whatever its `image` says. Tar's ustar and pax forms, and GNU's long
// names, are read.
//
// An index is a file FILE.tephra-index beside the data, made by whoever opens the data first; where that cannot be written it is made in memory, 16
// bytes a sample. It is made anew when size or time of the data differ.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "data/conversation.h"

namespace tephra::data {

class ConversationSource {
 public:
  virtual ~ConversationSource() = default;
  virtual uint64_t size() const = 0;
  // index < size(). The sample, or what is wrong with it and with no other, as parse_conversations says it. Any thread.
  virtual Result<Sample> sample(uint64_t index) const = 0;
  // Whether pictures are inside the data rather than files below an image root.
  virtual bool holds_pictures() const { return false; }
  // holds_pictures(): the bytes of picture `number` of the sample. Any thread.
  virtual Result<std::string> picture(uint64_t index, size_t number) const;
};

// kNotFound, kIo: the file or folder; kInvalidArgument: broken as a whole (data/conversation.h), or a folder without shards; kCorruption: a shard that
// is no tar file, with its name and the place. Blocks: the first time, as long as reading the data takes.
Result<std::unique_ptr<ConversationSource>> open_conversations(const std::string& path);

}  // namespace tephra::data
