#include "cluster/chat/chat.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace tephra::cluster {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kErrorBytes = 200;
constexpr int64_t kTokensPerMessage = 8;  // role and separators; four in OpenAI's own count
constexpr int64_t kBytesPerToken = 4;     // of English; where an endpoint tells no counts

std::string text_or(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

int64_t count_or(const Json& json, const char* name, int64_t otherwise) {
  const auto it = json.find(name);
  return it != json.end() && it->is_number_integer() ? std::max<int64_t>(0, it->get<int64_t>()) : otherwise;
}

// What the documents of one reply have in common: the whole reply is one, a stream is many.
class ReplyReader {
 public:
  explicit ReplyReader(const std::string& raw) { reply_.raw = raw; }

  // `part`: "message" of a whole reply, "delta" of a stream's.
  Status take(const Json& json, const char* part) {
    if (!json.is_object()) return {Code::kCorruption, "the reply is no JSON object"};
    if (const auto error = json.find("error"); error != json.end() && !error->is_null())
      return {Code::kUnavailable, "the endpoint says: " + chat_error_text(json.dump())};
    if (reply_.model.empty()) reply_.model = text_or(json, "model");
    if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
      reply_.prompt_tokens = count_or(*usage, "prompt_tokens", 0);
      reply_.reply_tokens = count_or(*usage, "completion_tokens", 0);
      reply_.usage_known = true;
    }
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty()) return ok_status();
    const Json& choice = (*choices)[0];
    const auto message = choice.is_object() ? choice.find(part) : choice.end();
    if (message == choice.end() || !message->is_object())
      return {Code::kCorruption, std::string("the reply has no choices[0].") + part};
    seen_ = true;
    reply_.text += text_or(*message, "content");
    reply_.text += text_or(*message, "refusal");
    if (const std::string reason = text_or(choice, "finish_reason"); !reason.empty()) reply_.finish_reason = reason;
    return ok_status();
  }

  Result<ChatReply> finish() {
    if (!seen_) return Status(Code::kCorruption, "the reply has no choices");
    if (!reply_.usage_known) reply_.reply_tokens = static_cast<int64_t>(reply_.text.size()) / kBytesPerToken + 1;
    return std::move(reply_);
  }
  bool finished() const { return !reply_.finish_reason.empty(); }

 private:
  ChatReply reply_;
  bool seen_ = false;
};

// Calls `on_data` with the data of each whole event (WHATWG's event streams: lines end with \n or \r\n, an event with an
// empty line, data lines of one event are joined). Other fields and comments are passed over.
template <typename OnData>
Status each_event(std::string_view text, const OnData& on_data) {
  std::string data;
  bool any = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      if (any) TEPHRA_RETURN_IF_ERROR(on_data(data));
      data.clear();
      any = false;
    } else if (line.starts_with("data:")) {
      line.remove_prefix(5);
      if (line.starts_with(' ')) line.remove_prefix(1);
      if (any) data += '\n';
      data += line;
      any = true;
    }
  }
  return any ? on_data(data) : ok_status();
}

Result<ChatReply> parse_stream(const std::string& body) {
  ReplyReader reader(body);
  bool done = false;
  TEPHRA_RETURN_IF_ERROR(each_event(body, [&](const std::string& data) -> Status {
    if (done) return ok_status();
    if (data == "[DONE]") {
      done = true;
      return ok_status();
    }
    const Json json = Json::parse(data, nullptr, false);
    if (json.is_discarded())
      return {Code::kPeerLost, "the stream has an event that is no JSON: it was cut off or is broken"};
    return reader.take(json, "delta");
  }));
  if (!done && !reader.finished()) return Status(Code::kPeerLost, "the stream ended before the reply did");
  return reader.finish();
}

}  // namespace

Result<std::string> chat_body(const ChatRequest& request, const std::string& model, bool stream,
                              const std::string& extra) {
  Json body{{"model", model}, {"messages", Json::array()}, {"temperature", request.temperature}};
  for (const ChatMessage& message : request.messages)
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  body["max_tokens"] = request.tokens_max;
  if (request.seed) body["seed"] = *request.seed;
  if (stream) {
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
  }
  if (!extra.empty()) {
    const Json more = Json::parse(extra, nullptr, false);
    if (!more.is_object())
      return Status(Code::kInvalidArgument, "the request's extra fields are no JSON object: " + extra);
    body.merge_patch(more);
  }
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<ChatReply> parse_chat_reply(const std::string& body) {
  const size_t begin = body.find_first_not_of(" \r\n\t");
  if (begin == std::string::npos) return Status(Code::kCorruption, "the reply is empty");
  if (body[begin] != '{') {
    for (const char* start : {"data:", ":", "event:", "id:", "retry:"})
      if (body.compare(begin, std::string_view(start).size(), start) == 0) return parse_stream(body);
    return Status(Code::kCorruption, "the reply is neither JSON nor a stream of events: " + chat_error_text(body));
  }
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) return Status(Code::kCorruption, "the reply is no JSON: " + chat_error_text(body));
  ReplyReader reader(body);
  TEPHRA_RETURN_IF_ERROR(reader.take(json, "message"));
  return reader.finish();
}

std::string chat_error_text(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_object()) {
    const auto error = json.find("error");
    if (error != json.end() && error->is_object()) {
      if (const std::string message = text_or(*error, "message"); !message.empty()) return message;
    }
    for (const char* name : {"error", "message", "detail"})
      if (const std::string message = text_or(json, name); !message.empty()) return message;
  }
  std::string start = body.substr(0, kErrorBytes);
  for (char& c : start)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return body.size() > kErrorBytes ? start + "..." : start;
}

int64_t prompt_tokens_max(const ChatRequest& request) {
  int64_t tokens = kTokensPerMessage;
  for (const ChatMessage& message : request.messages)
    tokens += static_cast<int64_t>(message.content.size()) + kTokensPerMessage;
  return tokens;
}

}  // namespace tephra::cluster
