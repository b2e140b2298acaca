// The page for browsers and its parts. Everything that it shows comes from the interface; these rows are files alone.
#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/crypto.h"
#include "coordinator/web_files.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;

// Nothing inline and nothing from elsewhere; text from jobs can become neither markup nor script. Frames: reports.
constexpr const char* kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types "
    "'none'";

HttpResponse serve(const ApiRequest& request, const std::string& name) {
  const WebFile* file = find_web_file(name);
  if (file == nullptr) return error_reply(404, "not_found", "the page has no part '" + name + "'");
  HttpResponse response;
  response.content_type = std::string(web_content_type(name));
  response.headers["Content-Security-Policy"] = kPagePolicy;
  response.headers["Cross-Origin-Opener-Policy"] = "same-origin";
  // Kept by browsers, and asked for again each time: after an update of the program no part is of the version before.
  const std::string tag = "\"" + sha256_hex(std::string(file->body)).substr(0, 32) + "\"";
  response.headers["Cache-Control"] = "no-cache";
  response.headers["ETag"] = tag;
  if (request.header("if-none-match") == tag)
    response.status = 304;
  else
    response.body = std::string(file->body);
  return response;
}

}  // namespace

std::vector<ApiRoute> page_routes(const ApiContext&) {
  return {
      {.method = "GET",
       .path = "/",
       .id = "page",
       .about = "The page for browsers",
       .role = Role::kNone,
       .content_type = "text/html; charset=utf-8",
       .handle = [](const ApiRequest& request) { return serve(request, "index.html"); }},
      {.method = "GET",
       .path = "/web/{file}",
       .id = "pagePart",
       .about = "A script, style sheet or icon of the page",
       .role = Role::kNone,
       .parameters = {path_parameter("file", "its name")},
       .content_type = "text/*",
       .handle = [](const ApiRequest& request) { return serve(request, request.path.at("file")); }},
  };
}

}  // namespace tephra::coordinator
