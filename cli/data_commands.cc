#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/env.h"
#include "cli/app.h"
#include "cli/convert_command.h"
#include "cli/generate_data_command.h"
#include "cli/input_path.h"
#include "data/tokenizer.h"
#include "data/validate.h"

namespace tephra::cli {
namespace {

struct CheckOptions {
  data::ValidateOptions validate;
  std::string tokenizer, fix, cache;
  bool no_cache = false, json = false;
};

// Of the user: pictures are the same in every project.
std::string default_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/')
    return std::string(cache) + "/tephra/image-checks";
  const char* home = std::getenv("HOME");
  return home == nullptr || *home != '/' ? "" : std::string(home) + "/.cache/tephra/image-checks";
}

int write_clean(const CheckOptions& o, const data::ValidationReport& report) {
  const Status written = data::write_clean_copy(o.validate, report, o.fix);
  if (!written.ok()) return fail(written);
  std::fprintf(stderr, "%s: %llu samples without the %zu offenders\n", o.fix.c_str(),
               static_cast<unsigned long long>(report.samples - report.offenders.size()), report.offenders.size());
  return kOk;
}

int data_check(CheckOptions& o) {
  auto tokenizer = data::Tokenizer::load(o.tokenizer);
  if (!tokenizer.ok()) return fail(tokenizer.status());
  if (o.validate.threads < 1) o.validate.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::unique_ptr<data::ImageCheckCache> cache;
  const std::string cache_path = o.no_cache ? "" : o.cache.empty() ? default_cache() : o.cache;
  if (!cache_path.empty()) cache = data::ImageCheckCache::open(Env::posix(), cache_path);
  o.validate.image_cache = cache.get();
  auto report = data::validate_dataset(o.validate, **tokenizer);
  if (!report.ok()) return fail(report.status());
  std::printf("%s\n", (o.json ? data::to_json(*report) : data::to_text(*report)).c_str());
  // A cache that cannot be kept costs time, not correctness.
  if (const Status saved = cache ? cache->save() : ok_status(); !saved.ok())
    std::fprintf(stderr, "tephra: what was found is not remembered: %s\n", saved.message().c_str());
  if (!o.fix.empty()) return write_clean(o, *report);
  if (!report->ok() && !o.json)
    std::fprintf(stderr, "tephra: %zu samples have errors; mend them, or --fix FILE writes a copy without them\n",
                 report->offenders.size());
  return report->ok() ? kOk : kFailed;
}

void add_data_check(Verbs& verbs, CLI::App* data) {
  auto o = std::make_shared<CheckOptions>();
  o->validate.template_name = "v1";
  o->validate.threads = 0;
  auto* verb = data->add_subcommand("check", "Check conversations and pictures before training on them");
  verb->add_option("FILE", o->validate.conversations_path, "conversations, JSON or JSON lines, or a folder of shards")
      ->required()
      ->check(existing_path());
  verb->add_option("--images", o->validate.image_root, "root of the samples' pictures")->check(existing_path());
  verb->add_option("--tokenizer", o->tokenizer, "folder with tokenizer.model")->required()->check(existing_path());
  verb->add_option("--template", o->validate.template_name, "conversation template")->capture_default_str();
  verb->add_option("--max-length", o->validate.max_length, "tokens a sample is cut to")->capture_default_str();
  verb->add_option("--image-tokens", o->validate.image_tokens,
                   "tokens a picture becomes in the model (576 in LLaVA 1.5)")
      ->capture_default_str();
  verb->add_option("--fix", o->fix, "write a copy without the samples that have errors; the original stays as it is");
  verb->add_option("--cache", o->cache,
                   "file that remembers which pictures decode, by content; ~/.cache/tephra/image-checks when left out");
  verb->add_flag("--no-cache", o->no_cache, "decode every picture");
  verb->add_option("--threads", o->validate.threads, "0: one for each core")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer("Example:\n  tephra data check train.json --images pictures/ --tokenizer llama-7b/");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return data_check(*o); }; });
}

struct TokenizerOptions {
  std::string model, text;
  std::vector<int32_t> ids;
  bool bos = false, keep_special = false, json = false;
};

void add_tokenizer(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("tokenizer", "Text to token ids and back");
  group->require_subcommand(1);
  auto o = std::make_shared<TokenizerOptions>();
  auto* encode = group->add_subcommand("encode", "Ids of a text");
  encode->add_option("--model", o->model, "folder with tokenizer.model")->required();
  encode->add_option("TEXT", o->text)->required();
  encode->add_flag("--bos", o->bos, "with the beginning-of-sequence id");
  encode->add_flag("--json", o->json, "ids and pieces as one JSON document");
  encode->footer("Example:\n  tephra tokenizer encode --model llama-7b/ 'a red circle'");
  encode->callback([&verbs, o] {
    verbs.chosen = [o]() -> int {
      auto tokenizer = data::Tokenizer::load(o->model);
      if (!tokenizer.ok()) return fail(tokenizer.status());
      if (o->json) {
        std::printf("%s\n", data::describe_encoding(**tokenizer, o->text, o->bos).c_str());
        return kOk;
      }
      auto ids = o->bos ? (*tokenizer)->encode_with_bos(o->text) : (*tokenizer)->encode(o->text);
      for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i ? " " : "", ids[i]);
      std::printf("\n");
      return kOk;
    };
  });
  auto* decode = group->add_subcommand("decode", "Text of ids");
  decode->add_option("--model", o->model, "folder with tokenizer.model")->required();
  decode->add_option("IDS", o->ids, "token ids")->required();
  decode->add_flag("--keep-special", o->keep_special, "write special tokens too");
  decode->add_flag("--json", o->json, "one JSON document");
  decode->footer("Example:\n  tephra tokenizer decode --model llama-7b/ 263 2654");
  decode->callback([&verbs, o] {
    verbs.chosen = [o]() -> int {
      auto tokenizer = data::Tokenizer::load(o->model);
      if (!tokenizer.ok()) return fail(tokenizer.status());
      const std::string text = (*tokenizer)->decode(o->ids, !o->keep_special);
      const auto replaced = nlohmann::json::error_handler_t::replace;  // ids that cut a letter in two
      std::printf("%s\n", (o->json ? nlohmann::json{{"text", text}}.dump(-1, ' ', false, replaced) : text).c_str());
      return kOk;
    };
  });
}
}  // namespace

void add_data(Verbs& verbs) {
  auto* data = verbs.app.add_subcommand("data", "Training data");
  data->require_subcommand(1);
  data->footer("Example:\n  tephra data check train.json --images pictures/ --tokenizer llama-7b/");
  add_data_check(verbs, data);
  add_data_generate(verbs, data);
  add_data_convert(verbs, data);
  add_tokenizer(verbs);
}

}  // namespace tephra::cli
