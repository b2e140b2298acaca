// Datasets as a recipe names them, turned into files that training and evaluation read. Generators write into a folder of the
// store once; readers of the user's files only check that those are there.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/status.h"

namespace tephra::data {

// Files of one part: LLaVA conversations (data/conversation.h) with the root of their pictures, or plain text, one document a line.
struct DatasetPart {
  std::string conversations;  // path; empty for a text part
  std::string images;         // folder; may be empty when no sample has a picture
  std::string text;           // path of a text file; empty for conversations
};

struct ScienceQaFiles {
  std::string problems, splits, images;
};

struct PreparedDataset {
  std::string kind;
  std::string dir;                             // where generated files are; empty for the user's own files
  std::map<std::string, std::string> options;  // of the recipe

  // kNotFound names the parts that the kind has.
  //   scenes: captions, instruct, heldout, corpus.  llava: "" (all).  scienceqa: train (made from the problems' train split,
  //   or minitrain).  easy_vqa: train, captions.  shapes, stamps: captions.  benchmark: none, its files are the options.
  Result<DatasetPart> part(const std::string& name) const;
  Result<ScienceQaFiles> scienceqa() const;  // scenes, scienceqa
  // easy_vqa: the questions of split train or test, each a conversation of two turns. kNotFound names the splits.
  Result<DatasetPart> questions(const std::string& split) const;
};

// Makes what is missing below `root` (a folder of generated datasets, one per kind and options) and returns where things are.
// Equal options, and equal files where those name any, give the same folder with the same bytes; a half-written folder of a killed
// process is made anew. Blocks; seconds.
// kNotFound, kInvalidArgument, kCorruption: the user's files, with the file and what to do. Disk errors as the Env's.
Result<PreparedDataset> prepare_dataset(const std::string& kind, const std::map<std::string, std::string>& options,
                                        const std::string& root);

}  // namespace tephra::data
