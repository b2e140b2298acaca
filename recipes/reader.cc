#include "recipes/reader.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "recipes/number_text.h"
#include "recipes/schema.h"

namespace tephra::recipes {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

bool is_identifier(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

// A visitor of schema.h's table over one mapping.
class Reader {
 public:
  Reader(const Node& map, std::string path, const std::string& folder, Places* places,
         std::vector<Diagnostic>* diagnostics)
      : map_(map), path_(std::move(path)), folder_(folder), places_(places), diagnostics_(diagnostics) {}

  template <class T>
  void field(const char* name, T& member, const Field& field) {
    known_.push_back(name);
    const Node* node = map_.find(name);
    if (node == nullptr) {
      if (field.required) report(map_.place, inner(name), "required and missing", field.about);
      return;
    }
    note(name, *node);
    read(*node, inner(name), member, field);
  }

  template <class S>
  void group(const char* name, S& member, const char*) {
    known_.push_back(name);
    const Node* node = map_.find(name);
    if (node == nullptr) return;
    note(name, *node);
    read_struct(*node, inner(name), member);
  }

  template <class S>
  void group(const char* name, std::optional<S>& member, const char* about) {
    if (map_.find(name) != nullptr) return group(name, member.emplace(), about);
    known_.push_back(name);
  }

  template <class S>
  void list(const char* name, std::vector<S>& members, const char*) {
    known_.push_back(name);
    const Node* node = map_.find(name);
    if (node == nullptr) return;
    note(name, *node);
    if (node->kind != Node::Kind::kList)
      return report(node->place, inner(name), "expected a list, got " + describe(*node));
    for (size_t i = 0; i < node->items.size(); ++i) {
      const std::string path = inner(name) + "[" + std::to_string(i) + "]";
      (*places_)[path] = node->items[i].place;
      members.emplace_back();
      read_struct(node->items[i], path, members.back());
    }
  }

  template <class S>
  void named(const char* name, std::vector<S>& members, const char*) {
    known_.push_back(name);
    const Node* node = map_.find(name);
    if (node == nullptr) return;
    note(name, *node);
    if (node->kind != Node::Kind::kMap)
      return report(node->place, inner(name), "expected a mapping from names, got " + describe(*node));
    for (const auto& entry : node->entries) {
      const std::string path = inner(name) + "." + entry.key;
      (*places_)[path] = entry.place;
      if (!is_identifier(entry.key))
        report(entry.place, path, "'" + entry.key + "' is not a name", "use a-z, 0-9 and -");
      members.emplace_back();
      members.back().name = entry.key;
      read_struct(entry.value, path, members.back());
    }
  }

  void options(const std::string& kind, std::map<std::string, std::string>& out) {
    const auto& kinds = dataset_kinds();
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
      known_all_ = true;  // the kind's own message is enough
      return;
    }
    for (const auto& option : dataset_options(kind)) {
      known_.push_back(option.name);
      const Node* node = map_.find(option.name);
      if (node == nullptr) {
        if (option.required)
          report(map_.place, inner(option.name), "required by kind " + kind + " and missing", option.about);
        continue;
      }
      note(option.name, *node);
      read_option(*node, inner(option.name), option, out);
    }
  }

  // Keys that no call above asked for.
  void finish() {
    if (known_all_) return;
    for (const auto& entry : map_.entries) {
      if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
      const std::string nearest = nearest_name(entry.key, known_);
      report(entry.place, inner(entry.key), "unknown field",
             nearest.empty() ? "known here: " + joined(known_) : "did you mean " + nearest + "?");
    }
  }

 private:
  std::string inner(const std::string& name) const { return path_.empty() ? name : path_ + "." + name; }
  void note(const char* name, const Node& node) { (*places_)[inner(name)] = node.place; }
  void report(const Place& place, std::string field, std::string message, std::string hint = "") {
    diagnostics_->push_back(
        {place.file, place.line, place.column, std::move(field), std::move(message), std::move(hint)});
  }

  template <class S>
  void read_struct(const Node& node, const std::string& path, S& member) {
    if (node.kind != Node::Kind::kMap) return report(node.place, path, "expected a mapping, got " + describe(node));
    Reader reader(node, path, folder_, places_, diagnostics_);
    describe(reader, member);
    reader.finish();
  }
  // Two families share the name: describe(node) for messages and describe(visitor, struct) of the table.
  static std::string describe(const Node& node) { return recipes::describe(node); }
  template <class S>
  static void describe(Reader& reader, S& member) {
    recipes::describe(reader, member);
  }

  void read(const Node& node, const std::string& path, std::string& out, const Field& field) {
    if (node.kind != Node::Kind::kScalar) return report(node.place, path, "expected a text, got " + describe(node));
    const std::string& text = node.text;
    if (!field.allowed.empty() && std::find(field.allowed.begin(), field.allowed.end(), text) == field.allowed.end()) {
      const std::string nearest = nearest_name(text, field.allowed);
      return report(node.place, path, describe(node) + " is not one of " + joined(field.allowed),
                    nearest.empty() ? "" : "did you mean " + nearest + "?");
    }
    if (field.identifier && !is_identifier(text))
      return report(node.place, path, describe(node) + " is not a name", "use a-z, 0-9 and -, at most 64");
    out = field.path ? absolute(text) : text;
  }

  void read(const Node& node, const std::string& path, bool& out, const Field&) {
    if (node.kind != Node::Kind::kScalar || node.quoted || (node.text != "true" && node.text != "false"))
      return report(node.place, path, "expected true or false, got " + describe(node), quotes(node));
    out = node.text == "true";
  }

  void read(const Node& node, const std::string& path, int64_t& out, const Field& field) {
    const auto value =
        node.kind == Node::Kind::kScalar && !node.quoted ? parse_number<int64_t>(node.text) : std::nullopt;
    if (!value) return report(node.place, path, "expected an integer, got " + describe(node), quotes(node));
    if (in_bounds(node, path, static_cast<double>(*value), field)) out = *value;
  }

  void read(const Node& node, const std::string& path, double& out, const Field& field) {
    const auto value =
        node.kind == Node::Kind::kScalar && !node.quoted ? parse_number<double>(node.text) : std::nullopt;
    if (!value) return report(node.place, path, "expected a number, got " + describe(node), quotes(node));
    if (in_bounds(node, path, *value, field)) out = *value;
  }

  template <class T>
  void read(const Node& node, const std::string& path, std::vector<T>& out, const Field& field) {
    if (node.kind != Node::Kind::kList)
      return report(node.place, path, "expected a list, got " + describe(node),
                    node.text.empty() ? "" : "write [" + node.text + "]");
    out.assign(node.items.size(), T{});
    for (size_t i = 0; i < out.size(); ++i) {
      const std::string element = path + "[" + std::to_string(i) + "]";
      (*places_)[element] = node.items[i].place;
      read(node.items[i], element, out[i], field);
    }
  }

  bool in_bounds(const Node& node, const std::string& path, double value, const Field& field) {
    if (value < field.low || (field.above_low && value == field.low)) {
      report(node.place, path,
             node.text + " is too small, it has to be " + (field.above_low ? "above " : "at least ") +
                 number_text(field.low));
      return false;
    }
    if (value > field.high) {
      report(node.place, path, node.text + " is too large, it may be at most " + number_text(field.high));
      return false;
    }
    return true;
  }

  void read_option(const Node& node, const std::string& path, const DatasetOption& option,
                   std::map<std::string, std::string>& out) {
    if (option.type == DatasetOption::Type::kInteger) {
      int64_t value = 0;
      const size_t before = diagnostics_->size();
      read(node, path, value, Field{.low = option.low, .high = option.high});
      if (diagnostics_->size() == before) out[option.name] = std::to_string(value);
      return;
    }
    std::string value;
    read(node, path, value, Field{.path = option.type == DatasetOption::Type::kPath});
    out[option.name] = value;
  }

  static std::string quotes(const Node& node) { return node.quoted ? "take the quotes away" : ""; }

  std::string absolute(const std::string& text) const {
    if (text.empty()) return text;
    std::string path = (std::filesystem::path(folder_) / text).lexically_normal().string();
    if (path.size() > 1 && path.back() == '/') path.pop_back();
    return path;
  }

  const Node& map_;
  std::string path_;
  const std::string& folder_;
  Places* places_;
  std::vector<Diagnostic>* diagnostics_;
  std::vector<std::string> known_;
  bool known_all_ = false;
};

}  // namespace

Recipe read_recipe(const Node& root, const std::string& folder, Places* places, std::vector<Diagnostic>* diagnostics) {
  Recipe recipe;
  if (root.kind != Node::Kind::kMap) {
    diagnostics->push_back({root.place.file, root.place.line, root.place.column, "",
                            "a recipe is a mapping of fields, got " + describe(root), ""});
    return recipe;
  }
  Reader reader(root, "", folder, places, diagnostics);
  describe(reader, recipe);
  reader.finish();
  return recipe;
}

}  // namespace tephra::recipes
