// How commands find a coordinator: --server, TEPHRA_SERVER, or what `tephra serve` left in the store.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "cli/http_client.h"

namespace tephra::cli {

// STORE/server.json: where the daemon of this store answers. Written by `tephra serve`, removed when it ends in order.
// `tls_authority`: file with the certificate that its clients are to trust; empty: it speaks no TLS.
Status write_server_file(const std::string& store, const std::string& url, const std::string& tls_authority = "");
void remove_server_file(const std::string& store);

// The token in `path`, or a new one written there (mode 0600). kPermission, kIo: from the disk.
Result<std::string> token_from_file(const std::string& path, bool create);

struct ServerOptions {
  std::string server;      // url; empty: TEPHRA_SERVER, then STORE/server.json
  std::string token_file;  // empty: TEPHRA_TOKEN, then STORE/token
  std::string tls_ca;      // empty: TEPHRA_TLS_CA, then what STORE/server.json names, then the machine's
  std::string store = "tephra-store";
};
// Nothing when no coordinator is named and the store has no live one: the store itself can then be read.
std::optional<Server> find_server(const ServerOptions& options);

}  // namespace tephra::cli
