#include "cli/judge_options.h"

#include <CLI/CLI.hpp>

#include "cli/input_path.h"

namespace tephra::cli {

void add_judge_options(CLI::App& verb, recipes::JudgeRecipe& judge) {
  verb.add_option(
      "--judge", judge.endpoint,
      "base address of an OpenAI-compatible endpoint (https://HOST/v1); local: overlap of words, a smoke check");
  verb.add_option("--judge-model", judge.model, "the judge's name there");
  verb.add_option("--judge-prompts", judge.prompts, "what it is asked, such as recipes/judge/llava_bench.json")
      ->check(existing_path());
  verb.add_option("--judge-key-env", judge.key_env, "environment variable with the endpoint's key");
  verb.add_option("--judge-orders", judge.orders, "both or reference_first")
      ->check(CLI::IsMember({"both", "reference_first"}))
      ->capture_default_str();
  verb.add_option("--judge-concurrency", judge.concurrency, "requests under way together")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb.add_option("--judge-per-minute", judge.requests_per_minute, "most requests a minute; 0: any number")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb.add_option("--judge-max-cost", judge.max_cost, "USD that are not passed; needs prices; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--judge-price-in", judge.price_in, "USD a million tokens asked")->check(CLI::NonNegativeNumber);
  verb.add_option("--judge-price-out", judge.price_out, "USD a million tokens replied")->check(CLI::NonNegativeNumber);
}

}  // namespace tephra::cli
