#include "cli/eval_model.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/env.h"
#include "base/program.h"
#include "cli/app.h"
#include "cli/eval_judged.h"
#include "cli/judge_options.h"
#include "cli/programs.h"
#include "cli/store_option.h"
#include "coordinator/judging.h"
#include "eval/score/answer_file.h"
#include "eval/score/json_lines.h"
#include "storage/index/store.h"

extern char** environ;

namespace tephra::cli {
namespace {

using Words = std::vector<std::string>;

Result<pid_t> start(const std::string& program, const Words& arguments) {
  Words all = {program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : all) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  // What it prints is for people: stdout is the result's.
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  const int error = posix_spawn(&pid, program.c_str(), &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status(Code::kIo, program + " could not be started: " + std::strerror(error));
  return pid;
}

// Whether it ended well.
bool wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// What a checkpoint says of itself is what it is evaluated with; another value given is refused.
Status check_handover(const std::string& checkpoint, const std::map<std::string, std::string>& handover,
                      const char* key, std::string* value) {
  const auto found = handover.find(key);
  if (found == handover.end()) return ok_status();
  // A stage on bare captions has no questions in it, so it is asked in the words that the next stage will be trained with.
  const std::string own = std::string(key) == "template" && found->second == "plain" ? "v1" : found->second;
  if (value->empty()) *value = own;
  if (*value == own) return ok_status();
  return {Code::kMismatch, "checkpoint " + checkpoint + " was made with " + key + " " + own + ", not " + *value +
                               "; leave the option out"};
}

Status export_checkpoint(ModelEval* o) {
  if (!o->model.empty() || !o->vision.empty())
    return {Code::kInvalidArgument, "--checkpoint and a model's folders are both given; leave one out"};
  TEPHRA_ASSIGN_OR_RETURN(auto store, storage::Store::open(Env::posix(), o->store, storage::OpenMode::kReadOnly));
  TEPHRA_ASSIGN_OR_RETURN(const storage::Manifest manifest, store->get(o->checkpoint));
  o->checkpoint = manifest.name();  // not @latest or a tag, which may name another tomorrow
  TEPHRA_RETURN_IF_ERROR(check_handover(manifest.name(), manifest.handover, "template", &o->template_name));
  TEPHRA_RETURN_IF_ERROR(check_handover(manifest.name(), manifest.handover, "image_aspect", &o->image_aspect));
  o->model = o->output.out + "/model-" + manifest.content_hash.hex().substr(0, 12);
  if (Env::posix().exists(o->model + "/config.json")) return ok_status();  // of an earlier call
  TEPHRA_ASSIGN_OR_RETURN(const std::string folder, program_folder());
  TEPHRA_ASSIGN_OR_RETURN(const pid_t pid, start(folder + "/tephra", {"ckpt", "export", manifest.name(), "--store",
                                                                      o->store, "--out", o->model}));
  if (wait_for(pid)) return ok_status();
  return {Code::kInternal, "checkpoint " + manifest.name() + " could not be exported to " + o->model};
}

Words model_words(const ModelEval& o) {
  Words out;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) out.insert(out.end(), {option, value});
  };
  add("--model", o.model), add("--vision", o.vision), add("--connector", o.connector), add("--llm", o.llm);
  add("--template", o.template_name), add("--image-aspect", o.image_aspect), add("--dtype", o.dtype);
  return out;
}

Words bench_words(const ModelEval& o) {
  Words out = {"--kind",           o.spec.kind,
               "--split",          o.spec.split,
               "--prompt",         o.spec.prompt,
               "--answer-rule",    o.spec.answer_rule,
               "--limit",          std::to_string(o.spec.limit),
               "--max-new-tokens", std::to_string(o.spec.max_new_tokens),
               "--max-length",     std::to_string(o.max_length),
               "--dataset-kind",   o.dataset.kind};
  if (!o.spec.instruction.empty()) out.insert(out.end(), {"--instruction", o.spec.instruction});
  for (const auto& [key, value] : o.dataset.options)
    if (!value.empty()) out.insert(out.end(), {"--dataset-option", key + "=" + value});
  return out;
}

// Refuses a folder with answers of another model or bench.
Status claim_folder(const std::string& out, const Words& what) {
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(out));
  const std::string path = out + "/asked.json", text = nlohmann::json(what).dump(1) + "\n";
  if (!Env::posix().exists(path)) return write_file_atomic(Env::posix(), path, text);
  TEPHRA_ASSIGN_OR_RETURN(const std::string before, read_file(Env::posix(), path));
  if (before == text) return ok_status();
  return {Code::kMismatch, out + " holds answers that were asked for otherwise (" + path + "); name another --out"};
}

Status ask(const ModelEval& o, const Words& words) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string worker, find_worker());
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = o.threads > 0 ? o.threads : std::max(1, cores / o.ranks);
  std::vector<pid_t> pids;
  Status failed;
  for (int rank = 0; rank < o.ranks; ++rank) {
    Words arguments = {"answer"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    for (const std::string& word : {std::string("--out"), o.output.out, std::string("--rank"), std::to_string(rank),
                                    std::string("--world"), std::to_string(o.ranks), std::string("--batch"),
                                    std::to_string(o.batch), std::string("--threads"), std::to_string(threads)})
      arguments.push_back(word);
    auto pid = start(worker, arguments);
    if (!pid.ok()) {
      failed = pid.status();
      break;
    }
    pids.push_back(*pid);
  }
  for (const pid_t pid : pids)
    if (!wait_for(pid) && failed.ok())
      failed = {
          Code::kInternal,
          "a process that answers ended before it was done; its answers so far are kept, and the same command goes on"};
  return failed;
}

}  // namespace

void add_model_options(CLI::App& verb, ModelEval& o) {
  const char* group = "Answering with a model";
  verb.add_option("--model", o.model, "Hugging Face layout folder of a whole model")->group(group);
  verb.add_option("--vision", o.vision, "or its parts: CLIP folder")->group(group);
  verb.add_option("--connector", o.connector, "connector file")->group(group);
  verb.add_option("--llm", o.llm, "LLaMA folder")->group(group);
  verb.add_option("--checkpoint", o.checkpoint, "or a checkpoint, JOB/STAGE@STEP, JOB/STAGE@latest or a tag")
      ->group(group);
  add_store_option(verb, o.store, "the checkpoint's store")->group(group);
  verb.add_option("--template", o.template_name, "the checkpoint's own; of folders v1")->group(group);
  verb.add_option("--image-aspect", o.image_aspect, "square or pad; the checkpoint's own; of folders square")
      ->group(group);
  verb.add_option("--dtype", o.dtype, "float32, bfloat16 or float16")->group(group)->capture_default_str();
  verb.add_option("--ranks", o.ranks, "processes that share the questions")
      ->group(group)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb.add_option("--threads", o.threads, "compute threads of each; 0: the cores divided by the ranks")->group(group);
  verb.add_option("--batch", o.batch, "questions answered together")
      ->group(group)
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb.add_option("--limit", o.spec.limit, "so many questions, spread evenly over all; 0: all")
      ->group(group)
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--max-new-tokens", o.spec.max_new_tokens, "longest answer")
      ->group(group)
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

int eval_model(ModelEval o) {
  if (o.output.out.empty())
    return fail({Code::kInvalidArgument, "--out is missing: the folder for answers, result and report"});
  if (!o.checkpoint.empty())
    if (const Status exported = export_checkpoint(&o); !exported.ok()) return fail(exported);
  Words words = model_words(o);
  const Words bench = bench_words(o);
  words.insert(words.end(), bench.begin(), bench.end());
  if (const Status claimed = claim_folder(o.output.out, words); !claimed.ok()) return fail(claimed);
  if (const Status asked = ask(o, words); !asked.ok()) return fail(asked);

  auto set = eval::load_questions(o.spec, o.dataset);
  if (!set.ok()) return fail(set.status());
  std::map<std::string, std::string> answers;
  const auto names = Env::posix().list(o.output.out);
  if (!names.ok()) return fail(names.status());
  for (const std::string& name : *names)
    if (name.starts_with("answers-")) answers.merge(eval::read_answers(o.output.out + "/" + name));
  coordinator::Judgments judged;
  if (o.spec.kind == "llava_bench") {
    const auto pinned = coordinator::pinned_judge(o.judge);
    if (!pinned.ok()) return fail(pinned.status());
    o.spec.judge = *pinned;
    auto replies = coordinator::judge_answers(o.judge, *set, answers, o.output.out + "/judge",
                                              coordinator::judge_key(o.judge), show_judging());
    if (!replies.ok()) return fail(replies.status());
    judged = std::move(*replies);
  }
  auto result = eval::score_bench(o.spec, *set, answers, judged.replies);
  if (!result.ok()) return fail(result.status());
  result->incomplete = judged.incomplete;
  result->pinned["model"] = !o.checkpoint.empty() ? o.checkpoint : !o.model.empty() ? o.model : o.llm;
  return finish_eval(*result, 0, o.output);
}

}  // namespace tephra::cli
