#include "worker/build_id.h"

#include <fstream>
#include <vector>

#include "base/hash.h"
#include "base/version.h"

namespace tephra::worker {

std::string build_id() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  if (!file) return std::string(kVersion);
  Hasher hasher;
  std::vector<char> bytes(1 << 20);
  do {
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    hasher.update(std::string_view(bytes.data(), static_cast<size_t>(file.gcount())));
  } while (file);
  if (!file.eof()) return std::string(kVersion);
  return std::string(kVersion) + "+" + hasher.digest().hex().substr(0, 16);
}

}  // namespace tephra::worker
