// The store's checkpoints.
#include <algorithm>

#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/paging.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using nlohmann::json;

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
          {"tags", info.tags}};
}

HttpResponse list(Coordinator& coordinator, const ApiRequest& request) {
  const Result<std::vector<storage::CheckpointInfo>> found = coordinator.store().list(request.text("job"));
  if (!found.ok()) return error_reply(found.status());
  const std::string stage = request.text("stage"), tag = request.text("tag"), after = request.text("cursor");
  const auto limit = static_cast<size_t>(request.number("limit", kPageDefault));
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
  }
  return json_reply({{"checkpoints", rows}, {"next", next}});
}

}  // namespace

std::vector<ApiRoute> checkpoint_routes(const ApiContext& context) {
  Coordinator& c = context.coordinator;
  return {
      {.method = "GET",
       .path = "/api/v1/checkpoints",
       .id = "listCheckpoints",
       .about = "Checkpoints, ordered by job, stage and step, a page at a time",
       .parameters = {text_parameter("job", "only this job's"), text_parameter("stage", "only this stage's"),
                      text_parameter("tag", "only the one with this tag"),
                      number_parameter("limit", "checkpoints in a page (default 100)", 1, kPageMax),
                      text_parameter("cursor", "`next` of the page before")},
       .schema = "CheckpointList",
       .handle = [&c](const ApiRequest& request) { return list(c, request); }},
  };
}

}  // namespace tephra::coordinator
