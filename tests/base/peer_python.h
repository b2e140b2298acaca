// The Python that has the peers which some tests compare with: TEPHRA_TEST_PYTHON, or what scripts/test_venv.sh made.
#pragma once

#include "tests/base/python.h"

namespace tephra {

inline std::string peer_python() { return python_of("TEPHRA_TEST_PYTHON", "test-venv"); }

#define TEPHRA_REQUIRE_PEER_PYTHON(what)                          \
  if (::tephra::peer_python().empty())                            \
  GTEST_SKIP() << "NOT RUN: no Python with " what                 \
                  "; scripts/test_venv.sh makes one, or name it " \
                  "in TEPHRA_TEST_PYTHON"

// Runs a script below tests/ with one argument; what it printed, once it failed.
inline ::testing::AssertionResult peer_script(const std::string& script, const std::string& argument,
                                              const std::string& log) {
  return run_python(peer_python(), "'" TEPHRA_SOURCE_DIR "/tests/" + script + "' '" + argument + "'", log);
}

}  // namespace tephra
