// A bench as a list of questions: the worker asks them, the coordinator scores the answers. Both build the same list from the
// same files, so only ids and texts travel between them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"
#include "data/prepared.h"
#include "eval/score/results.h"

namespace tephra::eval {

// What a recipe says of a bench, as far as questions and scores depend on it.
struct BenchSpec {
  std::string name;
  std::string kind = "scienceqa";         // scienceqa | instruct | vqa | loss | one of file_bench_kinds()
  std::string split = "test";             // scienceqa, vqa
  std::string part = "heldout";           // instruct, loss
  std::string prompt = "CQM-A";           // scienceqa
  std::string answer_rule = "scienceqa";  // scienceqa
  std::string score = "exact";            // instruct
  std::string instruction;                // kinds with files of their own: words behind the question
  std::string judge;                      // llava_bench: what judges, as it is pinned
  int64_t limit = 0;                      // so many questions, spread evenly over all; 0: all
  bool swap_images = false;
  int64_t max_new_tokens = 64;
};

// From a recipe's bench (recipes::BenchRecipe; a template, because recipes and eval do not know each other).
template <typename BenchRecipe>
BenchSpec bench_spec(const BenchRecipe& bench) {
  BenchSpec spec;
  spec.name = bench.name;
  spec.kind = bench.kind;
  if (!bench.split.empty()) spec.split = bench.split;  // empty: the kind's own default above
  if (!bench.part.empty()) spec.part = bench.part;
  spec.prompt = bench.prompt;
  spec.answer_rule = bench.answer_rule;
  spec.score = bench.score;
  spec.instruction = bench.instruction;
  spec.limit = bench.limit;
  spec.swap_images = bench.swap_images;
  spec.max_new_tokens = bench.max_new_tokens;
  return spec;
}

struct Question {
  std::string id;
  std::vector<data::Turn>
      turns;                  // the prompt; the last turn is the human's; "<image>\n" leads where there is a picture
  std::string image;          // absolute path; empty: none
  std::string swapped_image;  // another question's picture; empty unless swap_images and there is a picture
  std::vector<std::string> choices;
  std::string reference;                // the right letter, or text
  std::vector<std::string> references;  // of several people (vqav2, textvqa, captions); otherwise empty
  std::string group;                    // questions that count together (mme: of one picture)
  std::string context;                  // what the picture shows, in words (llava_bench)
  std::string category;
  int64_t problem = -1;                          // index into QuestionSet::problems (scienceqa)
  std::map<std::string, std::string> baselines;  // what answerers say that never see a picture (vqa): majority, blind
};

struct QuestionSet {
  std::vector<Question> questions;
  std::vector<data::ScienceQaProblem> problems;
  std::string data_hash;  // of the files it was read from
  std::string published;  // as BenchResult::published
};

// Order, the subset that `limit` leaves and swaps are pure functions of the files. Each picture question takes the picture of
// the next one, in a drawn order, whose picture is another file. A ScienceQA problem whose picture's file is absent is asked
// without.
Result<QuestionSet> load_questions(const BenchSpec& spec, const data::PreparedDataset& dataset);

// Fills Question::baselines of a vqa bench from the dataset's split train (eval/score/vqa.h); other kinds have none. For who
// scores: it reads all training questions, which who asks has no use for.
Status add_baselines(const BenchSpec& spec, const data::PreparedDataset& dataset, QuestionSet* set);

// How a bench's questions are put to a model: a text is generated, each choice's likelihood is taken, or the loss of given answers.
enum class AskMode { kGenerate, kChoices, kLoss };
AskMode ask_mode(const BenchSpec& spec);

// The question's own words, without the picture's mark.
std::string question_text(const Question& question);

// A ScienceQA problem as a question without its words to the model; `problem` is its place in QuestionSet::problems.
Question scienceqa_question(const data::ScienceQaProblem& problem, int64_t place);

// What QuestionSet::data_hash is of a bench whose questions are one file.
Result<std::string> hash_of_file(const std::string& path);

// Key of an answer: the question's id, with "#swapped" behind it when it was asked with the swapped picture.
std::string answer_key(const std::string& question_id, bool swapped);

// Questions, and those of them that are asked once more with another picture.
int64_t answer_count(const QuestionSet& set);

// answers: answer_key -> text. Missing answers count as unparsed. judgments (llava_bench): a judge's replies by judgment key
// (eval/score/judge.h). Fills everything in BenchResult.
Result<BenchResult> score_bench(const BenchSpec& spec, const QuestionSet& set,
                                const std::map<std::string, std::string>& answers,
                                const std::map<std::string, std::string>& judgments = {});

}  // namespace tephra::eval
