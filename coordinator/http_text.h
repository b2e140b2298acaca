// The parts of HTTP that are plain text work. Pure.
#pragma once

#include <string>
#include <string_view>

#include "coordinator/http_server.h"

namespace tephra::coordinator {

std::string lower_case(std::string text);  // ASCII
// "%2F" to "/", and with `plus` "+" to " ". False for a broken escape or a NUL.
bool percent_decode(std::string_view text, bool plus, std::string* out);
// Fills path and query of "/a%20b?x=1&y". False when it does not begin with '/' or holds a broken escape.
bool split_target(const std::string& target, HttpRequest* request);
// Text between tags or in an attribute of HTML.
std::string html_escape(std::string_view text);

}  // namespace tephra::coordinator
