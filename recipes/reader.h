// First pass: a tree to a recipe, every field by itself (type, bounds, allowed values, unknown and missing keys).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "recipes/tree.h"

namespace tephra::recipes {

// Where each field that was given stands, by path ("stages[1].global_batch"), for the messages of the second pass.
using Places = std::map<std::string, Place>;

// Relative paths are joined to `folder` (absolute). Findings are appended; the recipe holds defaults where they are.
Recipe read_recipe(const Node& root, const std::string& folder, Places* places, std::vector<Diagnostic>* diagnostics);

// Second pass: rules across fields, each message naming both. Call only when the first pass found nothing.
void check_rules(const Recipe& recipe, const Places& places, std::vector<Diagnostic>* diagnostics);

// Fills in what depends on other fields: init, evaluate, split, part, title. Call when both passes found nothing.
void resolve(Recipe* recipe, const Places& places);

}  // namespace tephra::recipes
