// The Python that has schemathesis, TensorBoard and Kubernetes' schemas: TEPHRA_API_PYTHON, or what scripts/api_venv.sh made.
#pragma once

#include "tests/base/python.h"

namespace tephra {

inline std::string api_python() { return python_of("TEPHRA_API_PYTHON", "api-venv"); }

#define TEPHRA_REQUIRE_API_PYTHON(what) \
  if (::tephra::api_python().empty())   \
  GTEST_SKIP() << "NOT RUN: no Python with " what "; scripts/api_venv.sh makes one, or name it in TEPHRA_API_PYTHON"

}  // namespace tephra
