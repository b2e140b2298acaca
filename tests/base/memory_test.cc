// Memory that was freed is used again without a visit to the system.
#include "base/memory.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <cstring>
#include <vector>

namespace tephra {
namespace {

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST(Memory, FreedMemoryIsUsedAgain) {
  constexpr size_t kBytes = 100u << 20, kPage = 4096;
  keep_freed_memory();
  { std::vector<char> first(kBytes, 1); }
  const int64_t before = page_faults();
  std::vector<char> again(kBytes, 2);
  EXPECT_LT(page_faults() - before, static_cast<int64_t>(kBytes / kPage / 10)) << again.back();
}
#endif

}  // namespace
}  // namespace tephra
