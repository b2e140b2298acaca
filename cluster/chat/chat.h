// One request to an OpenAI-compatible chat endpoint and its reply, as JSON (OpenAI's "Create chat completion", as vLLM,
// llama.cpp, Ollama and others answer it too). Pure: what goes over the wire is in chat_client.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::cluster {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

struct ChatRequest {
  std::vector<ChatMessage> messages;
  double temperature = 0;
  int tokens_max = 1024;          // of the reply
  std::optional<int64_t> seed{};  // sent when there is one; endpoints need not honour it
};

struct ChatReply {
  std::string text;
  std::string finish_reason;  // "stop", "length", ...; empty: not said
  std::string model;          // what answered, as the endpoint calls it
  int64_t prompt_tokens = 0;
  int64_t reply_tokens = 0;
  bool usage_known = false;  // false: the endpoint told no token counts, and those above are a guess from the bytes
  std::string raw;           // the answer's body as it came
};

// `extra`: fields of a JSON object that replace or, when null, remove those of the body; empty: none. For endpoints that want
// "max_completion_tokens", take no temperature and the like. kInvalidArgument: it is no JSON object.
Result<std::string> chat_body(const ChatRequest& request, const std::string& model, bool stream,
                              const std::string& extra = "");

// Of the body of a 2xx answer: one JSON document, or server-sent events that end with [DONE] or a finish reason.
// kPeerLost: the stream was cut off; kCorruption: neither; kUnavailable: the endpoint put an error into the body.
Result<ChatReply> parse_chat_reply(const std::string& body);

// The sentence in an error's body: {"error": {"message"}}, {"error": "..."}, {"message"}, {"detail"}; else its first 200 bytes.
std::string chat_error_text(const std::string& body);

// At most this many tokens: a byte-level vocabulary has no token of less than a byte.
int64_t prompt_tokens_max(const ChatRequest& request);

}  // namespace tephra::cluster
