// Python with other implementations of what is tested here, and a way to run a script of it over JSON.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {

// The first that has `package`: what TEPHRA_EVAL_PYTHON names, .deps/eval-venv (scripts/eval_venv.sh) and .deps/web-venv
// (scripts/web_venv.sh); empty: none.
inline std::string eval_python(const std::string& package) {
  const char* named = std::getenv("TEPHRA_EVAL_PYTHON");
  const std::string deps = TEPHRA_SOURCE_DIR "/.deps/";
  for (const std::string& python :
       {std::string(named == nullptr ? "" : named), deps + "eval-venv/bin/python", deps + "web-venv/bin/python"}) {
    if (python.empty() || !std::filesystem::exists(python)) continue;
    // Found, not imported: some packages import what is not there.
    const std::string test =
        "import importlib.util, sys; sys.exit(importlib.util.find_spec(\"" + package + "\") is None)";
    if (std::system((python + " -c '" + test + "' > /dev/null 2>&1").c_str()) == 0) return python;
  }
  return "";
}

// Runs `script` with the paths of two files: `in`, and one to write. What it wrote; its complaints as a text where it failed.
inline nlohmann::json run_python(const std::string& python, const std::string& script, const nlohmann::json& in) {
  const TemporaryFolder folder;
  const std::string command = python + " " + folder.write("script.py", script) + " " +
                              folder.write("in.json", in.dump()) + " " + folder.path("out.json") + " > " +
                              folder.path("log") + " 2>&1";
  const auto text = [](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  if (std::system(command.c_str()) != 0) return text(folder.path("log"));
  return nlohmann::json::parse(text(folder.path("out.json")), nullptr, false);
}

}  // namespace tephra::eval
