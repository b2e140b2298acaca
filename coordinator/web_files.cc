#include "coordinator/web_files.h"

namespace tephra::coordinator {

const WebFile* find_web_file(std::string_view name) {
  for (const WebFile& file : web_files())
    if (file.name == name) return &file;
  return nullptr;
}

std::string_view web_content_type(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  return "text/plain; charset=utf-8";
}

}  // namespace tephra::coordinator
