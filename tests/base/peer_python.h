// The Python that has the peers which some tests compare with: TEPHRA_TEST_PYTHON, or what scripts/test_venv.sh made.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/env.h"

namespace tephra {

inline std::string peer_python() {
  if (const char* named = std::getenv("TEPHRA_TEST_PYTHON")) return named;
  const std::string own = TEPHRA_SOURCE_DIR "/.deps/test-venv/bin/python";
  return std::filesystem::exists(own) ? own : "";
}

#define TEPHRA_REQUIRE_PEER_PYTHON(what)                          \
  if (::tephra::peer_python().empty())                            \
  GTEST_SKIP() << "NOT RUN: no Python with " what                 \
                  "; scripts/test_venv.sh makes one, or name it " \
                  "in TEPHRA_TEST_PYTHON"

// Runs a script below tests/ with one argument; what it printed, once it failed.
inline ::testing::AssertionResult peer_script(const std::string& script, const std::string& argument,
                                              const std::string& log) {
  const std::string command =
      "'" + peer_python() + "' '" TEPHRA_SOURCE_DIR "/tests/" + script + "' '" + argument + "' > '" + log + "' 2>&1";
  if (std::system(command.c_str()) == 0) return ::testing::AssertionSuccess();
  const auto printed = read_file(Env::posix(), log);
  return ::testing::AssertionFailure() << (printed.ok() ? *printed : printed.status().to_string());
}

}  // namespace tephra
