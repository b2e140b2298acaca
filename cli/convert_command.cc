#include "cli/convert_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "cli/input_path.h"
#include "data/convert.h"

namespace tephra::cli {
namespace {

struct ConvertOptions {
  data::ConvertInput input;
  std::string to = "llava", out;
  bool json = false;
};

int data_convert(const ConvertOptions& o) {
  std::error_code none;
  if (std::filesystem::equivalent(o.input.path, o.out, none))
    return fail(Status(Code::kInvalidArgument, o.out + " is the input; write to another file"));
  auto samples = data::read_layout(o.input);
  if (!samples.ok()) return fail(samples.status());
  auto text = data::write_layout(*samples, o.to);
  if (!text.ok()) return fail(text.status());
  if (const Status written = write_file_atomic(Env::posix(), o.out, *text); !written.ok()) return fail(written);
  size_t pictures = 0;
  for (const data::Sample& sample : *samples) pictures += !sample.images.empty();
  if (o.json)
    std::printf(
        "%s\n",
        nlohmann::ordered_json{{"out", o.out}, {"samples", samples->size()}, {"with_image", pictures}}.dump().c_str());
  else
    std::printf("%s: %zu samples, %zu of them with a picture\n", o.out.c_str(), samples->size(), pictures);
  return kOk;
}

}  // namespace

void add_data_convert(Verbs& verbs, CLI::App* data) {
  auto o = std::make_shared<ConvertOptions>();
  auto* verb = data->add_subcommand("convert", "Rewrite conversations from one published layout in another");
  verb->add_option("FILE", o->input.path, "what to read; of ScienceQA problems.json")
      ->required()
      ->check(existing_path());
  verb->add_option("--from", o->input.layout, "its layout")->required()->check(CLI::IsMember(data::readable_layouts()));
  verb->add_option("--to", o->to, "the layout to write; messages: JSON lines, as Hugging Face datasets load them")
      ->check(CLI::IsMember(data::writable_layouts()))
      ->capture_default_str();
  verb->add_option("--out", o->out, "file to write")->required();
  verb->add_option("--splits", o->input.splits, "scienceqa: pid_splits.json")->check(existing_path());
  verb->add_option("--split", o->input.split, "scienceqa: which one")->capture_default_str();
  verb->add_option("--images", o->input.images,
                   "scienceqa: folder with SPLIT/PID/image.png; without it no sample has a picture");
  verb->add_option("--prompt", o->input.prompt, "scienceqa: QCM-LEA or CQM-A")->capture_default_str();
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer(
      "Parquet is not read; Python's datasets rewrites it: load_dataset('parquet', data_files='x.parquet')['train'].to_json('x.jsonl')\n"
      "Example:\n  tephra data convert problems.json --from scienceqa --splits pid_splits.json --images images/ --out train.json");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return data_convert(*o); }; });
}

}  // namespace tephra::cli
