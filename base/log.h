// Structured log lines: a message and key-value fields. Free of fmt and spdlog, so that files with LibTorch may include it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace tephra::log {

struct Field {
  std::string_view key;
  std::string value;
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  template <typename T>
  requires std::is_arithmetic_v<T> Field(std::string_view k, T v) : key(k), value(std::to_string(v)) {}
};
using Fields = std::initializer_list<Field>;

enum class Level { kDebug, kInfo, kWarning, kError };

// Lines go to `path` (appended; rotated at 64 MiB, three kept), or to stderr when empty. Call once in main, before threads.
// Without it, warnings and errors go to stderr and the rest nowhere. kJson: one object a line, with time, level, process,
// message, and the fields beside them.
enum class Format { kText, kJson };
void init(const std::string& path, Level level, const std::string& process_name, Format format = Format::kText);
void write(Level level, std::string_view message, Fields fields);

inline void debug(std::string_view message, Fields fields = {}) { write(Level::kDebug, message, fields); }
inline void info(std::string_view message, Fields fields = {}) { write(Level::kInfo, message, fields); }
inline void warning(std::string_view message, Fields fields = {}) { write(Level::kWarning, message, fields); }
inline void error(std::string_view message, Fields fields = {}) { write(Level::kError, message, fields); }

}  // namespace tephra::log
