// What is wrong with the user's input, where, and what to do. Collected, never thrown; shown all together.
#pragma once

#include <string>
#include <vector>

namespace tephra {

struct Diagnostic {
  std::string file;
  int line = 0;         // 1-based; 0: no place known
  int column = 0;       // 1-based
  std::string field;    // "stages[1].global_batch"; empty: the file as a whole
  std::string message;  // value and rule
  std::string hint;     // remedy, or the nearest valid name; may be empty

  // "stage2.yaml:41:19: stages[1].global_batch: 96 is not ...; use 128"
  std::string to_string() const;
};

std::string to_string(const std::vector<Diagnostic>& diagnostics);  // one a line

// The element of `candidates` closest to `word` by edit distance, or "" when none is within a third of its length (at least 2).
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace tephra
