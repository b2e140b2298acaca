#include "worker/completion_api.h"

#include <array>
#include <span>

#include "data/image.h"

namespace tephra::worker {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

Status invalid(const std::string& field, const std::string& what) {
  return {Code::kInvalidArgument, field + " " + what};
}

// Leaves `out` as it is when the field is absent or null.
template <typename T>
Status read(const Json& body, const char* field, const char* wanted, T* out) {
  if (!body.contains(field) || body[field].is_null()) return ok_status();
  const Json& value = body[field];
  bool fits = false;
  if constexpr (std::is_same_v<T, bool>)
    fits = value.is_boolean();
  else if constexpr (std::is_floating_point_v<T>)
    fits = value.is_number();
  else if constexpr (std::is_unsigned_v<T>)
    fits = value.is_number_unsigned();
  else
    fits = value.is_number_integer();
  if (!fits) return invalid(field, "is " + value.dump().substr(0, 60) + ", not " + wanted);
  *out = value.get<T>();
  return ok_status();
}

Status read_stop(const Json& body, std::vector<std::string>* out) {
  if (!body.contains("stop") || body["stop"].is_null()) return ok_status();
  const Json list = body["stop"].is_array() ? body["stop"] : Json::array({body["stop"]});
  for (const Json& text : list) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty())
      return invalid("stop", "is not a text or a list of texts");
    out->push_back(text.get<std::string>());
  }
  return ok_status();
}

// One part of a message's content: appends to its text, and to the pictures.
Status add_part(const Json& part, const std::string& where, std::string* text, std::vector<data::Image>* images) {
  const std::string type = part.is_object() ? part.value("type", "") : "";
  if (type == "text" && part.contains("text") && part["text"].is_string()) {
    *text += part["text"].get<std::string>();
    return ok_status();
  }
  if (type != "image_url" || !part.contains("image_url"))
    return invalid(where,
                   "is not {\"type\": \"text\", \"text\": ...} or {\"type\": \"image_url\", \"image_url\": "
                   "{\"url\": \"data:image/png;base64,...\"}}");
  const Json& image = part["image_url"];
  const std::string url = image.is_string() ? image.get<std::string>()
                          : image.is_object() && image.contains("url") && image["url"].is_string()
                              ? image["url"].get<std::string>()
                              : "";
  TEPHRA_ASSIGN_OR_RETURN(const std::string bytes, decode_data_url(url, where + ".image_url.url"));
  auto decoded = data::decode_image(std::as_bytes(std::span(bytes)), where);
  if (!decoded.ok()) return {Code::kInvalidArgument, decoded.status().message()};
  images->push_back(std::move(*decoded));
  *text += "<image>\n";
  return ok_status();
}

Status read_content(const Json& message, const std::string& where, std::string* text,
                    std::vector<data::Image>* images) {
  const Json content = message.contains("content") ? message["content"] : Json();
  if (content.is_string()) {
    *text = content.get<std::string>();
    return ok_status();
  }
  if (!content.is_array()) return invalid(where + ".content", "is neither a text nor a list of parts");
  for (size_t i = 0; i < content.size(); ++i)
    TEPHRA_RETURN_IF_ERROR(add_part(content[i], where + ".content[" + std::to_string(i) + "]", text, images));
  return ok_status();
}

Status read_messages(const Json& body, ChatRequest* chat) {
  if (!body.contains("messages") || !body["messages"].is_array() || body["messages"].empty())
    return invalid("messages", "is missing, or not a list of messages");
  std::string system;
  for (size_t i = 0; i < body["messages"].size(); ++i) {
    const Json& message = body["messages"][i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      return invalid(where, "has no role");
    const std::string role = message["role"];
    std::string text;
    TEPHRA_RETURN_IF_ERROR(read_content(message, where, &text, &chat->images));
    if (role == "system" || role == "developer") {
      if (!chat->turns.empty()) return invalid(where, "of role " + role + " comes after others; it has to be first");
      system += text + "\n\n";
    } else if (role == "user" || role == "assistant") {
      const bool user = role == "user";
      if (user != (chat->turns.size() % 2 == 0))
        return invalid(where, "is of role " + role + "; user and assistant take turns here, user first");
      chat->turns.push_back({user ? "human" : "gpt", std::exchange(system, "") + text});
    } else {
      return invalid(where, "is of role '" + role + "'; there are system, user and assistant here");
    }
  }
  if (chat->turns.size() % 2 == 0) return invalid("messages", "do not end with one of the user");
  return ok_status();
}

OrderedJson usage_of(const ChatReply& reply) {
  const auto made = static_cast<int64_t>(reply.ids.size());
  return {{"prompt_tokens", reply.prompt_tokens},
          {"completion_tokens", made},
          {"total_tokens", reply.prompt_tokens + made}};
}

const char* reason_of(const ChatReply& reply) { return reply.finish == ChatReply::Finish::kLength ? "length" : "stop"; }

OrderedJson chunk(const CompletionIdentity& identity, OrderedJson choices) {
  return {{"id", identity.id},
          {"object", "chat.completion.chunk"},
          {"created", identity.created},
          {"model", identity.model},
          {"choices", std::move(choices)}};
}

OrderedJson choice(OrderedJson delta, OrderedJson reason = nullptr) {
  return OrderedJson::array({{{"index", 0}, {"delta", std::move(delta)}, {"finish_reason", std::move(reason)}}});
}

// Values of base64's digits; 64: none.
std::array<uint8_t, 256> digit_values() {
  std::array<uint8_t, 256> values{};
  values.fill(64);
  const std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < digits.size(); ++i) values[static_cast<uint8_t>(digits[i])] = static_cast<uint8_t>(i);
  return values;
}

}  // namespace

Result<std::string> decode_data_url(std::string_view url, const std::string& where) {
  const size_t comma = url.find(',');
  if (!url.starts_with("data:") || comma == std::string_view::npos || !url.substr(0, comma).ends_with(";base64"))
    return invalid(where, "is not a data URL with base64 (data:image/png;base64,...); other addresses are not fetched");
  static const std::array<uint8_t, 256> values = digit_values();
  std::string_view digits = url.substr(comma + 1);
  while (digits.ends_with('=')) digits.remove_suffix(1);
  std::string bytes;
  bytes.reserve(digits.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (const char digit : digits) {
    const uint8_t value = values[static_cast<uint8_t>(digit)];
    if (value == 64) return invalid(where, "is not base64");
    bits = bits << 6 | value;
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return bytes;
}

Result<CompletionRequest> parse_completion(std::string_view text, int64_t default_tokens) {
  const Json body = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return invalid("the body", "is not a JSON object");
  CompletionRequest out;
  ChatRequest& chat = out.chat;
  chat.max_new_tokens = default_tokens;
  chat.sampling.temperature = 1;
  int64_t choices = 1;
  TEPHRA_RETURN_IF_ERROR(read(body, "n", "a whole number", &choices));
  if (choices != 1) return invalid("n", "is " + std::to_string(choices) + "; one reply is given here");
  for (const char* field : {"tools", "functions"})
    if (body.contains(field) && !body[field].is_null() && !body[field].empty())
      return invalid(field, "are not supported: the model calls no tools, it is one");
  TEPHRA_RETURN_IF_ERROR(read(body, "max_tokens", "a whole number", &chat.max_new_tokens));
  TEPHRA_RETURN_IF_ERROR(read(body, "max_completion_tokens", "a whole number", &chat.max_new_tokens));
  if (chat.max_new_tokens < 1) return invalid("max_tokens", "is less than 1");
  TEPHRA_RETURN_IF_ERROR(read(body, "temperature", "a number", &chat.sampling.temperature));
  TEPHRA_RETURN_IF_ERROR(read(body, "top_p", "a number", &chat.sampling.top_p));
  TEPHRA_RETURN_IF_ERROR(read(body, "top_k", "a whole number", &chat.sampling.top_k));
  TEPHRA_RETURN_IF_ERROR(read(body, "repetition_penalty", "a number", &chat.sampling.repetition_penalty));
  TEPHRA_RETURN_IF_ERROR(read(body, "seed", "a whole number from 0", &chat.sampling.seed));
  TEPHRA_RETURN_IF_ERROR(model::check_sampling(chat.sampling));
  TEPHRA_RETURN_IF_ERROR(read_stop(body, &chat.stop));
  TEPHRA_RETURN_IF_ERROR(read(body, "stream", "true or false", &out.stream));
  if (body.contains("stream_options") && body["stream_options"].is_object())
    TEPHRA_RETURN_IF_ERROR(read(body["stream_options"], "include_usage", "true or false", &out.include_usage));
  TEPHRA_RETURN_IF_ERROR(read_messages(body, &chat));
  return out;
}

OrderedJson completion_json(const CompletionIdentity& identity, const ChatReply& reply) {
  return {{"id", identity.id},
          {"object", "chat.completion"},
          {"created", identity.created},
          {"model", identity.model},
          {"choices", OrderedJson::array({{{"index", 0},
                                           {"message", {{"role", "assistant"}, {"content", reply.text}}},
                                           {"finish_reason", reason_of(reply)}}})},
          {"usage", usage_of(reply)}};
}

OrderedJson first_chunk(const CompletionIdentity& identity) {
  return chunk(identity, choice({{"role", "assistant"}, {"content", ""}}));
}

OrderedJson text_chunk(const CompletionIdentity& identity, std::string_view piece) {
  return chunk(identity, choice({{"content", piece}}));
}

OrderedJson last_chunk(const CompletionIdentity& identity, const ChatReply& reply) {
  return chunk(identity, choice(OrderedJson::object(), reason_of(reply)));
}

OrderedJson usage_chunk(const CompletionIdentity& identity, const ChatReply& reply) {
  OrderedJson out = chunk(identity, OrderedJson::array());
  out["usage"] = usage_of(reply);
  return out;
}

OrderedJson error_json(std::string_view type, const std::string& message) {
  return {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", nullptr}}}};
}

std::string dump(const OrderedJson& document) {
  return document.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string server_sent(const OrderedJson& document) { return "data: " + dump(document) + "\n\n"; }

}  // namespace tephra::worker
