#include "worker/evaluator.h"

#include <algorithm>
#include <memory>

#include "eval/run/bench_runner.h"
#include "eval/score/answer_file.h"
#include "model/nn/generate.h"
#include "model/spec/lora.h"
#include "worker/stage_model.h"

namespace tephra::worker {

Status evaluate_bench(const TaskContext& context) {
  context.vitals->phase = "load";
  const recipes::BenchRecipe* bench = context.recipe.find_bench(context.options.bench);
  if (bench == nullptr) return {Code::kInvalidArgument, "the recipe has no bench '" + context.options.bench + "'"};
  if (!context.checkpoint) return {Code::kInvalidArgument, "evaluating bench '" + bench->name + "' needs a checkpoint"};
  auto dataset = context.options.datasets.find(bench->dataset);
  if (dataset == context.options.datasets.end())
    return {Code::kInvalidArgument, "dataset '" + bench->dataset + "' was not prepared"};

  TEPHRA_ASSIGN_OR_RETURN(ModelSource source, locate_model(context.recipe, context.options.model_dir));
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(source.paths, source.parts));
  TEPHRA_ASSIGN_OR_RETURN(auto tokenizer, data::Tokenizer::load(source.tokenizer_dir));
  TEPHRA_ASSIGN_OR_RETURN(auto preprocess, data::load_preprocess(source.image_dir));
  TEPHRA_ASSIGN_OR_RETURN(preprocess.aspect, data::parse_aspect(context.stage().image_aspect));
  std::unique_ptr<TensorSource> merged;
  if (const auto lora = model::lora_config(context.stage().lora)) {
    TEPHRA_ASSIGN_OR_RETURN(merged, model::merged_lora(*context.checkpoint, *lora));
  }
  TEPHRA_ASSIGN_OR_RETURN(auto generator, model::Generator::create(config, merged ? *merged : *context.checkpoint));
  const eval::BenchSpec spec = eval::bench_spec(*bench);
  TEPHRA_ASSIGN_OR_RETURN(auto questions, eval::load_questions(spec, dataset->second));

  eval::RunOptions options;
  options.mode = eval::ask_mode(spec);
  options.prompt = bench->prompt;
  options.max_length = config.text.max_position_embeddings;
  if (options.mode == eval::AskMode::kLoss)
    options.max_length = std::min(options.max_length, context.stage().max_length);
  options.rank = context.communicator->rank();
  options.world_size = context.communicator->world_size();
  options.batch = bench->batch;
  options.max_new_tokens = bench->max_new_tokens;
  // A stage trained on bare captions has no questions in it, so it is asked in the words that the next stage will be trained with.
  options.template_name = context.stage().template_name == "plain" ? "v1" : context.stage().template_name;
  if (!context.options.answers_file.empty()) options.answered = eval::answered_keys(context.options.answers_file);
  options.stop = [&] { return context.link->stop_requested(); };
  const auto total = eval::answer_count(questions) - static_cast<int64_t>(options.answered.size());
  context.vitals->phase = "evaluate";
  return eval::run_bench(*generator, *tokenizer, preprocess, questions, options,
                         [&](const std::string& key, const std::string& text) {
                           return context.link->send(cluster::Answers{bench->name, {{key, text, ""}}, total});
                         });
}

}  // namespace tephra::worker
