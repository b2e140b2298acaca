// Whether picture files decode, remembered by content: a file that was checked once is read and hashed, not decoded, the next time,
// whatever it is called by then.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/hash.h"
#include "base/status.h"

namespace tephra::data {

// Verdicts by (hash, bytes). Any thread. A text file: a line that names the decoders' version, then "HASH BYTES CODE MESSAGE" each.
class ImageCheckCache {
 public:
  // What is in `path`, or nothing when it is not there, is damaged, or is of other decoders: a cache is never wrong, only empty.
  static std::unique_ptr<ImageCheckCache> open(Env& env, const std::string& path);
  std::optional<Status> find(const Hash128& hash,
                             uint64_t bytes) const;  // "{}" in a message stands for the file's name
  void add(const Hash128& hash, uint64_t bytes, const Status& verdict);
  Status save();  // atomically, when anything was added
  uint64_t hits() const;

 private:
  ImageCheckCache(Env& env, std::string path) : env_(env), path_(std::move(path)) {}

  Env& env_;
  const std::string path_;
  mutable std::mutex mutex_;
  std::map<std::pair<Hash128, uint64_t>, Status> verdicts_;
  mutable uint64_t hits_ = 0;
  bool changed_ = false;
};

// Decodes the picture (data/image.h: what decode_image takes), or believes `cache`, which may be null. `name` stands for it in messages.
Status check_image(std::string_view bytes, const std::string& name, ImageCheckCache* cache);

}  // namespace tephra::data
