#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/env.h"
#include "cli/app.h"
#include "cli/interrupt.h"
#include "cli/programs.h"
#include "cli/server_files.h"
#include "cluster/http/http_text.h"
#include "coordinator/coordinator.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string store = "tephra-store", listen = "127.0.0.1:7070", token_file;
  int slots = 0;
};

int serve(const Options& o) {
  const auto address = cluster::parse_address(o.listen);
  if (!address.ok()) return fail(address.status().with_context("--listen"));
  auto worker = find_worker();
  if (!worker.ok()) return fail(worker.status());
  catch_interrupts();
  if (Status made = Env::posix().make_directories(o.store); !made.ok()) return fail(made);
  auto token = token_from_file(o.token_file.empty() ? o.store + "/token" : o.token_file, true);
  if (!token.ok()) return fail(token.status());

  coordinator::Options options;
  options.store_dir = o.store;
  options.worker_program = *worker;
  options.http_host = address->host;
  options.http_port = address->port;
  options.token = *token;
  options.slots = o.slots;
  auto coordinator = coordinator::Coordinator::start(options);
  if (!coordinator.ok()) return fail(coordinator.status());
  std::string url = "http://" + options.http_host + ":" + std::to_string((*coordinator)->http_port());
  if (Status written = write_server_file(o.store, url); !written.ok()) return fail(written);
  std::printf("tephra serves %s at %s (%d slots); the token is in %s\n", o.store.c_str(), url.c_str(),
              (*coordinator)->slots(), (o.token_file.empty() ? o.store + "/token" : o.token_file).c_str());
  std::fflush(stdout);
  while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  (*coordinator)->shutdown();
  remove_server_file(o.store);
  return kOk;
}
}  // namespace

void add_serve(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* verb = verbs.app.add_subcommand("serve", "Run the coordinator as a daemon");
  verb->add_option("--store", o->store, "store folder; made when missing")
      ->envname("TEPHRA_STORE")
      ->capture_default_str();
  verb->add_option("--listen", o->listen, "HOST:PORT of the HTTP interface; port 0: a free one")->capture_default_str();
  verb->add_option("--token-file", o->token_file,
                   "bearer token in its first line; made when missing (default STORE/token)");
  verb->add_option("--slots", o->slots, "compute threads that gangs may use together; 0: all cores")
      ->capture_default_str();
  verb->footer("Example:\n  tephra serve --store tephra-store --listen 127.0.0.1:7070");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return serve(*o); }; });
}

}  // namespace tephra::cli
