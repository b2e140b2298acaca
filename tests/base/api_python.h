// The Python that has schemathesis, TensorBoard and Kubernetes' schemas: TEPHRA_API_PYTHON, or what scripts/api_venv.sh made.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/env.h"

namespace tephra {

inline std::string api_python() {
  if (const char* named = std::getenv("TEPHRA_API_PYTHON")) return named;
  const std::string own = TEPHRA_SOURCE_DIR "/.deps/api-venv/bin/python";
  return std::filesystem::exists(own) ? own : "";
}

#define TEPHRA_REQUIRE_API_PYTHON(what)            \
  if (::tephra::api_python().empty()) \
  GTEST_SKIP() << "NOT RUN: no Python with " what "; scripts/api_venv.sh makes one, or name it in TEPHRA_API_PYTHON"

// Runs that Python; what it printed, once it failed.
inline ::testing::AssertionResult run_python(const std::string& arguments, const std::string& log) {
  if (std::system(("'" + api_python() + "' " + arguments + " > '" + log + "' 2>&1").c_str()) == 0)
    return ::testing::AssertionSuccess();
  const auto printed = read_file(Env::posix(), log);
  return ::testing::AssertionFailure() << (printed.ok() ? *printed : printed.status().to_string());
}

}  // namespace tephra
