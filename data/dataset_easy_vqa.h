// Easy-VQA (Zhou 2019, "easy-VQA", the PyPI package easy-vqa): drawn pictures of one shape and questions about it whose
// answers are one word. Turned into LLaVA conversations to train on and question files to ask.
#pragma once

#include <string>
#include <string_view>

#include "base/env.h"
#include "base/status.h"

namespace tephra::data {

// LLaVA-1.5's words for a short answer (Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning"). Behind
// the first question of a conversation, in training and in evaluation alike.
inline constexpr std::string_view kShortAnswerPrompt = "Answer the question using a single word or phrase.";

struct EasyVqaOptions {
  std::string path;  // the package's data folder: train/ and test/, each with questions.json and images/ID.png
  int questions_per_sample = 0;  // most turns of a training sample; 0: all of a picture's, 2 to 21 in easy-vqa 1.0
  std::string out_dir;
};

// Makes the folder `options.out_dir`. Pictures stay where they are; samples name them from `options.path` on.
//   train.json            for each train picture a conversation of all its questions in an order of its own, or several
//                         of about equal length when there are more than questions_per_sample
//   captions.json         for each train picture what its questions and their answers tell of it, "A teal rectangle."
//   questions-train.json  a conversation of one question for each question, in the files' order
//   questions-test.json
//   dataset.json          as DatasetFolder writes it: of what, and how many pictures and questions
// Deterministic: equal questions give equal bytes. A folder that is complete for these questions is left alone.
// kNotFound: questions.json or a picture is missing. kInvalidArgument: questions.json is not of the package's layout,
// or questions_per_sample is negative. kCorruption, kUnsupported: a picture does not decode. Each names the file and
// what to do. Blocks, about a second.
Status write_easy_vqa_dataset(Env& env, const EasyVqaOptions& options);

}  // namespace tephra::data
