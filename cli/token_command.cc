// token create, ls, revoke: of the store's tokens file. A running coordinator sees the change with the next request.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/env.h"
#include "cli/app.h"
#include "cli/store_option.h"
#include "cli/text.h"
#include "coordinator/coordinator.h"
#include "coordinator/tokens.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string store = "tephra-store", name, role, id;
  bool json = false;
};

int create(const Options& o) {
  const auto role = coordinator::parse_role(o.role);
  if (!role.ok()) return fail(role.status());
  if (const Status made = coordinator::make_store_folder(o.store); !made.ok()) return fail(made);
  const auto token =
      coordinator::create_token(coordinator::tokens_path(o.store), o.name, *role, Clock::system().unix_ms());
  if (!token.ok()) return fail(token.status());
  if (o.json)
    std::printf(
        "%s\n",
        nlohmann::json{{"id", token->id}, {"name", o.name}, {"role", o.role}, {"token", token->token}}.dump().c_str());
  else
    std::printf("%s\n", token->token.c_str());
  std::fprintf(stderr, "token %s of '%s' (%s); it is shown this once and kept nowhere\n", token->id.c_str(),
               o.name.c_str(), o.role.c_str());
  return kOk;
}

Status check_store(const Options& o) {
  if (Env::posix().exists(o.store)) return ok_status();
  return no_store(o.store);
}

int ls(const Options& o) {
  if (const Status there = check_store(o); !there.ok()) return fail(there);
  const auto records = coordinator::read_tokens(coordinator::tokens_path(o.store));
  if (!records.ok()) return fail(records.status());
  if (o.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& record : *records)
      rows.push_back({{"id", record.id},
                      {"name", record.name},
                      {"role", coordinator::role_name(record.role)},
                      {"created_unix_ms", record.created_unix_ms}});
    std::printf("%s\n", rows.dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& record : *records)
    rows.push_back(
        {record.id, record.name, std::string(coordinator::role_name(record.role)), age(record.created_unix_ms)});
  std::printf("%s", table({"id", "name", "role", "created"}, rows).c_str());
  return kOk;
}

int revoke(const Options& o) {
  if (const Status there = check_store(o); !there.ok()) return fail(there);
  const Status revoked = coordinator::revoke_token(coordinator::tokens_path(o.store), o.id);
  if (!revoked.ok()) return fail(revoked);
  std::printf("%s\n", o.json ? nlohmann::json{{"id", o.id}, {"revoked", true}}.dump().c_str()
                             : ("token " + o.id + " is revoked").c_str());
  return kOk;
}

}  // namespace

void add_token(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* token = verbs.app.add_subcommand("token", "Who may use the store's coordinator over HTTP");
  token->require_subcommand(1);
  const auto add = [&](const std::string& name, const std::string& about, int (*run)(const Options&),
                       const std::string& example) {
    auto* verb = token->add_subcommand(name, about);
    add_store_option(*verb, o->store);
    verb->add_flag("--json", o->json, "JSON output");
    verb->footer("Example:\n  " + example);
    verb->callback([&verbs, o, run] { verbs.chosen = [o, run] { return run(*o); }; });
    return verb;
  };
  auto* verb = add("create", "Make a token and print it, this once", create,
                   "tephra token create anna --role submitter --store tephra-store > anna.token");
  verb->add_option("NAME", o->name, "whom it is for; the user of the jobs that it submits")->required();
  verb->add_option("--role", o->role, "viewer: reads; submitter: submits, and changes its own jobs; admin: everything")
      ->required();
  add("ls", "List the tokens' ids, names and roles", ls, "tephra token ls --store tephra-store");
  add("revoke", "End a token at once", revoke, "tephra token revoke 1f2e3d4c --store tephra-store")
      ->add_option("ID", o->id, "as ls shows it")
      ->required();
}

}  // namespace tephra::cli
