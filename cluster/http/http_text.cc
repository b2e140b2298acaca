#include "cluster/http/http_text.h"

#include <arpa/inet.h>

#include <charconv>

namespace tephra::cluster {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool percent_decode(std::string_view text, bool plus, std::string* out) {
  out->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus) c = ' ';
    if (c == '%') {
      if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) return false;
      c = static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    }
    if (c == '\0') return false;
    out->push_back(c);
  }
  return true;
}

bool split_target(const std::string& target, HttpRequest* request) {
  if (target.empty() || target[0] != '/') return false;
  const std::string_view whole = std::string_view(target).substr(0, target.find('#'));
  const size_t question = whole.find('?');
  request->raw_path = whole.substr(0, question);
  if (!percent_decode(request->raw_path, false, &request->path)) return false;
  if (question == std::string_view::npos) return true;
  std::string_view rest = whole.substr(question + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    std::string name, value;
    if (!percent_decode(pair.substr(0, equals), true, &name)) return false;
    if (equals != std::string_view::npos && !percent_decode(pair.substr(equals + 1), true, &value)) return false;
    if (!name.empty()) request->query[name] = value;
  }
  return true;
}

Result<Address> parse_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  if (colon != std::string::npos && colon > 0) {
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error == std::errc() && stop == end) return Address{text.substr(0, colon), port};
  }
  return Status(Code::kInvalidArgument,
                "'" + text + "' is no address; it looks like 127.0.0.1:7070 (port 0: a free one)");
}

bool is_loopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, address.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string bearer_token(const HttpRequest& request) {
  const auto given = request.headers.find("authorization");
  if (given == request.headers.end() || !lower_case(given->second.substr(0, 7)).starts_with("bearer ")) return "";
  return given->second.substr(7);
}

bool has_bearer_token(const HttpRequest& request, const std::string& token) {
  return equal_constant_time(bearer_token(request), token);
}

bool is_local_name(const HttpRequest& request) {
  const auto host = request.headers.find("host");
  if (host == request.headers.end()) return true;
  const std::string& whole = host->second;
  const std::string name = whole.substr(0, whole.rfind(':'));
  return name == "localhost" || name == "[::1]" || is_loopback(name) || is_loopback(whole);
}

bool equal_constant_time(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size() && !b.empty(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i % b.size()]);
  return difference == 0;
}

}  // namespace tephra::cluster
