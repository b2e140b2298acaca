#include "data/convert.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "data/columnar.h"
#include "data/dataset_folder.h"
#include "data/scienceqa.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// --- reading

// The text of a message: a string, or parts of which pictures become tags.
Result<std::string> content_text(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return Status(Code::kInvalidArgument, "content must be a text or a list of parts");
  std::string out;
  for (const Json& part : content) {
    const std::string type = part.is_object() ? part.value("type", "") : "";
    if (type == "text" && part.contains("text") && part["text"].is_string())
      out += (out.empty() || out.ends_with('\n') ? "" : "\n") + part["text"].get<std::string>();
    else if (type == "image" || type == "image_url")
      out += (out.empty() || out.ends_with('\n') ? "" : "\n") + std::string(kImageTag) + "\n";
    else
      return Status(Code::kInvalidArgument, "content has a part that is neither text nor image");
  }
  return out;
}

// `messages` and `images` become LLaVA's keys; what is wrong beyond that, parse_conversations says.
Status rename_messages(Json* line) {
  if (const auto images = line->find("images"); images != line->end() && !line->contains("image")) {
    (*line)["image"] = *images;
    line->erase("images");
  }
  const auto messages = line->find("messages");
  if (messages == line->end()) return ok_status();
  if (!messages->is_array()) return {Code::kInvalidArgument, "messages must be a list"};
  Json turns = Json::array();
  std::string system;
  for (const Json& message : *messages) {
    if (!message.is_object() || !message.contains("role") || !message.contains("content"))
      return {Code::kInvalidArgument, "messages must be a list of objects with role and content"};
    TEPHRA_ASSIGN_OR_RETURN(std::string text, content_text(message["content"]));
    if (message["role"] == "system" && turns.empty()) {
      system += text + "\n\n";
      continue;
    }
    if (turns.empty()) text = system + text;
    turns.push_back({{"from", message["role"]}, {"value", std::move(text)}});
  }
  (*line)["conversations"] = std::move(turns);
  line->erase("messages");
  return ok_status();
}

Result<std::vector<Sample>> read_messages(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  TEPHRA_RETURN_IF_ERROR(refuse_columnar(text, path));
  std::string renamed;
  int number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    ++number;
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") != std::string::npos) {
      const std::string where = path + ":" + std::to_string(number);
      Json json = Json::parse(line, nullptr, false);
      if (!json.is_object()) return Status(Code::kInvalidArgument, where + ": not a JSON object; a line is one sample");
      TEPHRA_RETURN_IF_ERROR(rename_messages(&json).with_context(where));
      renamed += dump(json);
    }
    renamed += "\n";
  }
  return parse_conversations(renamed, path);
}

Result<std::vector<Sample>> read_coco_captions(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  const auto bad = [&](const std::string& what) { return Status(Code::kInvalidArgument, path + ": " + what); };
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("images") || !json.contains("annotations"))
    return bad("no images and annotations, as COCO's captions_*.json has");
  std::map<std::string, std::string> files;
  std::vector<Sample> samples;
  try {
    for (const Json& image : json["images"]) files[image.at("id").dump()] = image.at("file_name").get<std::string>();
    for (const Json& caption : json["annotations"]) {
      const std::string id = caption.at("id").dump();
      const auto file = files.find(caption.at("image_id").dump());
      if (file == files.end()) return bad("caption " + id + " is of an image that is not there");
      const char* prompt = kDescribePrompts[samples.size() % std::size(kDescribePrompts)];
      samples.push_back(
          {id,
           {file->second},
           {{"human", std::string(kImageTag) + "\n" + prompt}, {"gpt", caption.at("caption").get<std::string>()}}});
    }
  } catch (const Json::exception& error) {
    return bad(error.what());
  }
  return samples;
}

Result<std::vector<Sample>> read_scienceqa(const ConvertInput& input) {
  if (input.splits.empty())
    return Status(Code::kInvalidArgument, "ScienceQA's pid_splits.json is not named; --splits FILE names it");
  TEPHRA_ASSIGN_OR_RETURN(const auto problems, load_scienceqa(input.path, input.splits, input.split, input.images));
  std::vector<Sample> samples;
  for (const ScienceQaProblem& problem : problems) {
    TEPHRA_ASSIGN_OR_RETURN(Exchange exchange, scienceqa_exchange(problem, input.prompt));
    Sample sample{problem.pid, {}, {{"human", std::move(exchange.question)}, {"gpt", std::move(exchange.answer)}}};
    if (has_picture_file(problem)) {
      sample.images.push_back(problem.split + "/" + problem.pid + "/" + problem.image);
      sample.turns[0].value = std::string(kImageTag) + "\n" + sample.turns[0].value;
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

// --- writing

Status cannot_hold(const Sample& sample, const std::string& why) {
  return {Code::kInvalidArgument, "sample '" + sample.id + "' " + why};
}

Json head(const Sample& sample) {
  Json out = Json::object();
  if (!sample.id.starts_with('#')) out["id"] = sample.id;
  if (sample.images.size() == 1) out["image"] = sample.images[0];
  if (sample.images.size() > 1) out["image"] = sample.images;
  return out;
}

Result<Json> llava_json(const Sample& sample) {
  Json out = head(sample);
  out["conversations"] = Json::array();
  for (const Turn& turn : sample.turns) out["conversations"].push_back({{"from", turn.from}, {"value", turn.value}});
  return out;
}

Result<Json> sharegpt_json(const Sample& sample) {
  if (!sample.images.empty()) return cannot_hold(sample, "has a picture, and ShareGPT's layout is text only");
  return llava_json(sample);
}

Result<Json> alpaca_json(const Sample& sample) {
  if (!sample.images.empty()) return cannot_hold(sample, "has a picture, and Alpaca's layout is text only");
  if (sample.turns.size() != 2 || sample.turns[0].from != "human" || sample.turns[1].from != "gpt")
    return cannot_hold(sample, "is not one question and one answer, which is all that Alpaca's layout holds");
  Json out = head(sample);
  out["instruction"] = sample.turns[0].value;
  out["input"] = "";
  out["output"] = sample.turns[1].value;
  return out;
}

Result<Json> messages_json(const Sample& sample) {
  Json out = head(sample);
  out["messages"] = Json::array();
  for (const Turn& turn : sample.turns)
    out["messages"].push_back({{"role", turn.from == "human" ? "user" : "assistant"}, {"content", turn.value}});
  return out;
}

Result<std::string> write_coco(const std::vector<Sample>& samples) {
  Json out{{"images", Json::array()}, {"annotations", Json::array()}};
  std::map<std::string, int64_t> ids;
  for (const Sample& sample : samples) {
    if (sample.images.size() != 1 || sample.turns.size() != 2)
      return cannot_hold(sample, "is not one picture with one caption, which is all that COCO's captions hold");
    const auto [at, is_new] = ids.emplace(sample.images[0], static_cast<int64_t>(ids.size()) + 1);
    if (is_new) out["images"].push_back({{"id", at->second}, {"file_name", sample.images[0]}});
    // COCO's ids are numbers; others are numbered anew.
    Json id = static_cast<int64_t>(out["annotations"].size()) + 1;
    if (!sample.id.empty() && sample.id.size() < 18 && sample.id.find_first_not_of("0123456789") == std::string::npos)
      id = std::stoll(sample.id);
    out["annotations"].push_back({{"id", id}, {"image_id", at->second}, {"caption", sample.turns[1].value}});
  }
  return dump(out) + "\n";
}

}  // namespace

std::vector<std::string> readable_layouts() { return {"llava", "sharegpt", "alpaca", "messages", "coco", "scienceqa"}; }
std::vector<std::string> writable_layouts() { return {"llava", "sharegpt", "alpaca", "messages", "coco"}; }

Result<std::vector<Sample>> read_layout(const ConvertInput& input) {
  if (input.layout == "llava" || input.layout == "sharegpt" || input.layout == "alpaca")
    return load_conversations(input.path);
  if (input.layout == "messages") return read_messages(input.path);
  if (input.layout == "coco") return read_coco_captions(input.path);
  if (input.layout == "scienceqa") return read_scienceqa(input);
  return Status(Code::kInvalidArgument, "there is no layout '" + input.layout + "' to read");
}

Result<std::string> write_layout(const std::vector<Sample>& samples, const std::string& layout) {
  if (layout == "coco") return write_coco(samples);
  const std::map<std::string, Result<Json> (*)(const Sample&)> writers{
      {"llava", llava_json}, {"sharegpt", sharegpt_json}, {"alpaca", alpaca_json}, {"messages", messages_json}};
  const auto writer = writers.find(layout);
  if (writer == writers.end()) return Status(Code::kInvalidArgument, "there is no layout '" + layout + "' to write");
  Json array = Json::array();
  std::string lines;
  for (const Sample& sample : samples) {
    TEPHRA_ASSIGN_OR_RETURN(Json json, writer->second(sample));
    if (layout == "messages")
      lines += dump(json) + "\n";
    else
      array.push_back(std::move(json));
  }
  return layout == "messages" ? lines : json_lines(array);
}

}  // namespace tephra::data
