// Two recipes, field by field.
#pragma once

#include <string>
#include <vector>

namespace tephra::recipes {

struct FieldDifference {
  std::string field;          // "stages[1].optimizer.lr"
  std::string before, after;  // as JSON: 0.002, "v1"; "-" where the recipe lacks the field
};

// Of two documents as to_json writes them, in the order of `after`'s fields with those that only `before` has behind;
// elements of lists are compared by their place. Text that is no JSON object counts as a recipe without fields.
std::vector<FieldDifference> differences(const std::string& before_json, const std::string& after_json);

}  // namespace tephra::recipes
