#include "data/tar.h"

#include <algorithm>
#include <charconv>

namespace tephra::data {
namespace {

constexpr uint64_t kBlock = 512;

Status broken(uint64_t offset, const std::string& what) {
  return {Code::kCorruption, "at byte " + std::to_string(offset) + ": " + what};
}

std::string_view field(std::string_view header, size_t at, size_t size) {
  const std::string_view all = header.substr(at, size);
  return all.substr(0, std::min(all.find('\0'), all.size()));
}

// Octal digits, or GNU's base 256 for what octal cannot hold. Nothing: neither.
std::optional<uint64_t> number(std::string_view header, size_t at, size_t size) {
  const auto first = static_cast<unsigned char>(header[at]);
  uint64_t value = 0;
  if (first & 0x80) {
    for (size_t i = at + 1; i < at + size; ++i) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(header[i]);
    }
    return value;
  }
  std::string_view digits = field(header, at, size);
  while (digits.starts_with(' ')) digits.remove_prefix(1);
  while (digits.ends_with(' ')) digits.remove_suffix(1);
  if (digits.empty()) return 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool checksum_fits(std::string_view header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
  return number(header, 148, 8) == sum;
}

// Of pax's records, "LENGTH KEY=VALUE\n", those that matter here.
struct Pax {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
};

bool read_pax(std::string_view records, Pax* out) {
  while (!records.empty() && records[0] != '\0') {
    uint64_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const size_t digits = static_cast<size_t>(end - records.data());
    if (error != std::errc() || length <= digits + 1 || length > records.size()) return false;
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") out->path = value;
    if (key == "size") {
      uint64_t size = 0;
      if (std::from_chars(value.data(), value.data() + value.size(), size).ec != std::errc()) return false;
      out->size = size;
    }
    records.remove_prefix(length);
  }
  return true;
}

}  // namespace

Result<std::optional<TarMember>> next_tar_member(std::string_view archive, uint64_t offset) {
  TarMember out;
  Pax pax;
  out.begin = offset;
  for (uint64_t at = offset;;) {
    if (at >= archive.size()) return std::optional<TarMember>();
    if (archive.size() - at < kBlock) return broken(at, "the archive is cut off");
    const std::string_view header = archive.substr(at, kBlock);
    // Two empty blocks end an archive; some writers leave one.
    if (header.find_first_not_of('\0') == std::string_view::npos) return std::optional<TarMember>();
    if (!checksum_fits(header)) return broken(at, "there is no tar header");
    const std::optional<uint64_t> told = number(header, 124, 12);
    if (!told) return broken(at, "the member's size is no number");
    const char type = header[156];
    const bool regular = type == '0' || type == '\0' || type == '7';
    const uint64_t size = regular && pax.size ? *pax.size : *told;
    if (size > archive.size() - at - kBlock) return broken(at, "the member is cut off");
    const std::string_view bytes = archive.substr(at + kBlock, size);
    at += kBlock + (size + kBlock - 1) / kBlock * kBlock;
    if (type == 'x') {
      if (!read_pax(bytes, &pax)) return broken(out.begin, "its pax records are broken");
    } else if (type == 'L') {
      pax.path = std::string(field(bytes, 0, bytes.size()));
    } else if (regular) {
      const std::string_view prefix = header.substr(257, 5) == "ustar" ? field(header, 345, 155) : "";
      out.name =
          pax.path ? *pax.path : (prefix.empty() ? "" : std::string(prefix) + "/") + std::string(field(header, 0, 100));
      out.bytes = bytes;
      out.end = std::min<uint64_t>(at, archive.size());
      return std::optional<TarMember>(std::move(out));
    } else if (type != 'g' && type != 'K') {  // a folder, a link: what was said of it is over
      pax = {};
      out.begin = at;
    }
  }
}

}  // namespace tephra::data
