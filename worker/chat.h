// `tephra chat`: a conversation with a model in the terminal.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "worker/chat_model.h"

namespace tephra::worker {

struct ChatOptions {
  InferenceModel model;
  std::vector<std::string> images;  // files, shown with the first question
  int64_t max_new_tokens = 512;
  model::Sampling sampling;
  bool json = false;    // a reply is written when it is whole, as a line {"text", "token_ids", "finish"}
  bool prompts = true;  // "> " before a question; off when questions come from a pipe
};

// Reads questions from `in`, one a line, and writes each reply to `out` as it grows; commands and errors go to `err`.
//   /image FILE  shows one more picture with the next question     /reset  forgets the conversation
//   /help        lists these                                       /quit   ends, as the end of `in` does
// SIGINT ends the reply that is being written, and with none the chat. The signal is handled while this runs. A question that
// fails (a picture that does not decode, a context that is full) is reported, and the conversation stays as it was.
Status chat(const ChatOptions& options, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace tephra::worker
