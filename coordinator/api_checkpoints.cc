// The store's checkpoints.
#include <algorithm>

#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/checkpoint_requests.h"
#include "coordinator/checkpoint_verifier.h"
#include "coordinator/json_depth.h"
#include "coordinator/paging.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using nlohmann::json;

json verification_json(const Verification& verification) {
  return {{"state", verification_name(verification.state)},
          {"unix_ms", verification.unix_ms},
          {"bytes_read", verification.bytes_read},
          {"problems", verification.problems}};
}

json manifest_json(const storage::CheckpointInfo& info) {
  const storage::Manifest& header = info.header;
  return {{"name", info.name},
          {"job", header.job},
          {"stage", header.stage},
          {"step", header.step},
          {"attempt", header.attempt},
          {"parent", header.parent},
          {"created_unix_ms", header.created_unix_ms},
          {"stage_complete", header.stage_complete},
          {"content_hash", header.content_hash.hex()},
          {"logical_bytes", header.logical_bytes},
          {"new_bytes", header.new_bytes},
          {"metrics", header.metrics},
          {"handover", header.handover},
          {"tags", info.tags},
          {"pinned", info.pinned}};
}

HttpResponse list(const ApiContext& context, const ApiRequest& request) {
  Coordinator& coordinator = context.coordinator;
  const Result<std::vector<storage::CheckpointInfo>> found = coordinator.store().list(request.text("job"));
  if (!found.ok()) return error_reply(found.status());
  const std::string stage = request.text("stage"), tag = request.text("tag"), after = request.text("cursor");
  const auto limit = static_cast<size_t>(request.number("limit", kPageDefault));
  const std::map<std::string, Verification> verified = context.verifier->all();
  json rows = json::array(), next = nullptr;
  // The order is the store's (job, stage, step), which is not that of the names: the cursor is the last name given.
  auto at = found->begin();
  if (!after.empty()) {
    at = std::find_if(at, found->end(), [&](const storage::CheckpointInfo& info) { return info.name == after; });
    if (at == found->end())
      return error_reply(422, "invalid_argument",
                         "cursor '" + after + "' is no checkpoint of this list any more; read it from the start");
    ++at;
  }
  for (; at != found->end(); ++at) {
    if (!stage.empty() && at->header.stage != stage) continue;
    if (!tag.empty() && std::find(at->tags.begin(), at->tags.end(), tag) == at->tags.end()) continue;
    if (rows.size() == limit) {
      next = rows.back()["name"];
      break;
    }
    rows.push_back(manifest_json(*at));
    const auto verification = verified.find(at->name);
    rows.back()["verified"] = verification == verified.end() ? json(nullptr) : verification_json(verification->second);
  }
  return json_reply({{"checkpoints", rows}, {"next", next}});
}

HttpResponse verify(const ApiContext& context, const ApiRequest& request) {
  const json body =
      json_depth(request.http.body) > kJsonDepthMax ? json() : json::parse(request.http.body, nullptr, false);
  if (!body.is_object() || !body.contains("name") || !body["name"].is_string())
    return error_reply(422, "invalid_argument", "name: give the checkpoint that is to be verified");
  const Result<std::string> name = context.verifier->verify(body["name"].get<std::string>());
  return name.ok() ? json_reply({{"name", *name}}, 202) : error_reply(name.status());
}

// A row of checkpoint_requests.h. An admin's: a store's checkpoints belong to no one user.
ApiRoute change(Coordinator& coordinator, const std::string& verb, const std::string& about) {
  std::string name = verb;
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return {.method = "POST",
          .path = "/api/v1/checkpoints/" + verb,
          .id = "checkpoint" + name,
          .about = about,
          .role = Role::kAdmin,
          .body = name + "Request",
          .body_required = verb != "gc",
          .schema = "Change",
          .errors = {404, 409},
          .handle = [&coordinator, verb](const ApiRequest& request) {
            if (json_depth(request.http.body) > kJsonDepthMax)
              return error_reply(400, "bad_json", "the body is nested deeper than " + std::to_string(kJsonDepthMax));
            return text_reply(change_checkpoints(coordinator.store(), verb, request.http.body,
                                                 coordinator.options().clock->unix_ms()));
          }};
}

}  // namespace

std::vector<ApiRoute> checkpoint_routes(const ApiContext& context) {
  Coordinator& c = context.coordinator;
  return {
      change(c, "tag", "Points a tag at a checkpoint; `force` takes it from another"),
      change(c, "untag", "Forgets a tag"),
      change(c, "pin", "Keeps a checkpoint whatever else would remove it"),
      change(c, "unpin", "Ends that"),
      change(c, "rm", "Removes checkpoints: all of them or, when something needs one, none"),
      change(c, "prune", "Removes what a retention policy does not keep"),
      change(c, "gc", "Frees the bytes that no checkpoint reaches"),
      {.method = "POST",
       .path = "/api/v1/checkpoints/verify",
       .id = "verifyCheckpoint",
       .about = "Reads a checkpoint's bytes again, when its turn comes; the list of checkpoints tells what came of it",
       .role = Role::kSubmitter,
       .body = "VerifyRequest",
       .body_required = true,
       .status = 202,
       .schema = "VerifyRequested",
       .errors = {404},
       .handle = [context](const ApiRequest& request) { return verify(context, request); }},
      {.method = "GET",
       .path = "/api/v1/checkpoints",
       .id = "listCheckpoints",
       .about = "Checkpoints, ordered by job, stage and step, a page at a time",
       .parameters = {text_parameter("job", "only this job's"), text_parameter("stage", "only this stage's"),
                      text_parameter("tag", "only the one with this tag"),
                      number_parameter("limit", "checkpoints in a page (default 100)", 1, kPageMax),
                      text_parameter("cursor", "`next` of the page before")},
       .schema = "CheckpointList",
       .handle = [context](const ApiRequest& request) { return list(context, request); }},
  };
}

}  // namespace tephra::coordinator
