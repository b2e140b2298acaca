#include "worker/bench_answers.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "eval/run/bench_runner.h"
#include "eval/score/answer_file.h"

namespace tephra::worker {
namespace {

bool is_answers_file(const std::string& name) { return name.starts_with("answers-") && name.ends_with(".jsonl"); }

}  // namespace

Status answer_bench(const AnswerOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(LoadedModel m, load_model(options.model));
  TEPHRA_ASSIGN_OR_RETURN(const auto questions, eval::load_questions(options.spec, options.dataset));
  eval::RunOptions run;
  run.rank = options.rank;
  run.world_size = options.world_size;
  run.batch = options.batch;
  run.max_new_tokens = options.spec.max_new_tokens;
  run.template_name = m.template_name;
  run.mode = eval::ask_mode(options.spec);
  run.prompt = options.spec.prompt;
  run.max_length = m.generator->config().text.max_position_embeddings;
  if (run.mode == eval::AskMode::kLoss) run.max_length = std::min(run.max_length, options.max_length);
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(options.out));
  TEPHRA_ASSIGN_OR_RETURN(const auto names, Env::posix().list(options.out));
  for (const std::string& name : names)
    if (is_answers_file(name)) run.answered.merge(eval::answered_keys(options.out + "/" + name));
  const std::string path = options.out + "/answers-" + std::to_string(options.rank) + ".jsonl";
  std::ofstream file(path, std::ios::app);
  file << "\n";  // ends a line that an earlier, killed process may have left torn
  return eval::run_bench(*m.generator, *m.tokenizer, m.preprocess, questions, run,
                         [&](const std::string& key, const std::string& text) -> Status {
                           const nlohmann::json row = {{"id", key}, {"text", text}};
                           file << row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n"
                                << std::flush;
                           if (file) return ok_status();
                           return {Code::kIo, "writing " + path + " failed"};
                         });
}

}  // namespace tephra::worker
