#include "data/columnar.h"

namespace tephra::data {

Status refuse_columnar(std::string_view bytes, const std::string& path) {
  const char* format = bytes.starts_with("PAR1") ? "Parquet" : bytes.starts_with("ARROW1") ? "Arrow" : nullptr;
  if (format == nullptr) return ok_status();
  const std::string reader = bytes.starts_with("PAR1") ? "load_dataset('parquet', data_files='" + path + "')['train']"
                                                       : "Dataset.from_file('" + path + "')";
  return {Code::kUnsupported, path + ": is " + format +
                                  ", which takes Apache Arrow to read, and Debian 12 does not package that; Python's "
                                  "datasets rewrites it: " +
                                  reader + ".to_json('x.jsonl')"};
}

}  // namespace tephra::data
