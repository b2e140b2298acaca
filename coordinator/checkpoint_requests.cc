#include "coordinator/checkpoint_requests.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "coordinator/checkpoint_care.h"
#include "recipes/quantity.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

Status invalid(const std::string& message) { return {Code::kInvalidArgument, message}; }

// A request's fields; the first that is wrong is remembered.
class Fields {
 public:
  explicit Fields(const json& request) : request_(request) {}

  std::string text(const char* key, bool required = true) {
    if (!has(key, required)) return "";
    if (!request_[key].is_string() || (required && request_[key].get<std::string>().empty()))
      return wrong(key, "a text"), "";
    return request_[key].get<std::string>();
  }
  bool flag(const char* key) {
    if (!has(key, false)) return false;
    if (!request_[key].is_boolean()) return wrong(key, "true or false"), false;
    return request_[key].get<bool>();
  }
  int64_t number(const char* key) {
    if (!has(key, false)) return 0;
    if (!request_[key].is_number_integer() || request_[key].get<int64_t>() < 0)
      return wrong(key, "a whole number, at least 0"), 0;
    return request_[key].get<int64_t>();
  }
  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> out;
    if (!has(key, true)) return out;
    if (!request_[key].is_array() || request_[key].empty()) return wrong(key, "a list of names"), out;
    for (const json& item : request_[key]) {
      if (!item.is_string()) return wrong(key, "a list of names"), out;
      out.push_back(item.get<std::string>());
    }
    return out;
  }
  const Status& status() const { return status_; }

 private:
  bool has(const char* key, bool required) {
    if (request_.contains(key)) return true;
    if (required) wrong(key, "given");
    return false;
  }
  void wrong(const char* key, const char* expected) {
    if (status_.ok()) status_ = invalid(std::string("the request's ") + key + " has to be " + expected);
  }

  const json& request_;
  Status status_;
};

Result<json> tag(storage::Store& store, Fields& fields) {
  const std::string name = fields.text("name"), tag = fields.text("tag");
  const bool force = fields.flag("force");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  TEPHRA_ASSIGN_OR_RETURN(const std::string full, store.resolve(name));
  TEPHRA_ASSIGN_OR_RETURN(const auto before, store.tags());
  TEPHRA_RETURN_IF_ERROR(store.tag(tag, full, force));
  const auto old = before.find(tag);
  return json{
      {"name", full}, {"tag", tag}, {"moved_from", old == before.end() || old->second == full ? "" : old->second}};
}

Result<json> untag(storage::Store& store, Fields& fields) {
  const std::string tag = fields.text("tag");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  TEPHRA_RETURN_IF_ERROR(store.untag(tag));
  return json{{"tag", tag}};
}

Result<json> pin(storage::Store& store, Fields& fields, bool on) {
  const std::string name = fields.text("name");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  TEPHRA_ASSIGN_OR_RETURN(const std::string full, store.resolve(name));
  TEPHRA_RETURN_IF_ERROR(on ? store.pin(full) : store.unpin(full));
  return json{{"name", full}};
}

// A tag, pin, lease or unfinished job refuses; what a finished job's report tells of may be removed by its name.
Status check_removable(storage::Store& store, const std::set<std::string>& names) {
  TEPHRA_ASSIGN_OR_RETURN(auto held, held_checkpoints(store));
  TEPHRA_ASSIGN_OR_RETURN(const auto with_reports, needed_by_jobs(store, true));
  TEPHRA_ASSIGN_OR_RETURN(const auto unfinished, needed_by_jobs(store, false));
  std::string refused;
  for (const std::string& name : names) {
    const auto found = held.find(name);
    const auto report = with_reports.find(name);
    const bool only_report = found != held.end() && report != with_reports.end() && found->second == report->second &&
                             !unfinished.contains(name);
    if (found != held.end() && !only_report) refused += (refused.empty() ? "" : "; ") + name + ": " + found->second;
  }
  return refused.empty() ? ok_status() : invalid("nothing was removed; " + refused);
}

Result<json> remove(storage::Store& store, Fields& fields) {
  const std::vector<std::string> names = fields.texts("names");
  const bool dry_run = fields.flag("dry_run");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  std::set<std::string> full_names;
  for (const std::string& name : names) {
    TEPHRA_ASSIGN_OR_RETURN(std::string full, store.resolve(name));
    full_names.insert(std::move(full));
  }
  TEPHRA_RETURN_IF_ERROR(check_removable(store, full_names));
  json removed = json::array();
  for (const std::string& name : full_names) {
    TEPHRA_ASSIGN_OR_RETURN(const storage::Manifest manifest, store.get(name));
    removed.push_back({{"name", name}, {"bytes", manifest.new_bytes}});
  }
  if (!dry_run)
    for (const std::string& name : full_names) TEPHRA_RETURN_IF_ERROR(store.remove(name));
  return json{{"removed", removed}, {"dry_run", dry_run}};
}

Result<storage::RetentionPolicy> policy_of(Fields fields) {
  storage::RetentionPolicy policy;
  policy.last = fields.number("last");
  policy.best = fields.number("best");
  policy.every_steps = fields.number("every");
  const std::string metric = fields.text("metric", false), mode = fields.text("mode", false);
  const std::string age = fields.text("max_age", false), bytes = fields.text("max_bytes", false);
  TEPHRA_RETURN_IF_ERROR(fields.status());
  if (!metric.empty()) policy.metric = metric;
  if (!mode.empty() && mode != "min" && mode != "max") return invalid("mode " + mode + ": there are min and max");
  policy.largest_is_best = mode == "max";
  if (!age.empty()) {
    const auto ms = recipes::parse_duration_ms(age);
    if (!ms) return invalid("'" + age + "' is not a time; for example 12h or 7d");
    policy.max_age_ms = *ms;
  }
  if (!bytes.empty()) {
    const auto size = recipes::parse_bytes(bytes);
    if (!size) return invalid("'" + bytes + "' is not a size; for example 500MB, 50GB or 2GiB");
    policy.max_bytes = *size;
  }
  if (policy.empty()) return invalid("no rule is given; say what to keep, for example --keep-last 3");
  return policy;
}

Result<json> prune_all(storage::Store& store, const json& request, Fields& fields, int64_t now_unix_ms) {
  const std::string job = fields.text("job", false);
  const bool dry_run = fields.flag("dry_run");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  if (!request.contains("policy") || !request["policy"].is_object())
    return invalid("the request's policy has to be given");
  TEPHRA_ASSIGN_OR_RETURN(const storage::RetentionPolicy policy, policy_of(Fields(request["policy"])));
  TEPHRA_ASSIGN_OR_RETURN(const auto checkpoints, store.list(job));
  if (checkpoints.empty() && !job.empty()) return Status(Code::kNotFound, "job '" + job + "' has no checkpoints");
  TEPHRA_ASSIGN_OR_RETURN(const PruneReport report, prune(store, checkpoints, policy, now_unix_ms, dry_run));
  json rows = json::array();
  for (const storage::RetentionVerdict& v : report.verdicts)
    rows.push_back({{"name", v.name}, {"keep", v.keep}, {"reason", v.reason}, {"bytes", v.bytes}});
  return json{{"checkpoints", rows},
              {"removed", report.removed},
              {"removed_bytes", report.removed_bytes},
              {"dry_run", dry_run}};
}

Result<json> collect(storage::Store& store, Fields& fields) {
  const bool dry_run = fields.flag("dry_run");
  TEPHRA_RETURN_IF_ERROR(fields.status());
  TEPHRA_ASSIGN_OR_RETURN(const storage::GcReport report, store.gc(dry_run));
  return json{{"packs", report.packs},
              {"rewritten", report.rewritten},
              {"bytes", report.bytes},
              {"by_pack", report.by_pack},
              {"kept_for_writers", report.kept_for_writers},
              {"dry_run", dry_run}};
}

}  // namespace

Result<std::string> change_checkpoints(storage::Store& store, const std::string& verb, const std::string& request_json,
                                       int64_t now_unix_ms) {
  const json request = request_json.empty() ? json::object() : json::parse(request_json, nullptr, false);
  if (!request.is_object()) return invalid("the request is not a JSON object");
  Fields fields(request);
  const auto carry_out = [&]() -> Result<json> {
    if (verb == "tag") return tag(store, fields);
    if (verb == "untag") return untag(store, fields);
    if (verb == "pin" || verb == "unpin") return pin(store, fields, verb == "pin");
    if (verb == "rm") return remove(store, fields);
    if (verb == "prune") return prune_all(store, request, fields, now_unix_ms);
    if (verb == "gc") return collect(store, fields);
    return Status(Code::kNotFound,
                  "there is no request '" + verb + "'; there are tag, untag, pin, unpin, rm, prune, gc");
  };
  TEPHRA_ASSIGN_OR_RETURN(const json reply, carry_out());
  return reply.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tephra::coordinator
