#include "cli/server_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "coordinator/tokens.h"

namespace tephra::cli {
namespace {
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

Server live_server(const std::string& store) {
  std::ifstream in(store + "/server.json");
  auto j = nlohmann::json::parse(in, nullptr, false);
  if (!j.is_object() || !j.contains("url") || !j.contains("pid")) return {};
  if (kill(j.value("pid", 0), 0) != 0 && errno == ESRCH) return {};
  Server server;
  server.url = j.value("url", "");
  server.tls_authority = j.value("tls_authority", "");
  return server;
}
}  // namespace

Status write_server_file(const std::string& store, const std::string& url, const std::string& tls_authority) {
  nlohmann::json document = {{"url", url}, {"pid", getpid()}};
  if (!tls_authority.empty()) document["tls_authority"] = tls_authority;
  return write_file_atomic(Env::posix(), store + "/server.json", document.dump() + "\n");
}

void remove_server_file(const std::string& store) { (void)Env::posix().remove(store + "/server.json"); }

Result<std::string> token_from_file(const std::string& path, bool create) {
  if (Env::posix().exists(path)) {
    std::string token = first_line(path);
    if (token.empty()) return Status(Code::kInvalidArgument, path + " holds no token in its first line");
    return token;
  }
  if (!create) return Status(Code::kNotFound, path + ": there is no such token file");
  std::string token = coordinator::random_token();
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno_status(errno, "creating " + path);
  std::string line = token + "\n";
  bool written = ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  ::close(fd);
  if (!written) return Status(Code::kIo, "writing " + path + " failed");
  return token;
}

std::optional<Server> find_server(const ServerOptions& options) {
  Server server;
  server.url = !options.server.empty() ? options.server : environment("TEPHRA_SERVER");
  if (server.url.empty()) server = live_server(options.store);
  if (server.url.empty()) return std::nullopt;
  if (!options.tls_ca.empty()) server.tls_authority = options.tls_ca;
  if (server.tls_authority.empty()) server.tls_authority = environment("TEPHRA_TLS_CA");
  server.token = !options.token_file.empty() ? first_line(options.token_file) : environment("TEPHRA_TOKEN");
  if (server.token.empty()) server.token = first_line(options.store + "/token");
  return server;
}

}  // namespace tephra::cli
