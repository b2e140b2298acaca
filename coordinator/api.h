// The HTTP/JSON interface of a coordinator: /api/v1 and the status page. docs/http-api.md is the reference.
#pragma once

#include <functional>
#include <string>

#include "cluster/http/http_server.h"
#include "coordinator/coordinator.h"

namespace tephra::coordinator {

// A handler over `coordinator`, which must outlive the server. `token` empty: no token is asked. Every path but
// /healthz, /readyz and / wants "Authorization: Bearer TOKEN" (401 otherwise). Errors are {"error": {"code",
// "message"}}.
cluster::HttpHandler make_api(Coordinator& coordinator, std::string token);

}  // namespace tephra::coordinator
