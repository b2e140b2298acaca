#include <CLI/CLI.hpp>

#include "cli/app.h"
#include "cli/programs.h"

namespace tephra::cli {
namespace {

// score and generate need LibTorch, so tephra-worker runs them; it checks the options, and this verb only hands them over.
void add_passed_on(Verbs& verbs, const std::string& name, const std::string& about, const std::string& options,
                   const std::string& example) {
  auto* verb = verbs.app.add_subcommand(name, about);
  verb->prefix_command();
  verb->footer(options + "\nExample:\n  " + example);
  verb->callback([&verbs, verb, name] {
    verbs.chosen = [rest = verb->remaining(), name] {
      std::vector<std::string> arguments{name};
      arguments.insert(arguments.end(), rest.begin(), rest.end());
      return fail(exec_worker(arguments));
    };
  });
}

constexpr const char* kModelOptions =
    "Model (one of):\n"
    "  --model DIR                                   Hugging Face layout folder of a whole model\n"
    "  --vision DIR --connector FILE --llm DIR       its parts\n"
    "Options:\n"
    "  --template NAME         plain, v1, llava_llama_2, ... (default v1)\n"
    "  --image-aspect NAME     square or pad (default square)\n"
    "  --threads N             compute threads; 0: all cores\n";
}  // namespace

void add_inference(Verbs& verbs) {
  add_passed_on(verbs, "score", "Loss per sample over the supervised tokens, as JSON [{\"id\", \"loss\", \"tokens\"}]",
                std::string(kModelOptions) +
                    "  --data FILE             conversations, JSON (required)\n"
                    "  --images DIR            root of the samples' pictures\n"
                    "  --max-length N          tokens a sample is cut to (default 2048)\n",
                "tephra score --model DIR --data conversations.json --images DIR --template v1 --image-aspect pad");
  add_passed_on(verbs, "generate", "One reply to one prompt, as JSON {\"text\", \"token_ids\"}",
                std::string(kModelOptions) +
                    "  --prompt TEXT           what is asked (required)\n"
                    "  --image FILE            JPEG or PNG\n"
                    "  --max-new-tokens N      (default 128)\n"
                    "  --temperature T         0: greedy (default)\n"
                    "  --top-p P, --seed N     sampling\n",
                "tephra generate --model DIR --image cat.png --prompt 'What is this?' --max-new-tokens 32");
}

}  // namespace tephra::cli
