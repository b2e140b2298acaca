// HTTP/1.1 requests, over TCP or TLS. Blocking; one request a connection; redirects are answers like any other.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "base/status.h"

namespace tephra::cluster {

struct HttpEndpoint {
  std::string url{};            // http[s]://HOST[:PORT][/PATH]
  std::string token{};          // bearer token; may be empty
  std::string tls_authority{};  // file of the certificates to trust, PEM; empty: the machine's
};

struct HttpAnswer {
  int status = 0;
  std::string body{};
  std::map<std::string, std::string> headers{};  // names in lower case; the last of several of one name
};

struct HttpCall {
  std::string method = "GET";
  std::string target{};  // put behind the url's path: "/api/v1/jobs"; may be empty
  std::string body{};    // JSON, if any
  std::map<std::string, std::string> headers{};
  // For connecting, and between any two pieces of what comes; 0: any time.
  std::chrono::milliseconds timeout{0};
  // Asked ten times a second while the call waits for the other side (not for a name's address): true ends it.
  std::function<bool()> cancelled{};
};

// kUnavailable: nobody answers there; kInvalidArgument: not such a url, or a file of certificates that is none; kPermission:
// the server's certificate is not vouched for, or of another name; kPeerLost: the connection ended; kTimeout: call.timeout
// passed; kCancelled: as call.cancelled said. An HTTP error is an answer, not a failure.
Result<HttpAnswer> http_call(const HttpEndpoint& endpoint, const HttpCall& call);
// Calls `on_bytes` with the body as it comes, until it ends or on_bytes returns false. The answer without its body.
Result<HttpAnswer> http_call_stream(const HttpEndpoint& endpoint, const HttpCall& call,
                                    const std::function<bool(const std::string&)>& on_bytes);

struct HttpUrl {
  bool tls = false;
  std::string host;  // a numeric IPv6 address without its brackets
  std::string port;
  std::string path;  // empty, or from its '/'
};
Result<HttpUrl> parse_http_url(const std::string& url);  // kInvalidArgument

}  // namespace tephra::cluster
