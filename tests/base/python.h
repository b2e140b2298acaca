// Pythons that a test runs: with the packages of one of scripts/*_venv.sh, or as an environment variable names it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/env.h"

namespace tephra {

// Empty: there is none.
inline std::string python_of(const char* variable, const std::string& venv) {
  if (const char* named = std::getenv(variable)) return named;
  const std::string own = TEPHRA_SOURCE_DIR "/.deps/" + venv + "/bin/python";
  return std::filesystem::exists(own) ? own : "";
}

// Runs it; what it printed, once it failed.
inline ::testing::AssertionResult run_python(const std::string& python, const std::string& arguments,
                                             const std::string& log) {
  if (std::system(("'" + python + "' " + arguments + " > '" + log + "' 2>&1").c_str()) == 0)
    return ::testing::AssertionSuccess();
  const auto printed = read_file(Env::posix(), log);
  return ::testing::AssertionFailure() << (printed.ok() ? *printed : printed.status().to_string());
}

}  // namespace tephra
