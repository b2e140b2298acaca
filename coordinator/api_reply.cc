#include "coordinator/api_reply.h"

namespace tephra::coordinator {

using cluster::HttpResponse;
using nlohmann::json;

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

HttpResponse json_reply(const json& document, int status) {
  HttpResponse response;
  response.status = status;
  response.body = dump(document) + "\n";
  return response;
}

HttpResponse text_reply(const Result<std::string>& json_text) {
  if (!json_text.ok()) return error_reply(json_text.status());
  HttpResponse response;
  response.body = *json_text + "\n";
  return response;
}

HttpResponse error_reply(int status, std::string_view code, const std::string& message) {
  return json_reply({{"error", {{"code", code}, {"message", message}}}}, status);
}

HttpResponse error_reply(const Status& status) {
  int http = 500;
  switch (status.code()) {
    case Code::kNotFound: http = 404; break;
    case Code::kPermission: http = 403; break;
    case Code::kAlreadyExists:
    case Code::kUnavailable: http = 409; break;  // not as things stand: too few slots, no ranks that run
    case Code::kInvalidArgument:
    case Code::kUnsupported: http = 422; break;
    case Code::kCancelled:
    case Code::kNoSpace: http = 503; break;
    case Code::kBusy: http = 429; break;
    default: break;
  }
  return error_reply(http, code_name(status.code()), status.message());
}

HttpResponse error_reply(const std::vector<Diagnostic>& found) {
  json rows = json::array();
  for (const Diagnostic& d : found)
    rows.push_back(
        {{"line", d.line}, {"column", d.column}, {"field", d.field}, {"message", d.message}, {"hint", d.hint}});
  return json_reply({{"error", {{"code", "invalid_argument"}, {"message", to_string(found)}, {"diagnostics", rows}}}},
                    422);
}

}  // namespace tephra::coordinator
