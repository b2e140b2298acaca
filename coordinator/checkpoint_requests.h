// Requests that change the store's checkpoints, as JSON: POST /api/v1/checkpoints/VERB carries them out in the
// coordinator that owns the store, and the command line by itself when none does. One implementation for both.
//
//   tag    {"name", "tag", "force": false}   -> {"name", "tag", "moved_from"}
//   untag  {"tag"}                           -> {"tag"}
//   pin    {"name"}, unpin {"name"}          -> {"name"}
//   rm     {"names": [..], "dry_run": false} -> {"removed": [{"name", "bytes"}], "dry_run"}; all of them or none
//   prune  {"job", "policy": {"last", "best", "metric", "mode", "every", "max_age", "max_bytes"}, "dry_run"}
//          -> {"checkpoints": [{"name", "keep", "reason", "bytes"}], "removed", "removed_bytes", "dry_run"}
//   gc     {"dry_run"} -> {"packs": [..], "rewritten": [..], "bytes", "by_pack": {file: bytes}, "kept_for_writers": [..],
//          "dry_run"}
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

// Blocks on disk. kNotFound: no such verb, checkpoint or tag; kInvalidArgument: a request that is not as above, or a
// checkpoint that something needs; kAlreadyExists: a tag that is elsewhere.
Result<std::string> change_checkpoints(storage::Store& store, const std::string& verb, const std::string& request_json,
                                       int64_t now_unix_ms);

}  // namespace tephra::coordinator
