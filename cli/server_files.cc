#include "cli/server_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/env.h"

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

std::string live_url(const std::string& store) {
  std::ifstream in(store + "/server.json");
  auto j = nlohmann::json::parse(in, nullptr, false);
  if (!j.is_object() || !j.contains("url") || !j.contains("pid")) return "";
  if (kill(j.value("pid", 0), 0) != 0 && errno == ESRCH) return "";
  return j.value("url", "");
}
}  // namespace

Status write_server_file(const std::string& store, const std::string& url) {
  return write_file_atomic(Env::posix(), store + "/server.json",
                           nlohmann::json{{"url", url}, {"pid", getpid()}}.dump() + "\n");
}

void remove_server_file(const std::string& store) { (void)Env::posix().remove(store + "/server.json"); }

Result<std::string> token_from_file(const std::string& path, bool create) {
  if (Env::posix().exists(path)) {
    std::string token = first_line(path);
    if (token.empty()) return Status(Code::kInvalidArgument, path + " holds no token in its first line");
    return token;
  }
  if (!create) return Status(Code::kNotFound, path + ": there is no such token file");
  std::random_device random;
  std::string token;
  for (int i = 0; i < 32; ++i) token += "0123456789abcdef"[random() % 16];
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
  if (server.url.empty()) server.url = live_url(options.store);
  if (server.url.empty()) return std::nullopt;
  server.token = !options.token_file.empty() ? first_line(options.token_file) : environment("TEPHRA_TOKEN");
  if (server.token.empty()) server.token = first_line(options.store + "/token");
  return server;
}

}  // namespace tephra::cli
