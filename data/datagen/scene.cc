#include "data/datagen/scene.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace tephra::data {
namespace {

using Json = nlohmann::json;

// Calls on_element(array's name, element) for each object in the arrays of a file's outermost object, and drops it then.
Status each_element(const std::string& path, const std::function<Status(const std::string&, const Json&)>& on_element) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {Code::kNotFound, path + ": there is no such file, or it cannot be read"};
  std::string array;
  Status status;
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1) array = parsed.get<std::string>();
    if (event == Json::parse_event_t::object_end && depth == 2) {
      if (status.ok()) status = on_element(array, parsed);
      return false;
    }
    return true;
  };
  try {
    const Json rest = Json::parse(in, callback);
    if (!rest.is_object()) return {Code::kInvalidArgument, path + ": no JSON object, as COCO's annotation files are"};
  } catch (const Json::exception& error) {
    return {Code::kInvalidArgument, path + ": " + error.what()};
  }
  return status.ok() ? status : status.with_context(path);
}

std::string id_text(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end()) return "";
  return it->is_string() ? it->get<std::string>() : it->is_number_integer() ? it->dump() : "";
}

std::string text_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

double number_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_number() ? it->get<double>() : 0;
}

struct PixelObject {
  std::string category;
  std::vector<double> box;  // x, y, width, height
};

struct RawPicture {
  PictureFacts facts;
  double width = 0, height = 0;
  std::vector<PixelObject> objects;
};

std::vector<double> numbers_of(const Json& json, const char* name) {
  std::vector<double> out;
  const auto it = json.find(name);
  if (it != json.end() && it->is_array())
    for (const Json& n : *it)
      if (n.is_number()) out.push_back(n.get<double>());
  return out;
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// False: the box is none, or outside.
bool normalise(const PixelObject& object, double width, double height, PictureObject* out) {
  const std::vector<double>& b = object.box;
  if (b.size() != 4 || b[2] <= 0 || b[3] <= 0) return false;
  const std::array<double, 4> corners{b[0], b[1], b[0] + b[2], b[1] + b[3]};
  for (size_t i = 0; i < 4; ++i) {
    const double side = i % 2 == 0 ? width : height;
    if (!std::isfinite(corners[i]) || corners[i] < -1 || corners[i] > side + 1) return false;
    out->box[i] = std::min(1.0, std::max(0.0, corners[i] / side));
  }
  out->category = one_line(object.category);
  return !out->category.empty();
}

void finish(RawPicture&& raw, std::set<std::string>& seen, PictureFactsList* out) {
  const auto reject = [&](const char* reason, const std::string& detail) {
    out->rejected.push_back({raw.facts.id, reason, detail});
  };
  if (!seen.insert(raw.facts.id).second) return reject("duplicate", "an earlier picture has this id");
  std::erase_if(raw.facts.captions, [](const std::string& c) { return c.empty(); });
  if (raw.facts.captions.empty()) return reject("no_caption", "nobody described it");
  if (raw.facts.image.empty()) return reject("no_image", "its file has no name");
  if (!raw.objects.empty() && (raw.width < 1 || raw.height < 1))
    return reject("coordinates", "width and height of the picture are not given");
  for (const PixelObject& object : raw.objects) {
    PictureObject made;
    if (!normalise(object, raw.width, raw.height, &made))
      return reject("coordinates", "the box of '" + object.category + "' has no area or is outside the picture");
    raw.facts.objects.push_back(made);
  }
  out->pictures.push_back(std::move(raw.facts));
}

}  // namespace

Result<PictureFactsList> load_coco(const std::string& captions_path, const std::string& instances_path) {
  std::vector<RawPicture> raw;
  std::map<std::string, size_t> places;
  std::map<std::string, std::string> categories;
  std::vector<std::pair<std::string, PixelObject>> boxes;  // category ids are resolved at the end: they may come last
  std::vector<std::pair<std::string, std::string>> captions;
  const auto add_image = [&](const Json& json) -> Status {
    RawPicture picture;
    picture.facts.id = id_text(json, "id");
    picture.facts.image = text_of(json, "file_name");
    picture.width = number_of(json, "width");
    picture.height = number_of(json, "height");
    if (picture.facts.id.empty()) return {Code::kInvalidArgument, "an image without an id"};
    if (places.emplace(picture.facts.id, raw.size()).second) raw.push_back(std::move(picture));
    return ok_status();
  };
  const auto read = [&](const std::string& array, const Json& json) -> Status {
    if (array == "images") return add_image(json);
    if (array == "categories") categories[id_text(json, "id")] = text_of(json, "name");
    if (array != "annotations") return ok_status();
    const std::string image = id_text(json, "image_id");
    if (image.empty()) return {Code::kInvalidArgument, "an annotation without an image_id"};
    if (json.contains("caption")) captions.emplace_back(image, one_line(text_of(json, "caption")));
    if (json.contains("bbox")) boxes.push_back({image, {id_text(json, "category_id"), numbers_of(json, "bbox")}});
    return ok_status();
  };
  TEPHRA_RETURN_IF_ERROR(each_element(captions_path, read));
  if (captions.empty())
    return Status(Code::kInvalidArgument, captions_path + ": no captions; it must be a captions_*.json of COCO");
  boxes.clear();
  if (!instances_path.empty()) TEPHRA_RETURN_IF_ERROR(each_element(instances_path, read));
  for (auto& [image, caption] : captions)
    if (const auto at = places.find(image); at != places.end()) raw[at->second].facts.captions.push_back(caption);
  for (auto& [image, object] : boxes) {
    const auto at = places.find(image);
    if (at == places.end()) continue;
    const auto name = categories.find(object.category);
    if (name == categories.end())
      return Status(Code::kInvalidArgument, instances_path + ": category " + object.category + " has no name");
    object.category = name->second;
    raw[at->second].objects.push_back(std::move(object));
  }
  PictureFactsList out;
  std::set<std::string> seen;
  for (RawPicture& picture : raw) finish(std::move(picture), seen, &out);
  return out;
}

Result<PictureFactsList> load_picture_lines(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Status(Code::kNotFound, path + ": there is no such file, or it cannot be read");
  PictureFactsList out;
  std::set<std::string> seen;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto bad = [&](const std::string& what) {
      return Status(Code::kInvalidArgument, path + ":" + std::to_string(number) + ": " + what);
    };
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) return bad("not a JSON object; a line is one picture");
    RawPicture raw;
    raw.facts.id = id_text(json, "id");
    if (raw.facts.id.empty()) return bad("id is missing; it is a string or a whole number");
    raw.facts.image = text_of(json, json.contains("image") ? "image" : "file_name");
    raw.width = number_of(json, "width");
    raw.height = number_of(json, "height");
    const auto captions = json.find("captions");
    if (captions == json.end() || !captions->is_array()) return bad("captions must be a list of texts");
    for (const Json& caption : *captions) {
      if (!caption.is_string()) return bad("captions must be a list of texts");
      raw.facts.captions.push_back(one_line(caption.get<std::string>()));
    }
    if (const auto objects = json.find("objects"); objects != json.end() && objects->is_array())
      for (const Json& object : *objects) {
        if (!object.is_object()) return bad("objects must be a list of objects with category and bbox");
        raw.objects.push_back({text_of(object, "category"), numbers_of(object, "bbox")});
      }
    finish(std::move(raw), seen, &out);
  }
  return out;
}

std::string context_text(const PictureFacts& picture) {
  std::string out;
  for (const std::string& caption : picture.captions) out += caption + "\n";
  if (!picture.objects.empty()) out += "\n";
  char line[96];
  for (const PictureObject& o : picture.objects) {
    std::snprintf(line, sizeof line, ": [%.3f, %.3f, %.3f, %.3f]\n", o.box[0], o.box[1], o.box[2], o.box[3]);
    out += o.category + line;
  }
  return out;
}

}  // namespace tephra::data
