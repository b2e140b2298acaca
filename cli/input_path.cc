#include "cli/input_path.h"

#include "base/env.h"

namespace tephra::cli {

CLI::Validator existing_path() {
  const auto check = [](const std::string& path) {
    return Env::posix().exists(path) ? std::string() : "there is no " + path + "; name a file or folder that is there";
  };
  return {check, ""};
}

}  // namespace tephra::cli
