#include "coordinator/tensorboard.h"

#include <nmmintrin.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace tephra::coordinator {
namespace {

template <typename T>
void put(std::string& out, T value) {  // little-endian, as this machine
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

std::string framed(const std::string& event) {
  std::string length, out;
  put<uint64_t>(length, event.size());
  out = length;
  put(out, masked(crc32c(length)));
  out += event;
  put(out, masked(crc32c(event)));
  return out;
}

// Event: 1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary.
std::string event_header(double wall_seconds, int64_t step) {
  std::string event;
  event += static_cast<char>(1 << 3 | 1);
  put(event, wall_seconds);
  event += static_cast<char>(2 << 3 | 0);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}
}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (unsigned char c : bytes) crc = _mm_crc32_u8(crc, c);
  return ~crc;
}

std::string event_record(double wall_seconds, int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    std::string entry;  // Summary.Value: 1 tag, 2 simple_value (float)
    put_bytes(entry, 1, tag);
    entry += static_cast<char>(2 << 3 | 5);
    put(entry, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  std::string event = event_header(wall_seconds, step);
  put_bytes(event, 5, summary);
  return framed(event);
}

std::string first_event_record(double wall_seconds) {
  std::string event = event_header(wall_seconds, 0);
  put_bytes(event, 3, "brain.Event:2");
  return framed(event);
}

Status append_scalars(const std::string& directory, const std::string& suffix, double wall_seconds, int64_t step,
                      const Scalars& scalars) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const std::string path = directory + "/events.out.tfevents." + suffix;
  std::string bytes = std::filesystem::exists(path, error) ? "" : first_event_record(wall_seconds);
  bytes += event_record(wall_seconds, step, scalars);
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) return errno_status(errno, "open " + path);
  bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  int code = errno;
  if (std::fclose(file) != 0 || !written) return errno_status(written ? errno : code, "write " + path);
  return ok_status();
}

}  // namespace tephra::coordinator
