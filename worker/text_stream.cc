#include "worker/text_stream.h"

#include <algorithm>

#include "data/utf8.h"

namespace tephra::worker {
namespace {

// Bytes at the end of `text` that may be the start of `stop`.
size_t begun(std::string_view text, std::string_view stop) {
  for (size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size)
    if (text.ends_with(stop.substr(0, size))) return size;
  return 0;
}

// Replacement characters at the end: bytes of a character that is not whole yet are decoded as such.
size_t broken(std::string_view text) {
  size_t size = 0;
  while (text.substr(0, text.size() - size).ends_with(data::kReplacement)) size += data::kReplacement.size();
  return size;
}

}  // namespace

std::string_view TextStream::update(std::string text) {
  if (stopped_) return {};
  text_ = std::move(text);
  size_t end = std::string::npos;
  for (const std::string& stop : stops_)
    if (!stop.empty()) end = std::min(end, text_.find(stop));
  size_t held = 0;
  if (end != std::string::npos) {
    stopped_ = true;
    text_.resize(end);
  } else {
    held = broken(text_);
    for (const std::string& stop : stops_)
      if (!stop.empty()) held = std::max(held, begun(text_, stop));
  }
  const size_t from = std::min(shown_, text_.size());
  shown_ = std::max(from, text_.size() - held);
  return std::string_view(text_).substr(from, shown_ - from);
}

std::string_view TextStream::finish() {
  const size_t from = std::min(shown_, text_.size());
  shown_ = text_.size();
  return std::string_view(text_).substr(from);
}

}  // namespace tephra::worker
