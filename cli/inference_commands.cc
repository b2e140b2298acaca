// score, generate, chat, serve-model. They need LibTorch, so tephra-worker runs them: these verbs know its options, for --help, completion
// and mistakes in names, and hand over what was given; what the values mean is the worker's to check.
#include <CLI/CLI.hpp>

#include "cli/app.h"
#include "cli/programs.h"

namespace tephra::cli {
namespace {

struct Passed {
  const char* name;
  const char* value;  // what stands for it in --help; empty: a flag
  const char* about;
  const char* fallback = "";
  bool required = false;
};
using PassedOptions = std::vector<Passed>;

const PassedOptions kModel = {
    {"--model", "DIR", "Hugging Face layout folder of a whole model"},
    {"--vision", "DIR", "in place of --model, its parts: the vision tower"},
    {"--connector", "FILE", "the connector (with --vision and --llm)"},
    {"--llm", "DIR", "the language model (with --vision and --connector)"},
    {"--template", "NAME", "plain, v1, llava_llama_2, ...", "v1"},
    {"--image-aspect", "NAME", "square or pad", "square"},
    {"--dtype", "NAME", "what it computes in: float32, bfloat16 or float16", "float32"},
    {"--threads", "N", "compute threads; 0: all cores", "0"},
};

const PassedOptions kSampling = {
    {"--temperature", "T", "0: greedy", "0"},
    {"--top-p", "P", "drawn from the most probable ids that reach it together", "1"},
    {"--top-k", "N", "drawn from the first so many ids; 0: all", "0"},
    {"--repetition-penalty", "R", "1: none", "1"},
    {"--seed", "N", "of the draws"},
};

PassedOptions joined(const std::vector<PassedOptions>& lists) {
  PassedOptions all;
  for (const PassedOptions& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

void add_passed_on(Verbs& verbs, const std::string& name, const std::string& about, const PassedOptions& options,
                   const std::string& example) {
  auto* verb = verbs.app.add_subcommand(name, about);
  for (const Passed& passed : options) {
    if (*passed.value == '\0') {
      verb->add_flag(passed.name, passed.about);
      continue;
    }
    auto* option = verb->add_option(passed.name)->description(passed.about)->type_name(passed.value)->take_all();
    if (*passed.fallback != '\0') option->default_str(passed.fallback);
    if (passed.required) option->required();
  }
  verb->footer("Example:\n  " + example);
  verb->callback([&verbs, verb, name] {
    std::vector<std::string> arguments{name};
    for (const CLI::Option* option : verb->get_options()) {
      if (option->count() == 0) continue;
      const std::string given = option->get_name();
      if (option->get_items_expected_max() == 0) {
        arguments.push_back(given);
      } else {
        for (const std::string& value : option->results()) arguments.push_back(given + "=" + value);
      }
    }
    verbs.chosen = [arguments] { return fail(exec_worker(arguments)); };
  });
}

}  // namespace

void add_inference(Verbs& verbs) {
  add_passed_on(verbs, "score", "Loss per sample over the supervised tokens, as JSON [{\"id\", \"loss\", \"tokens\"}]",
                joined({kModel,
                        {{"--data", "FILE", "conversations, JSON", "", true},
                         {"--images", "DIR", "root of the samples' pictures"},
                         {"--max-length", "N", "tokens a sample is cut to", "2048"},
                         {"--json", "", "accepted as everywhere: the output is always JSON"}}}),
                "tephra score --model DIR --data conversations.json --images DIR --template v1 --image-aspect pad");
  add_passed_on(verbs, "generate", "One reply to one prompt, as JSON {\"text\", \"token_ids\"}",
                joined({kModel,
                        {{"--prompt", "TEXT", "what is asked", "", true},
                         {"--image", "FILE",
                          "JPEG or PNG; may be given several times: for the <image> in the prompt in their order, or "
                          "before it when it has none"},
                         {"--max-new-tokens", "N", "longest reply", "128"},
                         {"--stop", "TEXT", "ends the reply; may be given several times"}},
                        kSampling,
                        {{"--json", "", "accepted as everywhere: the output is always JSON"}}}),
                "tephra generate --model DIR --image cat.png --prompt 'What is this?' --max-new-tokens 32");
  add_passed_on(
      verbs, "chat", "A conversation with a model in the terminal; Ctrl-C stops a reply",
      joined({kModel,
              {{"--image", "FILE", "JPEG or PNG, shown with the first question; may be given several times"},
               {"--max-new-tokens", "N", "of each reply", "512"}},
              kSampling,
              {{"--json", "", "each reply, once it is whole, as a JSON line {\"text\", \"token_ids\", \"finish\"}"}}}),
      "tephra chat --model DIR --image cat.png");
  add_passed_on(verbs, "serve-model", "A model behind OpenAI's chat completions (POST /v1/chat/completions)",
                joined({kModel,
                        {{"--listen", "HOST:PORT", "port 0: a free one", "127.0.0.1:8000"},
                         {"--api-key-file", "FILE",
                          "its first line is the key that clients have to send; needed unless HOST is loopback"},
                         {"--name", "TEXT", "the model's, as clients see it (default: its folder's)"},
                         {"--max-new-tokens", "N", "of a request that names none", "512"},
                         {"--json", "", "the address, once it answers, as a JSON line {\"url\", \"model\"}"}}}),
                "tephra serve-model --model DIR --listen 127.0.0.1:8000");
}

}  // namespace tephra::cli
