// Which verb and which noun an instruction turns on, for the plot that LLaVA's and Self-Instruct's papers show of their data.
// Not a parser: the first word of the text that is on a list of verbs (other than be, do, have and seem, which only count where
// there is no other), and the first word after it that is neither on that list nor on one of words to pass over.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace tephra::data {

class VerbNoun {
 public:
  // words.json (recipes/datagen/README.md). kNotFound, kInvalidArgument.
  static Result<VerbNoun> load(const std::string& path);
  // Both in their base form as far as simple endings tell; either may be empty.
  std::pair<std::string, std::string> of(const std::string& instruction) const;

 private:
  std::string verb_of(const std::string& word) const;

  std::set<std::string> verbs_, weak_, skip_;
  std::map<std::string, std::string> forms_;
};

// Counts of pairs, the most frequent verbs first, of each its nouns.
struct VerbNounCounts {
  struct Verb {
    std::string verb;
    uint64_t count = 0;
    std::vector<std::pair<std::string, uint64_t>> nouns;
  };
  std::vector<Verb> verbs;
  uint64_t instructions = 0;  // all that were looked at
};
VerbNounCounts count_verb_nouns(const VerbNoun& words, const std::vector<std::string>& instructions, size_t verbs_max,
                                size_t nouns_max);

// Two rings as SVG: verbs inside, their nouns outside, by share. Empty counts give an empty text.
std::string verb_noun_svg(const VerbNounCounts& counts);

}  // namespace tephra::data
