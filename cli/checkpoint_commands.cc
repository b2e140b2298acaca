// ckpt ls, show and verify; the other verbs of the group are in checkpoint_history.cc, checkpoint_changes.cc and
// checkpoint_files.cc.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "cli/app.h"
#include "cli/checkpoint_verbs.h"
#include "cli/text.h"
#include "storage/index/store.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  ReadOptions read;
  std::string name, job;
};

int list(const Options& o) {
  auto store = open_to_read(o.read.store);
  if (!store.ok()) return fail(store.status());
  auto checkpoints = (*store)->list(o.job);
  if (!checkpoints.ok()) return fail(checkpoints.status());
  if (o.read.json) {
    json all = json::array();
    for (const auto& c : *checkpoints) {
      all.push_back(describe(c.header));
      all.back()["tags"] = c.tags;
      all.back()["pinned"] = c.pinned;
    }
    std::printf("%s\n", all.dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& c : *checkpoints) {
    const storage::Manifest& m = c.header;
    std::string tags;
    for (const auto& t : c.tags) tags += (tags.empty() ? "" : ",") + t;
    if (c.pinned) tags += tags.empty() ? "(pinned)" : " (pinned)";
    auto loss = m.metrics.find("loss");
    rows.push_back({c.name, m.stage_complete ? "yes" : "", loss == m.metrics.end() ? "" : fixed(loss->second, 4),
                    human_bytes(static_cast<double>(m.logical_bytes)), human_bytes(static_cast<double>(m.new_bytes)),
                    m.content_hash.hex().substr(0, 12), age(m.created_unix_ms), tags});
  }
  std::printf("%s",
              table({"checkpoint", "complete", "loss", "whole", "written", "content", "made", "tags"}, rows).c_str());
  return kOk;
}

int show(const Options& o) {
  auto store = open_to_read(o.read.store);
  if (!store.ok()) return fail(store.status());
  auto m = (*store)->get(o.name);
  if (!m.ok()) return fail(m.status());
  const auto usage = (*store)->usage(m->name());
  if (!usage.ok()) return fail(usage.status());
  if (o.read.json) {
    json document = describe(*m);
    document["own_bytes"] = usage->own_bytes;
    document["shared_bytes"] = usage->shared_bytes;
    document["physical_bytes"] = usage->own_bytes + usage->shared_bytes;
    for (const auto& t : m->tensors)
      document["tensors"].push_back({{"name", t.name},
                                     {"kind", storage::state_kind_name(t.kind)},
                                     {"dtype", dtype_name(t.dtype)},
                                     {"shape", t.shape},
                                     {"frozen", t.frozen},
                                     {"content", t.content.hex()}});
    std::printf("%s\n", document.dump(2).c_str());
    return kOk;
  }
  const auto size = [](uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  const auto line = [](const std::string& key, const std::string& value) {
    std::printf("  %s %s\n", paint(key + std::string(key.size() < 13 ? 13 - key.size() : 0, ' '), Colour::kDim).c_str(),
                value.c_str());
  };
  std::printf("%s\n", paint(m->name(), Colour::kBold).c_str());
  line("content", m->content_hash.hex());
  line("parent", m->parent.empty() ? "-" : m->parent);
  line("made", age(m->created_unix_ms) + ", attempt " + std::to_string(m->attempt) +
                   (m->build.empty() ? "" : ", build " + m->build));
  line("position", human_count(static_cast<double>(m->sampler_position)) + " samples seen" +
                       (m->stage_complete ? ", stage complete" : ""));
  line("whole", size(m->logical_bytes) + " of tensors");
  line("in the store", size(usage->own_bytes + usage->shared_bytes) + ": " + size(usage->own_bytes) + " of its own, " +
                           size(usage->shared_bytes) + " shared with other checkpoints");
  for (const auto& [key, value] : m->metrics) line(key, fixed(value, 4));
  for (const auto& [key, value] : m->handover) line(key, value);
  std::vector<std::vector<std::string>> rows;
  for (const auto& t : m->tensors)
    rows.push_back({t.name, std::string(storage::state_kind_name(t.kind)), std::string(dtype_name(t.dtype)),
                    tephra::to_string(t.shape), t.frozen ? "frozen" : "trained"});
  std::printf("\n%s", table({"tensor", "kind", "dtype", "shape", ""}, rows).c_str());
  return kOk;
}

// A line for each cause: a pack that is not there is one, however many tensors it held.
void print_problems(const std::vector<storage::VerifyProblem>& problems) {
  std::map<std::string, std::vector<const storage::VerifyProblem*>> causes;
  for (const auto& p : problems) causes[p.message].push_back(&p);
  for (const auto& [message, of] : causes) {
    const storage::VerifyProblem& first = *of.front();
    std::string line = first.tensor.empty() ? "" : first.tensor + " (" + std::string(state_kind_name(first.kind));
    if (!line.empty()) line += first.rank < 0 ? ")" : ", rank " + std::to_string(first.rank) + ")";
    if (of.size() > 1) line += " and " + std::to_string(of.size() - 1) + " more";
    std::printf("  %s%s%s\n", line.c_str(), line.empty() ? "" : ": ", message.c_str());
    std::set<std::string> others;
    for (const auto* p : of) others.insert(p->also_needed_by.begin(), p->also_needed_by.end());
    for (const std::string& other : others) std::printf("    also needed by %s\n", other.c_str());
  }
}

int verify(const Options& o) {
  auto store = open_to_read(o.read.store);
  if (!store.ok()) return fail(store.status());
  std::vector<std::string> names{o.name};
  if (o.name.empty()) {
    names.clear();
    auto all = (*store)->list();
    if (!all.ok()) return fail(all.status());
    for (const auto& c : *all) names.push_back(c.name);
  }
  json document = json::array();
  bool good = true;
  for (const std::string& name : names) {
    auto report = (*store)->verify(name);
    if (!report.ok()) return fail(report.status());
    good = good && report->ok();
    json problems = json::array();
    for (const auto& p : report->problems)
      problems.push_back({{"tensor", p.tensor},
                          {"kind", storage::state_kind_name(p.kind)},
                          {"pack", p.pack},
                          {"rank", p.rank < 0 ? json() : json(p.rank)},
                          {"chunk", p.chunk.hash.hex()},
                          {"message", p.message},
                          {"also_needed_by", p.also_needed_by}});
    document.push_back({{"name", report->name},
                        {"ok", report->ok()},
                        {"tensors", report->tensor_count},
                        {"chunks", report->chunk_count},
                        {"bytes", report->bytes_read},
                        {"problems", problems}});
    if (o.read.json) continue;
    std::printf("%s  %s  %lld tensors, %lld chunks, %s read\n", report->name.c_str(), report->ok() ? "ok" : "DAMAGED",
                static_cast<long long>(report->tensor_count), static_cast<long long>(report->chunk_count),
                human_bytes(static_cast<double>(report->bytes_read)).c_str());
    print_problems(report->problems);
  }
  if (o.read.json) std::printf("%s\n", document.dump(2).c_str());
  return good ? kOk : kFailed;
}

}  // namespace

void add_checkpoints(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("ckpt", "The checkpoints of a store");
  group->require_subcommand(1);
  auto o = std::make_shared<Options>();
  add_read_verb(verbs, *group, "ls", "List checkpoints", "tephra ckpt ls --store tephra-store", &o->read, [o] {
    return list(*o);
  })->add_option("--job", o->job, "only this job's");
  add_read_verb(verbs, *group, "show", "One checkpoint: origin, bytes, tensors", "tephra ckpt show demo-1/align@latest",
                &o->read, [o] { return show(*o); })
      ->add_option("CHECKPOINT", o->name)
      ->required();
  add_checkpoint_history(verbs, *group);
  add_checkpoint_changes(verbs, *group);
  add_read_verb(verbs, *group, "verify", "Read everything again and compare checksums",
                "tephra ckpt verify demo-1/instruct@latest", &o->read, [o] { return verify(*o); })
      ->add_option("CHECKPOINT", o->name, "all when left out");
  add_checkpoint_files(verbs, *group);
}

}  // namespace tephra::cli
