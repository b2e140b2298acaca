// Answers of the HTTP interface. Every error has one form: {"error": {"code", "message"}}, with "diagnostics" where several
// things are wrong with what was sent.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostic.h"
#include "base/status.h"
#include "cluster/http/http_server.h"

namespace tephra::coordinator {

// Text from outside need not be UTF-8; what is not is replaced.
std::string dump(const nlohmann::json& document);

cluster::HttpResponse json_reply(const nlohmann::json& document, int status = 200);
cluster::HttpResponse text_reply(const Result<std::string>& json_text);  // a document that is text already
cluster::HttpResponse error_reply(int status, std::string_view code, const std::string& message);
cluster::HttpResponse error_reply(const Status& status);
cluster::HttpResponse error_reply(const std::vector<Diagnostic>& found);

}  // namespace tephra::coordinator
