// The training problems of ScienceQA as LLaVA conversations, in the words that the bench asks in (data/scienceqa.h).
#pragma once

#include <string>

#include "base/env.h"
#include "base/status.h"

namespace tephra::data {

struct ScienceQaDatasetOptions {
  std::string problems, splits;  // problems.json, pid_splits.json
  std::string images;            // folder of <split>/<pid>/image.png; empty: no pictures
  int longest_prompt = 0;        // bytes; problems with a longer one are left out. 0: none
  std::string out_dir;
};

// Makes the folder `options.out_dir`:
//   train.json    a conversation for each problem of split train, or of minitrain where the files hold none of train:
//                 prompt and reply in format CQM-A. Without an image where the problem has none, or its file is absent.
//   dataset.json  as DatasetFolder writes it: of what, and how many samples, pictures, absent pictures and problems
//   left out
// Files that hold neither split (for a bench alone) give a folder without train.json.
// Deterministic: equal problems and pictures give equal bytes. A folder that is complete for these is left alone.
// Fails as load_scienceqa does; kInvalidArgument too when longest_prompt is negative or leaves nothing. Blocks,
// seconds.
Status write_scienceqa_dataset(Env& env, const ScienceQaDatasetOptions& options);

}  // namespace tephra::data
