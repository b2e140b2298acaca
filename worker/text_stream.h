// A reply that grows, cut into pieces that can be shown: never half a character, nor what may be the start of a stop
// text. Threading: one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tephra::worker {

class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // `text`: all of the reply so far. Returns what is new and safe to show; the view holds until the next call.
  std::string_view update(std::string text);
  // What update() held back, once no more text comes.
  std::string_view finish();

  bool stopped() const { return stopped_; }          // a stop text came: it and what is behind it were cut off
  const std::string& text() const { return text_; }  // of the last update, without the stop text

 private:
  std::vector<std::string> stops_;
  std::string text_;
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace tephra::worker
