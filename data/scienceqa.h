// ScienceQA (Lu et al. 2022, "Learn to Explain"): its two files as published, problems.json (pid -> problem) and
// pid_splits.json (split -> pids), pictures at <image root>/<split>/<pid>/<image>. And the one place where a problem becomes
// a prompt, so that training conversations and evaluation ask in the same words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"

namespace tephra::data {

struct ScienceQaProblem {
  std::string pid;
  std::string question;
  std::vector<std::string> choices;
  int answer = 0;     // index into choices
  std::string hint;   // context; may be empty
  std::string image;  // file name within the problem's folder; empty: no picture ("image": null)
  std::string task;
  std::string grade;    // "grade7"
  std::string subject;  // "natural science", "social science", "language science"
  std::string topic;
  std::string category;
  std::string skill;
  std::string lecture;  // may be empty, as are lecture and solution in cut-down files
  std::string solution;
  std::string split;       // "train", "val", "test"
  std::string image_path;  // <image root>/<split>/<pid>/<image>; empty: no picture, or no image root
};

// The problems of `split` ("train", "val", "test", or a smaller split that the file names, such as "minival") that
// problems.json holds, in the order of pid_splits.json. Splits may name pids that problems.json lacks (cut-down copies).
// kNotFound: a file is missing, the split is not in pid_splits.json, or none of its pids is in problems.json.
// kInvalidArgument: not JSON, or a problem without choices, or with an answer past them; the message names file and pid.
// Pictures are not opened.
Result<std::vector<ScienceQaProblem>> load_scienceqa(const std::string& problems_path, const std::string& splits_path,
                                                     const std::string& split, const std::string& image_root);

// Whether `split` of the file names the 4,241 test problems of ScienceQA as published, by their ids; false also when it cannot be read.
bool is_published_scienceqa_test(const std::string& splits_path, const std::string& split);

// All problems of one file text, sorted as the file has them. For tests and tools; `where` names the file in errors.
Result<std::vector<ScienceQaProblem>> parse_scienceqa(std::string_view problems_json, const std::string& where);

// Whether `problem` has a picture whose file is there. Copies of ScienceQA without its pictures are common; their problems
// are asked, and trained on, without.
bool has_picture_file(const ScienceQaProblem& problem);

// The user's words for `problem`, without the "<image>\n" that stands before them when there is a picture.
// Formats:
//   "CQM-A"    question; "Context: hint" if there is a hint; "Options: (A) x (B) y"; "Answer with the option's letter from
//              the given choices directly." The reply is one letter.
//   "QCM-LEA"  "Question: ..", "Context: hint or N/A", "Options: (A) x (B) y": ScienceQA's own prompt (models/base_prompt.py)
//              without examples. The reply is lecture, solution and "The answer is A."
// kInvalidArgument for another format, or more than 26 choices.
Result<std::string> scienceqa_prompt(const ScienceQaProblem& problem, std::string_view format);

// The reply that training teaches for `format`: "B", or "<lecture> <solution> The answer is B.".
Result<std::string> scienceqa_reply(const ScienceQaProblem& problem, std::string_view format);

// Both, as a training sample has them.
Result<Exchange> scienceqa_exchange(const ScienceQaProblem& problem, std::string_view format);

// "(A) x (B) y (C) z"
std::string scienceqa_options(const std::vector<std::string>& choices);

}  // namespace tephra::data
