// A parsed document with the place of every node: what yaml-cpp's events and nlohmann's values are turned into, so that
// one reader and one set of messages serve files, overrides and shipped JSON.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/diagnostic.h"

namespace tephra::recipes {

struct Place {
  std::string file;
  int line = 0;    // 1-based; 0: no line (an override, shipped JSON)
  int column = 0;  // 1-based
};

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string text;     // scalar
  bool quoted = false;  // scalar written in quotes: text, never a number
  Place place;
  std::vector<Entry> entries;  // map
  std::vector<Node> items;     // list

  Node* find(const std::string& key);  // map: the value of `key`, or nullptr
  const Node* find(const std::string& key) const { return const_cast<Node*>(this)->find(key); }
};

struct Node::Entry {
  std::string key;
  Place place;  // of the key
  Node value;
};

// "a mapping", "a list", "nothing", or the scalar in quotes (cut after 40 bytes): for messages.
std::string describe(const Node& node);

// One YAML document. Anchors, aliases, merge keys, tags, several documents, keys given twice, tabs in the indentation,
// nesting past 16 levels: refused with a diagnostic each. An empty text gives a kNull node and no diagnostic.
Node parse_yaml(const std::string& text, const std::string& file, std::vector<Diagnostic>* diagnostics);

// JSON, with the same limits; numbers keep their digits.
Node parse_json(const std::string& text, const std::string& file, std::vector<Diagnostic>* diagnostics);

// Sets the node at `a.b[1].c` to the YAML value after the `=`, making mappings on the way; an element of a list is
// named by its index or, where the elements have a name, by that (stages.align.steps=5). An empty value takes the key
// away (its default counts).
void apply_override(const std::string& text, Node* root, std::vector<Diagnostic>* diagnostics);

}  // namespace tephra::recipes
