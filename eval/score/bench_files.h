// Benches from the files that their authors publish: questions in, and answers that somebody's model gave. The formats are described
// in docs/evaluation.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "eval/score/questions.h"

namespace tephra::eval {

// Where a bench's files are; empty: not given, and for some benches not needed.
struct BenchFiles {
  std::string questions;    // file, or folder (pope, mme)
  std::string annotations;  // answers of people (vqav2)
  std::string images;       // folder
  std::string reference;    // answers of the reference model (llava_bench)
  std::string context;      // what the pictures show, in words (llava_bench)
};

// From the options of a dataset of kind `benchmark`.
BenchFiles bench_files(const std::map<std::string, std::string>& options);

// Kinds of benches that are read from files of their own: pope, mme, vqav2, textvqa, captions, llava_bench.
const std::vector<std::string>& file_bench_kinds();

// The words that a question of `kind` is asked with: behind the question (pope, mme, vqav2, textvqa), or in place of one (captions).
// Empty: the question alone.
std::string default_instruction(const std::string& kind);

// kNotFound, kInvalidArgument: the file and line or entry, and what the format is. Pictures are not opened, and need not be there.
Result<QuestionSet> load_bench_files(const std::string& kind, const BenchFiles& files, const std::string& instruction);

// Published answers by answer key (eval/score/questions.h). Answers to questions that the set lacks are counted in `unknown`.
Result<std::map<std::string, std::string>> load_bench_answers(const std::string& kind, const std::string& path,
                                                              const QuestionSet& set, int64_t* unknown);

}  // namespace tephra::eval
