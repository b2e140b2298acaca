#include <CLI/CLI.hpp>

#include "cli/app.h"
#include "cli/programs.h"

namespace tephra::cli {
namespace {

// These need LibTorch, so tephra-worker runs them; it checks the options, and these verbs only hand them over.
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
    "  --dtype NAME            what it computes in: float32 (default), bfloat16 or float16\n"
    "  --threads N             compute threads; 0: all cores\n";

constexpr const char* kSamplingOptions =
    "  --temperature T         0: greedy (default)\n"
    "  --top-p P, --top-k N    what is drawn from: the most probable ids that reach P, or the first N\n"
    "  --repetition-penalty R  1: none (default)\n"
    "  --seed N                of the draws\n";
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
                    "  --image FILE            JPEG or PNG; may be given several times: for the <image> in the prompt\n"
                    "                          in their order, or before it when it has none\n"
                    "  --max-new-tokens N      (default 128)\n"
                    "  --stop TEXT             ends the reply; may be given several times\n" +
                    kSamplingOptions,
                "tephra generate --model DIR --image cat.png --prompt 'What is this?' --max-new-tokens 32");
  add_passed_on(verbs, "chat", "A conversation with a model in the terminal; Ctrl-C stops a reply",
                std::string(kModelOptions) +
                    "  --image FILE            JPEG or PNG, shown with the first question; may be given several times\n"
                    "  --max-new-tokens N      of each reply (default 512)\n" +
                    kSamplingOptions,
                "tephra chat --model DIR --image cat.png");
  add_passed_on(
      verbs, "serve-model", "A model behind OpenAI's chat completions (POST /v1/chat/completions)",
      std::string(kModelOptions) +
          "  --listen HOST:PORT      (default 127.0.0.1:8000; port 0: a free one)\n"
          "  --api-key-file FILE     its first line is the key that clients have to send; needed unless HOST is loopback\n"
          "  --name TEXT             the model's, as clients see it (default: its folder's)\n"
          "  --max-new-tokens N      of a request that names none (default 512)\n",
      "tephra serve-model --model DIR --listen 127.0.0.1:8000");
}

}  // namespace tephra::cli
