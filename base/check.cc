#include "base/check.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tephra {
namespace {
char g_context[256] = "";
}

void set_check_context(std::string_view context) {
  size_t n = std::min(context.size(), sizeof(g_context) - 1);
  std::memcpy(g_context, context.data(), n);
  g_context[n] = '\0';
}

void check_failed(const char* file, int line, const char* expression, std::string_view words) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %.*s [%s]\n", file, line, expression, static_cast<int>(words.size()),
               words.data(), g_context);
  std::fflush(stderr);
  std::abort();
}

}  // namespace tephra
