// The parts of the page for browsers, compiled into the program: the files of coordinator/web, and Debian's Chart.js. There is no
// build step: what is served is what lies there.
#pragma once

#include <span>
#include <string_view>

namespace tephra::coordinator {

struct WebFile {
  std::string_view name;  // "main.js"
  std::string_view body;
};

std::span<const WebFile> web_files();

// nullptr: there is none of this name.
const WebFile* find_web_file(std::string_view name);
std::string_view web_content_type(std::string_view name);

}  // namespace tephra::coordinator
