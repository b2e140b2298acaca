// The parts of HTTP that are plain text work. Pure.
#pragma once

#include <string>
#include <string_view>

#include "cluster/http/http_server.h"

namespace tephra::cluster {

std::string lower_case(std::string text);  // ASCII
// "%2F" to "/", and with `plus` "+" to " ". False for a broken escape or a NUL.
bool percent_decode(std::string_view text, bool plus, std::string* out);
// Fills path and query of "/a%20b?x=1&y". False when it does not begin with '/' or holds a broken escape.
bool split_target(const std::string& target, HttpRequest* request);
// HOST and PORT of "127.0.0.1:7070"; port 0 asks for a free one. kInvalidArgument for anything else.
struct Address {
  std::string host;
  uint16_t port = 0;
};
Result<Address> parse_address(const std::string& text);

std::string bearer_token(const HttpRequest& request);  // of "Authorization: Bearer TOKEN"; empty: there is none
// Whether the request has "Authorization: Bearer TOKEN" with this token. Takes a time that depends on lengths only.
bool has_bearer_token(const HttpRequest& request, const std::string& token);
// Whether its Host header names this machine's loopback. Without a token the only guard of a server is that address, which
// a web page could reach under a name that it controls.
bool is_local_name(const HttpRequest& request);

}  // namespace tephra::cluster
