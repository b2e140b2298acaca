// A folder of generated dataset files, and the JSON that generators write into one. What they share lives here: the
// file dataset.json, written last, says what the folder was made from, so that a complete folder is left alone and a
// half-written one is redone.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/hash.h"
#include "base/status.h"
#include "data/conversation.h"
#include "data/image.h"

namespace tephra::data {

// What captions are asked for with, in turn.
inline constexpr const char* kDescribePrompts[] = {"Describe the picture.", "What is in the picture?"};

// Files that do not come from the generator's options alone are part of `options` as a hash, so that a folder is redone
// when they change. One thread; errors are the Env's, with the path.
class DatasetFolder {
 public:
  DatasetFolder(Env& env, std::string dir, nlohmann::ordered_json options);

  // Whether dataset.json names these options: then nothing is to be done. Else the folder is made, and from here on is
  // incomplete until finish().
  Result<bool> begin();
  // Replaces what a writing that did not end has left. `relative`: path in the folder; its own folder must be there.
  Status write(const std::string& relative, std::string_view bytes);
  Status write_picture(const std::string& relative, const Image& image);
  Status make_directories(const std::string& relative);
  // Writes dataset.json: the options, the counts if there are any, and a hash of every name and byte written.
  Status finish(const std::map<std::string, int64_t>& counts = {});

 private:
  std::string marker() const { return dir_ + "/dataset.json"; }

  Env& env_;
  std::string dir_;
  nlohmann::ordered_json options_;
  Hasher hasher_;
};

// A sample in LLaVA's layout (data/conversation.h). `image` empty: a text-only sample. `before` leads the first
// question; with an image that is the image tag.
nlohmann::ordered_json sample_json(const std::string& id, const std::string& image,
                                   const std::vector<Exchange>& exchanges, const std::string& before = "");

// "000017"
std::string numbered(int64_t index);
// A JSON array with one element a line: files of thousands of samples stay readable, and comparable line by line. Bytes
// that are not UTF-8 become U+FFFD.
std::string json_lines(const nlohmann::ordered_json& array);

}  // namespace tephra::data
