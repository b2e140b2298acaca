#include "cli/generate_data_command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/env.h"
#include "base/hash.h"
#include "base/program.h"
#include "cli/endpoint_options.h"
#include "cli/input_path.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cluster/chat/chat_journal.h"
#include "data/datagen/card.h"
#include "data/datagen/generate.h"
#include "data/datagen/local_teacher.h"

namespace tephra::cli {
namespace {

struct GenerateDataOptions {
  std::string captions, instances, out, prompts, journal, teacher = "endpoint";
  std::vector<std::string> shares;
  data::GenerateOptions generate;
  EndpointOptions endpoint;
  bool retry_in_doubt = false, json = false;
};

// The prompts of the installation, or of the source folder that the program was built in (build/bin, build/PRESET/bin).
Result<std::string> prompts_folder(const std::string& given) {
  if (!given.empty()) return given;
  TEPHRA_ASSIGN_OR_RETURN(const std::string here, program_folder());
  for (const char* place : {"/../share/tephra/recipes/datagen", "/../../recipes/datagen", "/../../../recipes/datagen"})
    if (Env::posix().exists(here + place + "/words.json")) return here + place;
  return Status(Code::kNotFound, "the prompts are not beside the program; name their folder with --prompts");
}

Status read_shares(const std::vector<std::string>& texts, std::array<double, 3>* shares) {
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    bool known = false;
    for (const data::SampleKind kind : data::kSampleKinds) {
      if (equals == std::string::npos || text.substr(0, equals) != data::kind_name(kind)) continue;
      char* end = nullptr;
      const double share = std::strtod(text.c_str() + equals + 1, &end);
      if (end == text.c_str() + equals + 1 || *end != '\0' || !(share >= 0 && share <= 1)) break;
      (*shares)[static_cast<size_t>(kind)] = share;
      known = true;
    }
    if (!known)
      return {Code::kInvalidArgument,
              "--share " + text + ": it is conversation=X, detail=X or complex=X with X from 0 to 1"};
  }
  return ok_status();
}

bool is_lines(const std::string& path) { return path.ends_with(".jsonl") || path.ends_with(".ndjson"); }

// Who answers, with what it needs.
struct Asked {
  std::unique_ptr<cluster::ChatClient> client;
  std::unique_ptr<cluster::ChatJournal> journal;
  std::unique_ptr<cluster::JournaledChat> chat;
  data::Teacher teacher;
  uint64_t earlier = 0;  // replies of earlier runs
  bool no_key = false;
};

cluster::ChatRequest chat_request(const data::TeacherRequest& from) {
  cluster::ChatRequest out;
  for (const auto& [role, content] : from.messages) out.messages.push_back({role, content});
  out.temperature = from.temperature;
  out.tokens_max = from.tokens_max;
  out.seed = from.seed;
  return out;
}

Result<Asked> make_teacher(const GenerateDataOptions& o) {
  Asked out;
  if (o.teacher == "local") {
    out.teacher = [](const data::TeacherRequest& request) -> Result<data::TeacherReply> {
      if (interrupted()) return Status(Code::kCancelled, "interrupted; nothing was written");
      return data::TeacherReply{data::local_teacher_reply(request), "stop"};
    };
    return out;
  }
  TEPHRA_ASSIGN_OR_RETURN(out.client, make_chat_client(o.endpoint));
  TEPHRA_ASSIGN_OR_RETURN(out.journal,
                          cluster::ChatJournal::open(Env::posix(), o.journal.empty() ? o.out + ".journal" : o.journal));
  out.earlier = out.journal->answered();
  out.no_key = std::getenv(o.endpoint.key_variable.c_str()) == nullptr;
  out.chat = std::make_unique<cluster::JournaledChat>(*out.client, *out.journal, o.retry_in_doubt);
  out.teacher = [chat = out.chat.get()](const data::TeacherRequest& request) -> Result<data::TeacherReply> {
    TEPHRA_ASSIGN_OR_RETURN(const cluster::ChatReply reply, chat->ask(chat_request(request)));
    return data::TeacherReply{reply.text, reply.finish_reason};
  };
  return out;
}

// The samples come last: where they are, the rest is.
Status write_all(const GenerateDataOptions& o, const data::Generated& generated, data::CardInfo card,
                 const data::VerbNoun& words) {
  Env& env = Env::posix();
  const std::string samples = data::samples_json(generated, o.generate.seed);
  card.content_hash = hash_text(samples).hex();
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, o.out + ".rejects.jsonl", data::rejects_json(generated)));
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, o.out + ".card.md", data::card_markdown(generated, card, words)));
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, o.out + ".card.html", data::card_html(generated, card, words)));
  return write_file_atomic(env, o.out, samples);
}

void print_result(const GenerateDataOptions& o, const data::Generated& generated, const Asked& asked) {
  const cluster::ChatTotals totals = asked.client ? asked.client->totals() : cluster::ChatTotals{};
  if (o.json) {
    nlohmann::ordered_json json{{"out", o.out},
                                {"wanted", generated.wanted},
                                {"samples", generated.samples.size()},
                                {"rejected", generated.reasons()},
                                {"requests", totals.tries},
                                {"failed_requests", totals.failed_tries},
                                {"prompt_tokens", totals.prompt_tokens},
                                {"reply_tokens", totals.reply_tokens},
                                {"spent_usd", totals.spent}};
    std::printf("%s\n", json.dump().c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows{{"samples", std::to_string(generated.samples.size())}};
  for (const auto& [reason, n] : generated.reasons()) rows.push_back({"rejected: " + reason, std::to_string(n)});
  if (asked.client) {
    rows.push_back({"requests", std::to_string(totals.tries)});
    rows.push_back({"of them failed", std::to_string(totals.failed_tries)});
    rows.push_back({"replies of earlier runs", std::to_string(asked.earlier)});
    rows.push_back({"spent by all runs, USD", fixed(totals.spent, 4)});
  }
  std::printf("%s%s\n", table({"what", "count"}, rows).c_str(),
              (o.out + ", .rejects.jsonl, .card.md, .card.html").c_str());
}

Status stopped(const GenerateDataOptions& o, const Status& status, const Asked& asked) {
  if (!asked.journal) return status;
  std::string message = status.code() == Code::kCancelled ? "interrupted" : status.message();
  if (asked.no_key &&
      (message.find("answered 401") != std::string::npos || message.find("answered 403") != std::string::npos))
    message += "; no key was sent, as the environment variable " + o.endpoint.key_variable + " is not set";
  return {status.code(), message + "; " + std::to_string(asked.journal->answered()) +
                             " replies are in the journal: the same command goes on from there"};
}

int data_generate(GenerateDataOptions& o) {
  catch_interrupts();
  if (const Status read = read_shares(o.shares, &o.generate.share); !read.ok()) return fail(read);
  auto dir = prompts_folder(o.prompts);
  if (!dir.ok()) return fail(dir.status());
  auto prompts = data::Prompts::load(*dir);
  if (!prompts.ok()) return fail(prompts.status());
  auto words = data::VerbNoun::load(*dir + "/words.json");
  if (!words.ok()) return fail(words.status());
  auto input = is_lines(o.captions) ? data::load_picture_lines(o.captions) : data::load_coco(o.captions, o.instances);
  if (!input.ok()) return fail(input.status());
  // A folder that cannot be written is found out before anything is paid for.
  if (const auto folder = std::filesystem::path(o.out).parent_path(); !folder.empty())
    if (const Status made = Env::posix().make_directories(folder); !made.ok()) return fail(made);
  auto asked = make_teacher(o);
  if (!asked.ok()) return fail(asked.status());

  std::optional<Progress> progress(std::in_place, "samples");
  o.generate.concurrency = o.endpoint.concurrency;
  o.generate.progress = [&](uint64_t done, uint64_t total) {
    std::string more;
    if (asked->client) {
      const cluster::ChatTotals totals = asked->client->totals();
      more = "  $" + fixed(totals.spent, 4) +
             (totals.failed_tries > 0 ? "  " + std::to_string(totals.failed_tries) + " tries failed" : "");
    }
    progress->show(done, total, std::min(done, asked->earlier), more);
  };
  auto generated = data::generate(*input, *prompts, asked->teacher, o.generate);
  progress.reset();  // ends its line
  if (!generated.ok()) return fail(stopped(o, generated.status(), *asked));
  if (generated->samples.empty())
    return fail(
        Status(Code::kInternal, "no sample passed the checks: " + data::rejects_json(*generated).substr(0, 500)));
  data::CardInfo card;
  card.captions = o.captions;
  card.instances = o.instances;
  card.teacher = o.teacher == "local" ? "local" : o.endpoint.client.model;
  card.prompts_hash = prompts->hash();
  card.seed = o.generate.seed;
  card.pictures = input->pictures.size();
  card.cost = asked->client ? asked->client->totals().spent : 0;
  if (const Status written = write_all(o, *generated, card, *words); !written.ok()) return fail(written);
  print_result(o, *generated, *asked);
  return kOk;
}

}  // namespace

void add_data_generate(Verbs& verbs, CLI::App* data) {
  auto o = std::make_shared<GenerateDataOptions>();
  auto* verb = data->add_subcommand("generate",
                                    "Write instruction data from captions and boxes, with a language model or without");
  verb->add_option("--captions", o->captions, "COCO's captions_*.json, or .jsonl with one picture a line")
      ->required()
      ->check(existing_path());
  verb->add_option("--instances", o->instances, "COCO's instances_*.json, for the boxes")->check(existing_path());
  verb->add_option("--out", o->out,
                   "file to write, in LLaVA's layout; .rejects.jsonl, .card.md and .card.html come beside it")
      ->required();
  verb->add_option("--teacher", o->teacher,
                   "endpoint: an OpenAI-compatible one; local: fixed sentences, for tests and demonstrations")
      ->check(CLI::IsMember({"endpoint", "local"}))
      ->capture_default_str();
  verb->add_option("--prompts", o->prompts, "folder of prompts; recipes/datagen when left out")->check(existing_path());
  verb->add_option("--seed", o->generate.seed, "of examples, questions and what is drawn")->capture_default_str();
  verb->add_option(
      "--share", o->shares,
      "part of the pictures that get a sample of a kind: conversation=X, detail=X, complex=X; 1 when left out");
  verb->add_option("--samples", o->generate.samples_max, "at most so many; 0: all");
  verb->add_option("--journal", o->journal, "folder of what was asked and answered; OUT.journal when left out");
  verb->add_flag("--retry-in-doubt", o->retry_in_doubt,
                 "ask again what an earlier run had sent when it was killed, and may have paid for");
  verb->add_flag("--json", o->json, "one JSON document at the end");
  add_endpoint_options(verb, &o->endpoint);
  verb->footer(
      "Replies are on disk before they are used: after a kill, Ctrl-C or the spending limit the same command goes on, and pays for nothing twice.\n"
      "Example:\n  OPENAI_API_KEY=... tephra data generate --captions captions_train2017.json --instances instances_train2017.json\n"
      "    --url https://api.openai.com/v1 --model MODEL --price-prompt 0.5 --price-reply 1.5 --max-cost 20 --out instruct.json");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return data_generate(*o); }; });
}

}  // namespace tephra::cli
