// The data card of generated instruction data: what it was made from and by, how much of it there is, how long it is, what was
// rejected and why, and which verbs and nouns its instructions turn on.
#pragma once

#include <string>

#include "data/datagen/generate.h"
#include "data/datagen/verb_noun.h"

namespace tephra::data {

struct CardInfo {
  std::string title = "Instruction data";
  std::string captions, instances;  // input files
  std::string teacher;              // model's name, or "local"
  std::string prompts_hash;
  uint64_t seed = 0;
  uint64_t pictures = 0;
  std::string content_hash;  // of the file of samples
  double cost = 0;           // USD; 0: none
};

std::string card_markdown(const Generated& generated, const CardInfo& info, const VerbNoun& words);
// One file that opens without a network; the same tables and the plot.
std::string card_html(const Generated& generated, const CardInfo& info, const VerbNoun& words);

}  // namespace tephra::data
