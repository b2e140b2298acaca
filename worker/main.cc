// tephra-worker: what needs LibTorch. mpirun starts `rank`; `tephra score`, `generate` and `chat` hand over to the others.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/version.h"
#include "worker/bench_answers.h"
#include "worker/calibrate.h"
#include "worker/chat.h"
#include "worker/inference.h"
#include "worker/model_server.h"
#include "worker/rank.h"

namespace {
using tephra::Code;

int finish(const tephra::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "tephra: %s\n", status.message().c_str());
  const Code code = status.code();
  return code == Code::kInvalidArgument || code == Code::kNotFound || code == Code::kUnsupported ||
                 code == Code::kCorruption
             ? 2
             : 1;
}

int finish(const tephra::Result<std::string>& result) {
  if (result.ok()) std::printf("%s\n", result->c_str());
  return finish(result.status());
}

void add_model(CLI::App* verb, tephra::worker::InferenceModel* model) {
  verb->add_option("--model", model->paths.model, "Hugging Face layout folder of a whole model");
  verb->add_option("--vision", model->paths.vision, "CLIP folder");
  verb->add_option("--connector", model->paths.connector, "connector .safetensors file or its folder");
  verb->add_option("--llm", model->paths.llm, "LLaMA folder");
  verb->add_option("--template", model->template_name, "plain, v1, llava_llama_2, ...");
  verb->add_option("--image-aspect", model->image_aspect, "square or pad");
  verb->add_option("--dtype", model->dtype, "float32, bfloat16 or float16: what it computes in");
  verb->add_option("--threads", model->threads, "compute threads; 0: all cores");
}

void accept_json(CLI::App* verb) {
  verb->add_flag_function(
      "--json", [](int64_t) {}, "accepted for uniformity: the output is always JSON");
}

void add_sampling(CLI::App* verb, tephra::model::Sampling* sampling) {
  verb->add_option("--temperature", sampling->temperature, "0: greedy");
  verb->add_option("--top-p", sampling->top_p, "draw from the fewest ids that reach it");
  verb->add_option("--top-k", sampling->top_k, "draw from so many ids; 0: all");
  verb->add_option("--repetition-penalty", sampling->repetition_penalty, "1: none");
  verb->add_option("--seed", sampling->seed);
}

bool model_is_named(const tephra::worker::InferenceModel& model) {
  const auto& p = model.paths;
  if (!p.model.empty() || (!p.vision.empty() && !p.connector.empty() && !p.llm.empty())) return true;
  std::fprintf(stderr, "tephra: name the model: --model DIR, or --vision DIR --connector FILE --llm DIR\n");
  return false;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Tephra's ranks and inference; usually started by tephra");
  app.set_version_flag("--version", "tephra-worker " + std::string(tephra::kVersion));
  app.require_subcommand(1);

  tephra::worker::RankOptions rank;
  auto* rank_verb = app.add_subcommand("rank", "one rank of a gang (started by mpirun or srun)");
  rank_verb->add_option("--coordinator", rank.coordinator, "HOST:PORT")->required();
  rank_verb->add_option("--coordinator-file", rank.coordinator_file, "file with the address of the next coordinator");
  rank_verb->add_option("--reattach-ms", rank.reattach_ms, "how long to go on without one");
  rank_verb->add_option("--job", rank.job)->required();
  rank_verb->add_option("--attempt", rank.attempt)->required();

  tephra::worker::ScoreOptions score;
  auto* score_verb = app.add_subcommand("score", "loss per sample over the supervised tokens");
  add_model(score_verb, &score.model);
  score_verb->add_option("--data", score.data, "conversations, JSON")->required();
  score_verb->add_option("--images", score.images, "root of the samples' pictures");
  score_verb->add_option("--max-length", score.max_length, "tokens a sample is cut to");
  accept_json(score_verb);

  tephra::worker::GenerateRequest request;
  auto* generate_verb = app.add_subcommand("generate", "one reply to one prompt");
  add_model(generate_verb, &request.model);
  generate_verb->add_option("--prompt", request.prompt)->required();
  generate_verb->add_option("--image", request.images,
                            "JPEG or PNG; may be given several times, for the prompt's <image> in order");
  generate_verb->add_option("--max-new-tokens", request.max_new_tokens);
  generate_verb->add_option("--stop", request.stop, "text that ends the reply; may be given several times");
  accept_json(generate_verb);
  add_sampling(generate_verb, &request.sampling);

  tephra::worker::AnswerOptions answer;
  std::vector<std::string> dataset_options;
  auto* answer_verb = app.add_subcommand("answer", "one process of those that answer a bench (started by tephra eval)");
  add_model(answer_verb, &answer.model);
  answer_verb->add_option("--kind", answer.spec.kind)->required();
  answer_verb->add_option("--split", answer.spec.split);
  answer_verb->add_option("--part", answer.spec.part);
  answer_verb->add_option("--prompt", answer.spec.prompt);
  answer_verb->add_option("--answer-rule", answer.spec.answer_rule);
  answer_verb->add_option("--instruction", answer.spec.instruction);
  answer_verb->add_option("--limit", answer.spec.limit);
  answer_verb->add_option("--max-new-tokens", answer.spec.max_new_tokens);
  answer_verb->add_option("--max-length", answer.max_length);
  answer_verb->add_option("--dataset-kind", answer.dataset.kind)->required();
  answer_verb->add_option("--dataset-option", dataset_options, "KEY=VALUE");
  answer_verb->add_option("--out", answer.out)->required();
  answer_verb->add_option("--rank", answer.rank);
  answer_verb->add_option("--world", answer.world_size);
  answer_verb->add_option("--batch", answer.batch);

  tephra::worker::ChatOptions chat;
  auto* chat_verb = app.add_subcommand("chat", "a conversation in the terminal");
  add_model(chat_verb, &chat.model);
  chat_verb->add_option("--image", chat.images,
                        "JPEG or PNG, shown with the first question; may be given several times");
  chat_verb->add_option("--max-new-tokens", chat.max_new_tokens);
  chat_verb->add_flag("--json", chat.json, "each reply as a JSON line");
  add_sampling(chat_verb, &chat.sampling);

  tephra::worker::ModelServerOptions serving;
  std::string listen = "127.0.0.1:8000", key_file;
  auto* serve_verb = app.add_subcommand("serve-model", "OpenAI's chat completions over HTTP");
  add_model(serve_verb, &serving.model);
  serve_verb->add_option("--listen", listen, "HOST:PORT; port 0: a free one");
  serve_verb->add_option("--name", serving.name, "of the model, as clients see it");
  serve_verb->add_option("--api-key-file", key_file, "file whose first line is the key that clients have to send");
  serve_verb->add_option("--max-new-tokens", serving.default_max_tokens, "of a request that names none");
  serve_verb->add_flag("--json", serving.json, "the address as a JSON line");

  tephra::worker::CalibrateOptions calibration;
  auto* calibrate_verb =
      app.add_subcommand("calibrate", "how fast this machine runs a recipe's model, for tephra plan --calibration");
  calibrate_verb->add_option("RECIPE", calibration.recipe)->required();
  calibrate_verb->add_option("--set", calibration.overrides, "override a field: a.b=value")->take_all();
  calibrate_verb->add_option("--stage", calibration.stage, "default: the last one");
  calibrate_verb->add_option("--tokens", calibration.tokens, "of a sample; default: max_length, at most 512");
  accept_json(calibrate_verb);
  calibrate_verb->footer(
      "Example, for a recipe of two ranks:\n"
      "  mpirun --bind-to none -n 2 tephra-worker calibrate recipe.yaml > speed.json\n"
      "  tephra plan recipe.yaml --calibration speed.json");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (rank_verb->parsed()) {
    const char* token = std::getenv("TEPHRA_GANG_TOKEN");
    rank.token = token == nullptr ? "" : token;
    return tephra::worker::run_rank(rank);
  }
  if (chat_verb->parsed()) {
    if (!model_is_named(chat.model)) return 2;
    chat.prompts = isatty(STDIN_FILENO) != 0;
    return finish(tephra::worker::chat(chat, std::cin, std::cout, std::cerr));
  }
  if (answer_verb->parsed()) {
    if (!model_is_named(answer.model)) return 2;
    answer.spec.name = answer.spec.kind;
    for (const std::string& option : dataset_options)
      answer.dataset.options[option.substr(0, option.find('='))] = option.substr(option.find('=') + 1);
    return finish(tephra::worker::answer_bench(answer));
  }
  if (serve_verb->parsed()) {
    if (!model_is_named(serving.model)) return 2;
    return finish(tephra::worker::serve_model(serving, listen, key_file));
  }
  if (calibrate_verb->parsed()) {
    const auto document = tephra::worker::calibrate_under_mpi(calibration);
    if (document.ok() && document->empty()) return 0;  // a rank beside the first
    return finish(document);
  }
  if (score_verb->parsed()) return model_is_named(score.model) ? finish(tephra::worker::score(score)) : 2;
  return model_is_named(request.model) ? finish(tephra::worker::generate(request)) : 2;
}
