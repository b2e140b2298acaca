#include "coordinator/judge_policy.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "cluster/http/http_client.h"
#include "cluster/http/http_server.h"

namespace tephra::coordinator {
namespace {

constexpr std::string_view kKeyMark = ",key_env=";

std::string without_end_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

bool is_variable_name(const std::string& text) {
  const auto may_be_in_one = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         std::all_of(text.begin(), text.end(), may_be_in_one);
}

// What is wrong with a judge, in which of its fields, and what may stand there instead.
struct Refusal {
  const char* field;
  std::string message, hint;
};

std::string joined_urls(const std::vector<JudgeEndpoint>& endpoints) {
  std::string out;
  for (const JudgeEndpoint& endpoint : endpoints) out += (out.empty() ? "" : ", ") + endpoint.url;
  return out;
}

std::optional<Refusal> refuse(const recipes::JudgeRecipe& judge, const JudgePolicy& policy) {
  if (policy.any) return std::nullopt;
  if (judge.endpoint == "local") {
    if (judge.key_env.empty()) return std::nullopt;
    return Refusal{"key_env", "a local judge needs no key", "leave key_env away"};
  }
  const std::string url = without_end_slash(judge.endpoint);
  const auto found = std::find_if(policy.endpoints.begin(), policy.endpoints.end(),
                                  [&](const JudgeEndpoint& endpoint) { return endpoint.url == url; });
  if (found == policy.endpoints.end())
    return Refusal{
        "endpoint", "this coordinator asks no judge at '" + judge.endpoint + "'",
        (policy.endpoints.empty() ? "use endpoint: local"
                                  : "use one of " + joined_urls(policy.endpoints) + ", or local") +
            std::string(", or have who runs it add the address: tephra serve --judge URL[,key_env=VARIABLE]")};
  if (judge.key_env.empty() || judge.key_env == found->key_env) return std::nullopt;
  return Refusal{"key_env", "variable '" + judge.key_env + "' does not belong to the judge at " + found->url,
                 found->key_env.empty() ? "leave key_env away: it is sent no key" : "write key_env: " + found->key_env};
}

}  // namespace

Result<JudgeEndpoint> parse_judge_endpoint(const std::string& text) {
  const size_t mark = text.rfind(kKeyMark);
  JudgeEndpoint out;
  out.url = without_end_slash(text.substr(0, mark));
  TEPHRA_ASSIGN_OR_RETURN(const cluster::HttpUrl url, cluster::parse_http_url(out.url));
  if (mark == std::string::npos) return out;
  out.key_env = text.substr(mark + kKeyMark.size());
  if (!is_variable_name(out.key_env))
    return Status(Code::kInvalidArgument,
                  "'" + out.key_env + "' is no name of an environment variable; write " + out.url + ",key_env=NAME");
  if (!url.tls && url.host != "localhost" && !cluster::is_loopback(url.host))
    return Status(Code::kInvalidArgument,
                  out.url + ": the key would go over the network unencrypted; use https, or no key_env");
  return out;
}

Status check_judge(const recipes::JudgeRecipe& judge, const JudgePolicy& policy) {
  const auto refusal = refuse(judge, policy);
  return refusal ? Status(Code::kPermission, refusal->message + "; " + refusal->hint) : ok_status();
}

std::vector<Diagnostic> check_judges(const recipes::Recipe& recipe, const JudgePolicy& policy) {
  std::vector<Diagnostic> found;
  for (const recipes::BenchRecipe& bench : recipe.benches) {
    if (!bench.judge) continue;
    if (const auto refusal = refuse(*bench.judge, policy))
      found.push_back({.file = "recipe",
                       .field = "benches." + bench.name + ".judge." + refusal->field,
                       .message = refusal->message,
                       .hint = refusal->hint});
  }
  return found;
}

}  // namespace tephra::coordinator
