#include "recipes/tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace tephra::recipes {
namespace {

constexpr size_t kDepthMax = 16;

Diagnostic at(const Place& place, std::string field, std::string message, std::string hint = "") {
  return {place.file, place.line, place.column, std::move(field), std::move(message), std::move(hint)};
}

// Builds the tree from events rather than from YAML::Node: only the events tell anchors, tags and the places of keys,
// and an alias is refused before anything is expanded.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string file, std::vector<Diagnostic>* diagnostics)
      : file_(std::move(file)), diagnostics_(diagnostics) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(leaf(Node::Kind::kNull, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not part of the recipe language", "write the value out");
    add(leaf(Node::Kind::kNull, mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    Node node = leaf(Node::Kind::kScalar, mark);
    node.text = value;
    node.quoted = tag == "!";
    // yaml-cpp hands plain ~ and null over as scalars when they are written out.
    if (!node.quoted && (value == "~" || value == "null")) node.kind = Node::Kind::kNull, node.text.clear();
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Node node;
    std::optional<Node> key;  // of a map: read, its value not yet
  };

  Place place(const YAML::Mark& mark) const { return {file_, mark.line + 1, mark.column + 1}; }
  Node leaf(Node::Kind kind, const YAML::Mark& mark) const {
    Node node;
    node.kind = kind;
    node.place = place(mark);
    return node;
  }
  void refuse(const YAML::Mark& mark, std::string message, std::string hint) {
    diagnostics_->push_back(at(place(mark), "", std::move(message), std::move(hint)));
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(mark, "anchors (&name) are not part of the recipe language", "take the anchor away");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark, "tags (" + tag + ") are not part of the recipe language", "take the tag away");
  }
  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (open_.size() >= kDepthMax) throw YAML::ParserException(mark, "nested more than 16 levels deep");
    open_.push_back({leaf(kind, mark), std::nullopt});
  }
  void close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }
  void add(Node node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == Node::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.key) {
      parent.key = std::move(node);
    } else {
      add_entry(parent, std::move(node));
    }
  }
  void add_entry(Open& parent, Node value) {
    Node key = std::move(*parent.key);
    parent.key.reset();
    if (key.kind != Node::Kind::kScalar) {
      diagnostics_->push_back(at(key.place, "", "a key has to be a word, got " + describe(key)));
      return;
    }
    if (key.text == "<<") {
      diagnostics_->push_back(
          at(key.place, "", "merge keys (<<) are not part of the recipe language", "write the fields out"));
      return;
    }
    for (const auto& entry : parent.node.entries) {
      if (entry.key != key.text) continue;
      diagnostics_->push_back(
          at(key.place, key.text, "given twice, first in line " + std::to_string(entry.place.line), "keep one"));
      return;
    }
    parent.node.entries.push_back({key.text, key.place, std::move(value)});
  }

  std::string file_;
  std::vector<Diagnostic>* diagnostics_;
  std::vector<Open> open_;
  Node root_;
};

// yaml-cpp takes some tabs for blanks and fails far from others, so they are looked for first.
bool find_tabs(const std::string& text, const std::string& file, std::vector<Diagnostic>* diagnostics) {
  std::istringstream lines(text);
  std::string line;
  bool found = false;
  for (int number = 1; std::getline(lines, line); ++number) {
    const size_t first = line.find_first_not_of(" \t");
    if (first == std::string::npos) continue;
    const size_t tab = line.find('\t');
    if (tab >= first) continue;
    diagnostics->push_back(
        at({file, number, static_cast<int>(tab) + 1}, "", "tab in the indentation", "indent with spaces"));
    found = true;
  }
  return found;
}

Node from_json_value(const nlohmann::ordered_json& value, const Place& place) {
  Node node;
  node.place = place;
  if (value.is_object()) {
    node.kind = Node::Kind::kMap;
    for (const auto& [key, item] : value.items()) node.entries.push_back({key, place, from_json_value(item, place)});
  } else if (value.is_array()) {
    node.kind = Node::Kind::kList;
    for (const auto& item : value) node.items.push_back(from_json_value(item, place));
  } else if (!value.is_null()) {
    node.kind = Node::Kind::kScalar;
    node.quoted = value.is_string();
    node.text = node.quoted ? value.get<std::string>() : value.dump();
  }
  return node;
}

struct Step {
  std::string key;  // empty: an index
  size_t index = 0;
};

// "a.b[1].c" to steps; nothing when it is not a path.
std::optional<std::vector<Step>> parse_path(const std::string& path) {
  std::vector<Step> steps;
  std::istringstream parts(path);
  std::string part;
  while (std::getline(parts, part, '.')) {
    const size_t bracket = part.find('[');
    const std::string key = part.substr(0, bracket);
    if (key.empty() ||
        key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != std::string::npos)
      return std::nullopt;
    steps.push_back({key, 0});
    if (bracket == std::string::npos) continue;
    const std::string digits = part.substr(bracket + 1, part.size() - bracket - 2);
    if (part.back() != ']' || digits.empty() || digits.size() > 6 ||
        digits.find_first_not_of("0123456789") != std::string::npos)
      return std::nullopt;
    steps.push_back({"", std::stoul(digits)});
  }
  if (steps.empty() || path.back() == '.') return std::nullopt;
  return steps;
}

// The element of `list` that `step` names, or nullptr with `problem` set.
Node* list_element(Node& list, const Step& step, std::string* problem) {
  if (step.key.empty()) {
    if (step.index < list.items.size()) return &list.items[step.index];
    *problem =
        "there is no element " + std::to_string(step.index) + ", the list has " + std::to_string(list.items.size());
    return nullptr;
  }
  for (auto& item : list.items)
    if (const Node* name = item.find("name"); name != nullptr && name->text == step.key) return &item;
  *problem = "no element of the list is named '" + step.key + "'";
  return nullptr;
}

Node* map_element(Node& map, const Step& step, const Place& place, std::string* problem) {
  if (map.kind == Node::Kind::kNull) map.kind = Node::Kind::kMap, map.place = place;
  if (step.key.empty() || map.kind != Node::Kind::kMap) {
    *problem = "is " + describe(map) + (step.key.empty() ? ", not a list" : ", which has no fields");
    return nullptr;
  }
  if (Node* child = map.find(step.key)) return child;
  map.entries.push_back({step.key, place, Node{}});
  map.entries.back().value.place = place;
  return &map.entries.back().value;
}

void erase_key(Node& map, const std::string& key) {
  std::erase_if(map.entries, [&](const Node::Entry& entry) { return entry.key == key; });
}

}  // namespace

Node* Node::find(const std::string& key) {
  for (auto& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "a mapping";
    case Node::Kind::kScalar: break;
  }
  return "'" + (node.text.size() > 40 ? node.text.substr(0, 40) + "..." : node.text) + "'";
}

Node parse_yaml(const std::string& text, const std::string& file, std::vector<Diagnostic>* diagnostics) {
  if (find_tabs(text, file, diagnostics)) return {};
  TreeBuilder builder(file, diagnostics);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    Node root = builder.take();
    TreeBuilder second(file, diagnostics);
    if (parser.HandleNextDocument(second))
      diagnostics->push_back(
          at(second.take().place, "", "a second document (---) in the file", "one file is one recipe"));
    return root;
  } catch (const YAML::Exception& e) {
    diagnostics->push_back(at({file, e.mark.line + 1, e.mark.column + 1}, "", "not readable as YAML: " + e.msg));
  } catch (const std::exception& e) {
    diagnostics->push_back(at({file, 0, 0}, "", std::string("not readable as YAML: ") + e.what()));
  }
  return {};
}

Node parse_json(const std::string& text, const std::string& file, std::vector<Diagnostic>* diagnostics) {
  const auto value = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    diagnostics->push_back(at({file, 0, 0}, "", "not readable as JSON"));
    return {};
  }
  return from_json_value(value, {file, 0, 0});
}

void apply_override(const std::string& text, Node* root, std::vector<Diagnostic>* diagnostics) {
  const Place place{"--set " + text, 0, 0};
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    diagnostics->push_back(at(place, "", "not of the form path=value", "for example gang.ranks=4"));
    return;
  }
  const std::string path = text.substr(0, equals);
  const auto steps = parse_path(path);
  if (!steps) {
    diagnostics->push_back(at(place, "", "'" + path + "' is not a path", "for example stages[1].optimizer.lr=1e-4"));
    return;
  }
  std::vector<Diagnostic> problems;
  Node value = parse_yaml(text.substr(equals + 1), place.file, &problems);
  if (!problems.empty()) {
    diagnostics->push_back(at(place, path, problems.front().message, problems.front().hint));
    return;
  }
  const std::function<void(Node&)> forget_lines = [&](Node& node) {
    node.place = place;
    for (auto& entry : node.entries) entry.place = place, forget_lines(entry.value);
    for (auto& item : node.items) forget_lines(item);
  };
  forget_lines(value);

  Node* node = root;
  Node* parent = nullptr;
  std::string seen;
  for (const Step& step : *steps) {
    std::string problem;
    Node* next = node->kind == Node::Kind::kList ? list_element(*node, step, &problem)
                                                 : map_element(*node, step, place, &problem);
    if (next == nullptr) {
      diagnostics->push_back(at(place, seen, problem));
      return;
    }
    parent = node;
    node = next;
    seen += step.key.empty() ? "[" + std::to_string(step.index) + "]" : (seen.empty() ? "" : ".") + step.key;
  }
  if (value.kind == Node::Kind::kNull && !steps->back().key.empty() && parent->kind == Node::Kind::kMap) {
    erase_key(*parent, steps->back().key);
    return;
  }
  *node = std::move(value);
}

}  // namespace tephra::recipes
