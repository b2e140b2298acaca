// OpenAI's chat completions, the part of that API that a served model answers, as pure functions: request bodies to
// conversations, replies to response bodies. https://platform.openai.com/docs/api-reference/chat describes the layout.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "worker/chat_model.h"

namespace tephra::worker {

struct CompletionRequest {
  ChatRequest chat;
  bool stream = false;
  bool include_usage = false;  // a last chunk with token counts
};

// From a request's body. Messages of role system (or developer) are put before the first user message, since LLaVA's
// templates bring a system text of their own; user messages may hold parts of type text and image_url, the latter as
// data URL of a PNG or JPEG. temperature is 1 when absent, as in the API; max_tokens is `default_tokens`.
// kInvalidArgument names the field: not JSON, a field of another type, roles that do not alternate, an image that is no
// data URL or does not decode, n other than 1, tools.
Result<CompletionRequest> parse_completion(std::string_view body, int64_t default_tokens);

// What all bodies of one reply have in common.
struct CompletionIdentity {
  std::string id, model;
  int64_t created = 0;  // seconds since 1970
};

nlohmann::ordered_json completion_json(const CompletionIdentity& identity, const ChatReply& reply);
// Chunks of a stream: the first one names the role, then come pieces of text, then one with the reason of the end.
nlohmann::ordered_json first_chunk(const CompletionIdentity& identity);
nlohmann::ordered_json text_chunk(const CompletionIdentity& identity, std::string_view piece);
nlohmann::ordered_json last_chunk(const CompletionIdentity& identity, const ChatReply& reply);
nlohmann::ordered_json usage_chunk(const CompletionIdentity& identity, const ChatReply& reply);

nlohmann::ordered_json error_json(std::string_view type, const std::string& message);
// "data: {...}\n\n"
std::string server_sent(const nlohmann::ordered_json& document);
std::string dump(const nlohmann::ordered_json& document);  // invalid UTF-8 replaced

// The bytes of "data:image/png;base64,...."; `where` names the field in the message.
Result<std::string> decode_data_url(std::string_view url, const std::string& where);

}  // namespace tephra::worker
