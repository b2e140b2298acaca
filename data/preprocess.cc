#include "data/preprocess.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "base/env.h"

namespace tephra::data {
namespace {

using Json = nlohmann::json;

class ConfigReader {
 public:
  ConfigReader(const Json& json, const std::string& path) : json_(json), path_(path) {}

  Status wrong(const std::string& field, const std::string& what) const {
    return Status(Code::kInvalidArgument, path_ + ": " + field + " " + what);
  }

  // A plain number, or the member of an object: {"shortest_edge": 336} or {"height": 336, "width": 336}.
  Result<int> edge(const char* field) const {
    if (!json_.contains(field)) return wrong(field, "is missing");
    const Json& value = json_[field];
    if (is_edge(value)) return value.get<int>();
    if (value.is_object()) {
      if (value.contains("shortest_edge") && is_edge(value["shortest_edge"])) return value["shortest_edge"].get<int>();
      if (value.contains("height") && value.contains("width") && is_edge(value["height"]) &&
          value["height"] == value["width"]) {
        return value["height"].get<int>();
      }
    }
    return wrong(
        field,
        "must be a number of pixels (1 to 16384), {\"shortest_edge\": N} or a square {\"height\": N, \"width\": N}");
  }

  Status triple(const char* field, double (&out)[3]) const {
    if (!json_.contains(field)) return ok_status();
    const Json& value = json_[field];
    if (!value.is_array() || value.size() != 3) return wrong(field, "must be three numbers");
    for (int c = 0; c < 3; ++c) {
      if (!value[c].is_number()) return wrong(field, "must be three numbers");
      out[c] = value[c].get<double>();
    }
    return ok_status();
  }

  // Steps that the vision towers were trained with; switched off, the input would be another one.
  Status must_be_on(const char* field) const {
    if (!json_.contains(field) || json_[field] == true) return ok_status();
    return Status(Code::kUnsupported,
                  path_ + ": " + field + " is " + json_[field].dump() + "; only processors with it on are read");
  }

 private:
  static bool is_edge(const Json& value) {
    return value.is_number_integer() && value.get<int64_t>() >= 1 && value.get<int64_t>() <= 16384;
  }
  const Json& json_;
  const std::string& path_;
};

// LLaVA's expand2square, or the picture as it is.
Canvas canvas_for(const Image& image, const PreprocessOptions& options) {
  if (options.aspect == Aspect::kSquare) return {image, image.width, image.height, 0, 0, {}};
  const int edge = std::max(image.width, image.height);
  Canvas canvas{image, edge, edge, (edge - image.width) / 2, (edge - image.height) / 2, {}};
  for (size_t c = 0; c < 3; ++c) canvas.fill[c] = static_cast<uint8_t>(options.mean_exact[c] * 255);
  return canvas;
}

// The shorter edge to `shortest_edge`, of that the centre.
Image resize_and_crop(const Canvas& canvas, const PreprocessOptions& options) {
  const bool tall = canvas.width <= canvas.height;
  const int shorter = tall ? canvas.width : canvas.height;
  const int longer = tall ? canvas.height : canvas.width;
  const int edge = options.shortest_edge, size = options.image_size;
  // The longer edge is truncated. Python: int(size * long / short), a double division.
  const int scaled = std::max(1, static_cast<int>(static_cast<double>(static_cast<int64_t>(edge) * longer) / shorter));
  const int width = tall ? edge : scaled, height = tall ? scaled : edge;
  return resize_bicubic(canvas, width, height, {(width - size) / 2, (height - size) / 2, size, size});
}

}  // namespace

Hash128 PreprocessOptions::hash() const {
  std::string text = std::to_string(image_size) + " " + std::to_string(shortest_edge) + " " + resample +
                     (aspect == Aspect::kPad ? " pad" : " square");
  auto add = [&](double value) { text += " " + std::to_string(std::bit_cast<uint64_t>(value)); };
  add(rescale);
  for (int c = 0; c < 3; ++c) {
    add(mean[c]);
    add(std[c]);
    add(mean_exact[c]);
  }
  return hash_text(text);
}

Result<PreprocessOptions> load_preprocess(const std::string& model_dir) {
  const std::string path = model_dir + "/preprocessor_config.json";
  TEPHRA_ASSIGN_OR_RETURN(std::string text, read_file(Env::posix(), path));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Status(Code::kCorruption, path + " is not a JSON object");
  ConfigReader config(json, path);
  PreprocessOptions options;
  for (const char* step : {"do_resize", "do_center_crop", "do_normalize", "do_rescale"}) {
    TEPHRA_RETURN_IF_ERROR(config.must_be_on(step));
  }
  TEPHRA_ASSIGN_OR_RETURN(options.shortest_edge, config.edge("size"));
  options.image_size = options.shortest_edge;
  if (json.contains("crop_size")) {
    TEPHRA_ASSIGN_OR_RETURN(options.image_size, config.edge("crop_size"));
  }
  if (options.image_size > options.shortest_edge) {
    return Status(Code::kUnsupported, path + ": crop_size " + std::to_string(options.image_size) +
                                          " is larger than size " + std::to_string(options.shortest_edge));
  }
  if (json.contains("resample") && json["resample"] != 3) {
    return Status(Code::kUnsupported,
                  path + ": resample " + json["resample"].dump() + " is not 3 (bicubic), the only one there is");
  }
  if (json.contains("rescale_factor")) {
    if (!json["rescale_factor"].is_number()) return config.wrong("rescale_factor", "must be a number");
    options.rescale = json["rescale_factor"].get<double>();
  }
  TEPHRA_RETURN_IF_ERROR(config.triple("image_mean", options.mean_exact));
  double deviations[3] = {options.std[0], options.std[1], options.std[2]};
  TEPHRA_RETURN_IF_ERROR(config.triple("image_std", deviations));
  for (int c = 0; c < 3; ++c) {
    if (!(options.mean_exact[c] >= 0 && options.mean_exact[c] <= 1))
      return config.wrong("image_mean", "must lie between 0 and 1");
    if (!(deviations[c] > 0)) return config.wrong("image_std", "must be positive");
    options.mean[c] = static_cast<float>(options.mean_exact[c]);
    options.std[c] = static_cast<float>(deviations[c]);
  }
  return options;
}

Result<Aspect> parse_aspect(const std::string& name) {
  if (name == "square") return Aspect::kSquare;
  if (name == "pad") return Aspect::kPad;
  return Status(Code::kInvalidArgument, "image aspect '" + name + "' is neither square nor pad");
}

std::vector<float> preprocess(const Image& image, const PreprocessOptions& options) {
  const Image shown = resize_and_crop(canvas_for(image, options), options);
  const size_t pixels = shown.rgb.size() / 3;
  std::vector<float> out(3 * pixels);
  for (size_t c = 0; c < 3; ++c) {
    // 256 values are all there are. Rescaled in double and normalised in float, as transformers does.
    float table[256];
    for (int v = 0; v < 256; ++v)
      table[v] = (static_cast<float>(v * options.rescale) - options.mean[c]) / options.std[c];
    float* target = out.data() + c * pixels;
    for (size_t i = 0; i < pixels; ++i) target[i] = table[shown.rgb[3 * i + c]];
  }
  return out;
}

}  // namespace tephra::data
