#include "data/image_check.h"

#include <charconv>
#include <span>
#include <sstream>

#include "base/version.h"
#include "data/image.h"

namespace tephra::data {
namespace {

constexpr const char* kName = "{}";

std::string first_line() { return "tephra image checks 1, decoders of tephra " + std::string(kVersion); }

Status named(const Status& verdict, const std::string& path) {
  std::string message = verdict.message();
  if (const size_t at = message.find(kName); at != std::string::npos) message.replace(at, 2, path);
  return verdict.ok() ? verdict : Status(verdict.code(), message);
}

}  // namespace

std::unique_ptr<ImageCheckCache> ImageCheckCache::open(Env& env, const std::string& path) {
  std::unique_ptr<ImageCheckCache> cache(new ImageCheckCache(env, path));
  const Result<std::string> text = read_file(env, path);
  if (!text.ok()) return cache;
  std::istringstream lines(*text);
  std::string line;
  if (!std::getline(lines, line) || line != first_line()) return cache;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string hash, message;
    uint64_t bytes = 0;
    int code = 0;
    if (!(fields >> hash >> bytes >> code) || code < 0 || code > static_cast<int>(Code::kInternal)) continue;
    std::getline(fields >> std::ws, message);
    const Result<Hash128> parsed = Hash128::parse(hash);
    if (!parsed.ok()) continue;
    cache->verdicts_[{*parsed, bytes}] = code == 0 ? ok_status() : Status(static_cast<Code>(code), message);
  }
  return cache;
}

std::optional<Status> ImageCheckCache::find(const Hash128& hash, uint64_t bytes) const {
  std::lock_guard lock(mutex_);
  const auto found = verdicts_.find({hash, bytes});
  if (found == verdicts_.end()) return std::nullopt;
  ++hits_;
  return found->second;
}

void ImageCheckCache::add(const Hash128& hash, uint64_t bytes, const Status& verdict) {
  std::lock_guard lock(mutex_);
  verdicts_[{hash, bytes}] = verdict;
  changed_ = true;
}

Status ImageCheckCache::save() {
  std::lock_guard lock(mutex_);
  if (!changed_) return ok_status();
  std::string text = first_line() + "\n";
  for (const auto& [key, verdict] : verdicts_) {
    std::string message = verdict.message();
    for (char& c : message)
      if (c == '\n' || c == '\r') c = ' ';
    text += key.first.hex() + " " + std::to_string(key.second) + " " +
            std::to_string(static_cast<int>(verdict.code())) + " " + message + "\n";
  }
  if (const size_t slash = path_.rfind('/'); slash != std::string::npos && slash > 0)
    TEPHRA_RETURN_IF_ERROR(env_.make_directories(path_.substr(0, slash)));
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(env_, path_, text));
  changed_ = false;
  return ok_status();
}

uint64_t ImageCheckCache::hits() const {
  std::lock_guard lock(mutex_);
  return hits_;
}

Status check_image(std::string_view bytes, const std::string& name, ImageCheckCache* cache) {
  const auto span = std::as_bytes(std::span(bytes));
  if (cache == nullptr) return decode_image(span, name).status();
  const Hash128 hash = hash_bytes(span);
  if (const auto known = cache->find(hash, bytes.size())) return named(*known, name);
  const Status verdict = decode_image(span, kName).status();
  cache->add(hash, bytes.size(), verdict);
  return named(verdict, name);
}

}  // namespace tephra::data
