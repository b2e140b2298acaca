#include "data/dataset_folder.h"

#include <cstdio>

namespace tephra::data {

using Json = nlohmann::ordered_json;

DatasetFolder::DatasetFolder(Env& env, std::string dir, Json options)
    : env_(env), dir_(std::move(dir)), options_(std::move(options)) {}

Result<bool> DatasetFolder::begin() {
  TEPHRA_RETURN_IF_ERROR(env_.make_directories(dir_));
  if (!env_.exists(marker())) return false;
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(env_, marker()));
  const Json found = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (found.is_object() && found.contains("options") && found["options"] == options_) return true;
  TEPHRA_RETURN_IF_ERROR(env_.remove(marker()));
  return false;
}

// Not synced one by one: thousands of syncs would take longer than the rest, and dataset.json vouches for all of them.
Status DatasetFolder::write(const std::string& relative, std::string_view bytes) {
  const std::string path = dir_ + "/" + relative;
  if (env_.exists(path)) TEPHRA_RETURN_IF_ERROR(env_.remove(path));
  TEPHRA_ASSIGN_OR_RETURN(auto file, env_.create(path));
  TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(bytes))));
  TEPHRA_RETURN_IF_ERROR(file->close());
  hasher_.update(relative);
  hasher_.update(bytes);
  return ok_status();
}

Status DatasetFolder::write_picture(const std::string& relative, const Image& image) {
  TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::byte> png, encode_png(image));
  return write(relative, {reinterpret_cast<const char*>(png.data()), png.size()});
}

Status DatasetFolder::make_directories(const std::string& relative) {
  return env_.make_directories(dir_ + "/" + relative);
}

Status DatasetFolder::finish(const std::map<std::string, int64_t>& counts) {
  Json done = {{"options", options_}};
  if (!counts.empty()) done["counts"] = counts;
  done["content_hash"] = hasher_.digest().hex();
  return write_file_atomic(env_, marker(), done.dump(1) + "\n");
}

Json sample_json(const std::string& id, const std::string& image, const std::vector<Exchange>& exchanges,
                 const std::string& before) {
  Json turns = Json::array();
  for (const auto& [question, answer] : exchanges) {
    const std::string lead = !turns.empty() ? "" : image.empty() ? before : "<image>\n";
    turns.push_back({{"from", "human"}, {"value", lead + question}});
    turns.push_back({{"from", "gpt"}, {"value", answer}});
  }
  Json out;
  out["id"] = id;
  if (!image.empty()) out["image"] = image;
  out["conversations"] = std::move(turns);
  return out;
}

std::string numbered(int64_t index) {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%06lld", static_cast<long long>(index));
  return buffer;
}

std::string json_lines(const Json& array) {
  std::string out = "[\n";
  for (size_t i = 0; i < array.size(); ++i)
    out += array[i].dump(-1, ' ', false, Json::error_handler_t::replace) + (i + 1 < array.size() ? ",\n" : "\n");
  return out + "]\n";
}

}  // namespace tephra::data
