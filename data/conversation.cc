#include "data/conversation.h"

#include <nlohmann/json.hpp>

#include "base/env.h"
#include "data/columnar.h"

namespace tephra::data {
namespace {

using Json = nlohmann::json;

// Cuts a file into its samples' JSON texts without parsing them, so that a file of a gigabyte is never one tree in
// memory. It only has to know strings and brackets: what is between them the JSON parser judges.
class SampleScanner {
 public:
  SampleScanner(std::string_view text, const std::string& name) : text_(text), name_(name) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    skip_space();
    is_array_ = at_ < text_.size() && text_[at_] == '[';
    if (is_array_) ++at_;
  }

  // The next sample's text; empty at the end.
  Result<std::string_view> next() {
    skip_space();
    if (at_ == text_.size()) {
      if (is_array_) return failure("the array is not closed: the file is cut off");
      return std::string_view();
    }
    if (is_array_ && text_[at_] == ']') {
      ++at_;
      skip_space();
      if (at_ != text_.size()) return failure("there is text after the array's end");
      is_array_ = false;
      return std::string_view();
    }
    if (count_ > 0 && is_array_) {
      if (text_[at_] != ',') return failure("a comma is missing between two samples");
      ++at_;
      skip_space();
    }
    if (at_ == text_.size() || text_[at_] != '{') {
      if (count_ == 0) TEPHRA_RETURN_IF_ERROR(refuse_columnar(text_, name_));
      return failure(count_ == 0 && !is_array_ ? "neither a JSON array of samples nor JSON lines"
                                               : "a sample must be an object, {...}");
    }
    ++count_;
    sample_line_ = line_;
    return object();
  }

  int sample_line() const { return sample_line_; }

 private:
  Status failure(const std::string& what) const {
    return Status(Code::kInvalidArgument, name_ + ":" + std::to_string(line_) + ": " + what);
  }

  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == '\n') {
        ++line_;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  Result<std::string_view> object() {
    const size_t start = at_;
    int depth = 0;
    bool in_string = false;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == '\n') ++line_;
      if (in_string) {
        if (c == '\\') {
          ++at_;
        } else if (c == '"') {
          in_string = false;
        }
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth == 0) {
        ++at_;
        return text_.substr(start, at_ - start);
      }
    }
    at_ = text_.size();
    return Status(Code::kInvalidArgument,
                  name_ + ":" + std::to_string(sample_line_) +
                      ": the sample that begins here does not end: the file is cut off or a quote is missing");
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  int line_ = 1;
  int sample_line_ = 0;
  int count_ = 0;
  bool is_array_ = false;
};

// One sample's fields, with messages that say where in the file they are.
class SampleReader {
 public:
  SampleReader(const std::string& name, size_t index, int line) : name_(name), index_(index) { sample_.line = line; }

  Result<Sample> read(std::string_view text) {
    Json json;
    try {
      json = Json::parse(text);
    } catch (const Json::exception& error) {
      return failure("", std::string("not valid JSON: ") + error.what());
    }
    TEPHRA_RETURN_IF_ERROR(read_id(json));
    TEPHRA_RETURN_IF_ERROR(read_images(json));
    TEPHRA_RETURN_IF_ERROR(read_turns(json));
    return std::move(sample_);
  }

 private:
  Status failure(const std::string& field, const std::string& what) const {
    std::string where = name_ + ":" + std::to_string(sample_.line) + ": sample " + std::to_string(index_);
    if (!sample_.id.empty()) where += " (id \"" + sample_.id + "\")";
    if (!field.empty()) where += ": " + field;
    return Status(Code::kInvalidArgument, where + ": " + what);
  }

  Status read_id(const Json& json) {
    auto it = json.find("id");
    if (it == json.end() || it->is_null()) {
      sample_.id = "#" + std::to_string(index_);
    } else if (it->is_string()) {
      sample_.id = it->get<std::string>();
    } else if (it->is_number_integer()) {
      sample_.id = it->dump();
    } else {
      return failure("id", "must be a string or a whole number");
    }
    return ok_status();
  }

  // One path, or a list of them.
  Status read_images(const Json& json) {
    auto it = json.find("image");
    if (it == json.end() || it->is_null()) return ok_status();
    const auto add = [&](const Json& path, const std::string& field) {
      if (!path.is_string()) return failure(field, "must be a path as a string, or a list of such paths");
      sample_.images.push_back(path.get<std::string>());
      if (sample_.images.back().empty()) return failure(field, "is empty; leave the key out of a text-only sample");
      return ok_status();
    };
    if (!it->is_array()) return add(*it, "image");
    if (it->empty()) return failure("image", "is an empty list; leave the key out of a text-only sample");
    for (const Json& path : *it)
      TEPHRA_RETURN_IF_ERROR(add(path, "image[" + std::to_string(sample_.images.size()) + "]"));
    return ok_status();
  }

  Status read_turns(const Json& json) {
    auto it = json.find("conversations");
    if (it == json.end() && json.contains("instruction")) return read_instruction(json);
    if (it == json.end()) return failure("conversations", "is missing");
    if (!it->is_array() || it->empty()) return failure("conversations", "must be a list of at least one turn");
    for (const Json& turn : *it) {
      const std::string field = "conversations[" + std::to_string(sample_.turns.size()) + "]";
      if (!turn.is_object()) return failure(field, "must be an object with from and value");
      auto from = turn.find("from");
      auto value = turn.find("value");
      const std::string_view role = from == turn.end() ? "" : role_of(*from);
      if (role.empty()) {
        return failure(field + ".from", "must be \"human\" or \"gpt\"" +
                                            (from == turn.end() ? ", and is missing" : ", not " + from->dump()));
      }
      if (value == turn.end() || !value->is_string())
        return failure(field + ".value",
                       std::string("must be a string") + (value == turn.end() ? ", and is missing" : ""));
      sample_.turns.push_back({std::string(role), value->get<std::string>()});
    }
    return ok_status();
  }

  // LLaVA's names and those that ShareGPT's exports have; "" for another.
  static std::string_view role_of(const Json& from) {
    for (const char* name : {"human", "user"})
      if (from == name) return "human";
    for (const char* name : {"gpt", "assistant", "chatgpt", "bard", "bing"})
      if (from == name) return "gpt";
    return "";
  }

  // Alpaca's layout: the input, if there is one, stands on lines of its own behind the instruction.
  Status read_instruction(const Json& json) {
    std::string texts[3];
    const char* const names[] = {"instruction", "input", "output"};
    for (size_t i = 0; i < 3; ++i) {
      auto it = json.find(names[i]);
      if (i == 1 && (it == json.end() || it->is_null())) continue;
      if (it == json.end() || !it->is_string()) return failure(names[i], "must be a string");
      texts[i] = it->get<std::string>();
    }
    if (!texts[1].empty()) texts[0] += "\n" + texts[1];
    sample_.turns = {{"human", std::move(texts[0])}, {"gpt", std::move(texts[2])}};
    return ok_status();
  }

  const std::string& name_;
  size_t index_;
  Sample sample_;
};

}  // namespace

Status scan_conversations(std::string_view text, const std::string& name,
                          const std::function<Status(SampleText&&)>& visit) {
  SampleScanner scanner(text, name);
  for (size_t index = 0;; ++index) {
    TEPHRA_ASSIGN_OR_RETURN(std::string_view json, scanner.next());
    if (json.empty()) return ok_status();
    SampleReader reader(name, index, scanner.sample_line());
    TEPHRA_RETURN_IF_ERROR(visit({index, scanner.sample_line(), json, reader.read(json)}));
  }
}

Result<std::vector<Sample>> parse_conversations(std::string_view text, const std::string& name) {
  std::vector<Sample> samples;
  TEPHRA_RETURN_IF_ERROR(scan_conversations(text, name, [&](SampleText&& found) -> Status {
    TEPHRA_RETURN_IF_ERROR(found.sample.status());
    samples.push_back(std::move(found.sample).value());
    return ok_status();
  }));
  return samples;
}

Result<std::vector<Sample>> load_conversations(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(std::string text, read_file(Env::posix(), path));
  return parse_conversations(text, path);
}

int count_image_tags(const Sample& sample) {
  int count = 0;
  for (const Turn& turn : sample.turns) {
    for (size_t at = turn.value.find(kImageTag); at != std::string::npos;
         at = turn.value.find(kImageTag, at + kImageTag.size()))
      ++count;
  }
  return count;
}

}  // namespace tephra::data
