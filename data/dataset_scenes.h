// Writes the world of scene_world.h as a dataset folder in the layouts that the rest of the program reads.
#pragma once

#include <cstdint>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace tephra::data {

struct SceneDatasetOptions {
  uint64_t seed = 1;
  int image_size = 48;      // pixels, even
  int train_scenes = 4000;  // pictures to learn from
  int validation_questions = 96;
  int test_questions = 384;
  int heldout_conversations = 96;  // samples of heldout.json
  int text_questions = 96;         // further test questions whose scene is told in the hint instead of shown
  int corpus_scenes = 0;           // scenes told in words in corpus.json; what the base language model is trained on
  std::string out_dir;
};

// Makes the folder `options.out_dir`:
//   images/train/NNNNNN.png, images/heldout/NNNNNN.png
//   captions.json       stage 1: one LLaVA conversation of two turns for each train picture, "<image>" and the caption
//   instruct.json       stage 2: conversations, detailed descriptions, complex reasoning, ScienceQA-format questions (prompts by
//                       scienceqa_prompt, format CQM-A) on the train pictures, and text-only samples
//   heldout.json        the first three kinds on pictures of the test split; nothing of it is in the other files
//   scenes.json         objects and boxes of every picture: [{"image", "width", "height", "caption", "split", "objects":
//                       [{"shape", "color", "size", "place", "box": [x0, y0, x1, y1]}]}]
//   scienceqa/problems.json, pid_splits.json, images/<split>/<pid>/image.png
//   corpus.json         text-only samples (LLaVA conversations without pictures) and {"text"} documents, if asked for
//   corpus.txt          the same as plain text, conversations in template v1: what a tokenizer is trained on
//   dataset.json        the options and a hash of every byte written. Written last: a folder without it is incomplete.
// Deterministic: equal options (out_dir aside) give equal bytes. If dataset.json already names these options, nothing is
// done; else what is there is overwritten. kInvalidArgument: a count or size out of range. kNoSpace, kPermission, kIo: from the disk; the
// folder is then incomplete and the next call redoes it. One caller at a time for a folder.
Status write_scene_dataset(Env& env, const SceneDatasetOptions& options);
Status write_scene_dataset(const SceneDatasetOptions& options);  // on Env::posix()

}  // namespace tephra::data
