// Asks a model a bench's questions. Each rank asks its own share. What a question is answered does not depend on the share, and on the
// batch up to rounding in the last bits; losses and likelihoods do not depend on the batch either.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "base/status.h"
#include "data/preprocess.h"
#include "data/tokenizer.h"
#include "eval/score/questions.h"
#include "model/nn/generate.h"

namespace tephra::eval {

struct RunOptions {
  int rank = 0, world_size = 1;
  int64_t batch = 8;  // questions decoded together
  int64_t max_new_tokens = 64;
  std::string template_name = "v1";
  AskMode mode = AskMode::kGenerate;
  int64_t max_length = 2048;       // tokens after which a conversation is cut (kLoss, as in training; kChoices)
  std::string prompt = "CQM-A";    // kChoices: the format whose replies are weighed
  std::set<std::string> answered;  // answer keys that need not be asked again
  std::function<bool()> stop;      // asked between batches; true ends with kCancelled; may be empty
};

// Calls on_answer(answer_key, text) for each question of this rank's share, swapped ones too. Batches hold prompts of like length
// and go round the ranks. kChoices gives each choice's likelihood (loglik_answer), kLoss the loss of the conversation's answers
// (loss_answer). A prompt that fills the model's context is not asked: rank 0 gives the empty answer, which counts as
// wrong. Blocks; an unreadable picture is an error that names question and file.
Status run_bench(model::Generator& generator, const data::Tokenizer& tokenizer,
                 const data::PreprocessOptions& preprocess, const QuestionSet& set, const RunOptions& options,
                 const std::function<Status(const std::string& key, const std::string& text)>& on_answer);

}  // namespace tephra::eval
