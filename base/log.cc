#include "base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace tephra::log {
namespace {
std::shared_ptr<spdlog::logger>& logger() {
  static auto instance = [] {
    auto fallback = std::make_shared<spdlog::logger>("tephra", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    fallback->set_level(spdlog::level::warn);
    return fallback;
  }();
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarning: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

// An event is one line whatever its values hold, so that logs can be read line by line.
std::string quoted_if_needed(const std::string& value) {
  if (!value.empty() && value.find_first_of(" \"\\\n\r\t=") == std::string::npos) return value;
  std::string out = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else {
      out += c;
    }
  }
  return out + '"';
}

bool& json_lines() {
  static bool on = false;
  return on;
}

// Bytes that are no UTF-8 are replaced: a line is JSON whatever its values hold.
std::string json_text(std::string_view value) {
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
}  // namespace

void init(const std::string& path, Level level, const std::string& process_name, Format format) {
  spdlog::sink_ptr sink;
  if (path.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, 64u << 20, 3);
  }
  logger() = std::make_shared<spdlog::logger>(process_name, sink);
  logger()->set_level(to_spdlog(level));
  logger()->flush_on(spdlog::level::info);
  json_lines() = format == Format::kJson;
  logger()->set_pattern(json_lines() ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","process":"%n",%v})"
                                     : "%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
}

void write(Level level, std::string_view message, Fields fields) {
  auto& out = *logger();
  if (!out.should_log(to_spdlog(level))) return;
  std::string line = json_lines() ? "\"message\":" + json_text(message) : std::string(message);
  for (const Field& f : fields) {
    if (json_lines()) {
      line += ',' + json_text(f.key) + ':' + json_text(f.value);
      continue;
    }
    line += ' ';
    line += f.key;
    line += '=';
    line += quoted_if_needed(f.value);
  }
  out.log(to_spdlog(level), "{}", line);
}

}  // namespace tephra::log
