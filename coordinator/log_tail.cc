#include "coordinator/log_tail.h"

#include <fstream>
#include <utility>

namespace tephra::coordinator {
namespace {

constexpr size_t kFollowBytes = 256u << 10;  // of one look
constexpr int64_t kLogBytes = 1 << 20;       // of what was there before; the file has the rest

}  // namespace

LogTail::LogTail(std::string path, int rank)
    : path_(std::move(path)), tag_(rank < 0 ? "" : "[1," + std::to_string(rank) + "]<") {
  std::ifstream in(path_, std::ios::binary | std::ios::ate);
  const int64_t size = in ? static_cast<int64_t>(in.tellg()) : 0;
  if (size <= kLogBytes) return;
  in.seekg(size - kLogBytes);
  std::string cut;
  std::getline(in, cut);
  offset_ = static_cast<uint64_t>(size - kLogBytes) + cut.size() + 1;
}

std::string LogTail::more() {
  std::ifstream in(path_, std::ios::binary);
  if (!in) return "";
  in.seekg(static_cast<std::streamoff>(offset_));
  std::string bytes(kFollowBytes, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  const size_t end = bytes.rfind('\n');
  if (end == std::string::npos && bytes.size() < kFollowBytes) return "";
  bytes.resize(end == std::string::npos ? bytes.size() : end + 1);
  offset_ += bytes.size();
  read_something_ = true;
  return filtered(bytes);
}

bool LogTail::read_something() { return std::exchange(read_something_, false); }

std::string LogTail::filtered(const std::string& bytes) const {
  if (tag_.empty()) return bytes;
  std::string out;
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', begin), bytes.size() - 1) + 1;
    if (bytes.compare(begin, tag_.size(), tag_) == 0) out.append(bytes, begin, end - begin);
    begin = end;
  }
  return out;
}

}  // namespace tephra::coordinator
