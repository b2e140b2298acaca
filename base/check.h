// Broken invariants. On in every build: the gang is the unit of failure, so an abort costs the steps since the last
// commit, and going on could cost the checkpoint.
#pragma once

#include <string_view>

namespace tephra {

// Prints file, line, `words` and the process's check context (set_check_context), then aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, std::string_view words);

// Text printed with every failed check, for example "rank 1 step 40". Copies at most 255 bytes. Any thread.
void set_check_context(std::string_view context);

}  // namespace tephra

#define TEPHRA_CHECK(cond, words)                               \
  do {                                                          \
    if (!(cond)) [[unlikely]]                                   \
      ::tephra::check_failed(__FILE__, __LINE__, #cond, words); \
  } while (0)
