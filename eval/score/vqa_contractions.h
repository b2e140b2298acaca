// The contractions that VQA's evaluation writes with their apostrophes (the table of vqaEval.py, Antol et al. 2015).
#pragma once

#include <string>

namespace tephra::eval {

// "dont" is "don't"; other words, and words that are written right, stay. Lower case.
std::string with_apostrophe(const std::string& word);

}  // namespace tephra::eval
