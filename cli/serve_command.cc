#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/env.h"
#include "base/log.h"
#include "cli/app.h"
#include "cli/interrupt.h"
#include "cli/launcher_options.h"
#include "cli/programs.h"
#include "cli/server_files.h"
#include "cli/store_option.h"
#include "cluster/http/http_text.h"
#include "coordinator/coordinator.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string store = "tephra-store", listen = "127.0.0.1:7070", token_file, tls_cert, tls_key, log_format = "text";
  std::string webhook_url, webhook_secret_file;
  std::vector<std::string> webhook_events, data_roots, judges;
  LauncherChoice launcher;
  double rate = 1000;
  int slots = 0;
  bool json = false;
};

Status fill_webhook(const Options& o, coordinator::WebhookOptions* webhook) {
  webhook->url = o.webhook_url;
  if (!o.webhook_secret_file.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(webhook->secret, token_from_file(o.webhook_secret_file, false));
  }
  if (o.webhook_events.empty()) return ok_status();
  webhook->phases.clear();
  for (const std::string& event : o.webhook_events) {
    TEPHRA_ASSIGN_OR_RETURN(const coordinator::Phase phase, coordinator::parse_phase(event));
    webhook->phases.push_back(phase);
  }
  return ok_status();
}

Status fill_judges(const Options& o, coordinator::JudgePolicy* policy) {
  for (const std::string& judge : o.judges) {
    auto endpoint = coordinator::parse_judge_endpoint(judge);
    if (!endpoint.ok()) return endpoint.status().with_context("--judge");
    if (!endpoint->key_env.empty() && std::getenv(endpoint->key_env.c_str()) == nullptr)
      return {Code::kInvalidArgument,
              "--judge: the environment variable " + endpoint->key_env + " is not set; set it before tephra serve"};
    policy->endpoints.push_back(std::move(endpoint).value());
  }
  return ok_status();
}

int serve(const Options& o) {
  log::init("", log::Level::kWarning, "tephra", o.log_format == "json" ? log::Format::kJson : log::Format::kText);
  const auto address = cluster::parse_address(o.listen);
  if (!address.ok()) return fail(address.status().with_context("--listen"));
  if (o.tls_cert.empty() != o.tls_key.empty())
    return fail({Code::kInvalidArgument, "--tls-cert and --tls-key belong together; give both"});
  coordinator::Options options;
  if (const Status applied = apply(o.launcher, &options); !applied.ok()) return fail(applied);
  if (const Status filled = fill_judges(o, &options.judges); !filled.ok()) return fail(filled);
  auto worker = find_worker();
  if (!worker.ok()) return fail(worker.status());
  catch_interrupts();
  if (Status made = coordinator::make_store_folder(o.store); !made.ok()) return fail(made);
  const std::string token_file = o.token_file.empty() ? o.store + "/token" : o.token_file;
  auto token = token_from_file(token_file, true);
  if (!token.ok()) return fail(token.status());

  options.store_dir = o.store;
  options.worker_program = *worker;
  options.http_host = address->host;
  options.http_port = address->port;
  options.token = *token;
  options.requests_per_second = o.rate;
  options.data_roots = o.data_roots;
  options.tls_certificate = o.tls_cert;
  options.tls_key = o.tls_key;
  options.slots = o.slots;
  if (const Status filled = fill_webhook(o, &options.webhook); !filled.ok()) return fail(filled);
  auto coordinator = coordinator::Coordinator::start(options);
  if (!coordinator.ok()) return fail(coordinator.status());
  const std::string url = std::string(o.tls_cert.empty() ? "http://" : "https://") + options.http_host + ":" +
                          std::to_string((*coordinator)->http_port());
  const std::string authority = o.tls_cert.empty() ? "" : std::filesystem::absolute(o.tls_cert).string();
  if (Status written = write_server_file(o.store, url, authority); !written.ok()) return fail(written);
  if (o.json) {
    const nlohmann::json line = {
        {"store", o.store}, {"url", url}, {"slots", (*coordinator)->slots()}, {"token_file", token_file}};
    std::printf("%s\n", line.dump().c_str());
  } else {
    std::printf("tephra serves %s at %s (%d slots); an admin's token is in %s\n", o.store.c_str(), url.c_str(),
                (*coordinator)->slots(), token_file.c_str());
  }
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
  add_store_option(*verb, o->store, "store folder; made when missing");
  verb->add_option("--listen", o->listen, "HOST:PORT of the HTTP interface; port 0: a free one")->capture_default_str();
  verb->add_option(
      "--token-file", o->token_file,
      "an admin's bearer token in its first line; made when missing (default STORE/token). Tokens with other "
      "roles: tephra token create");
  verb->add_option("--tls-cert", o->tls_cert, "PEM file of the certificate and its issuers': HTTPS in place of HTTP");
  verb->add_option("--tls-key", o->tls_key, "PEM file of its private key");
  verb->add_option("--rate", o->rate, "HTTP requests a second that one address may make, in the mean")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option(
          "--data-root", o->data_roots,
          "folder that recipes sent over HTTP may name data and models in, but for an admin's; may be repeated "
          "(default: any)")
      ->take_all();
  verb->add_option(
          "--judge", o->judges,
          "URL[,key_env=VARIABLE] of a judge that recipes may name, and the environment variable whose value it "
          "is sent as its key; may be repeated (default: none but endpoint: local)")
      ->take_all();
  verb->add_option(
          "--slots", o->slots,
          "compute threads that gangs may use together; 0: all cores of this machine, slots of the host file, or "
          "CPUs of the Slurm cluster")
      ->capture_default_str();
  add_launcher_options(verb, &o->launcher);
  verb->add_option("--log-format", o->log_format, "of the lines on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_option("--webhook-url", o->webhook_url, "where to POST a note of each job that ended");
  verb->add_option("--webhook-secret-file", o->webhook_secret_file, "its first line signs the notes");
  verb->add_option("--webhook-events", o->webhook_events, "of which jobs: done, failed, cancelled (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember({"done", "failed", "cancelled"}));
  verb->add_flag("--json", o->json,
                 "the address, once it answers, as a JSON line {\"store\", \"url\", \"slots\", \"token_file\"}");
  verb->footer(
      "Example:\n  tephra serve --store tephra-store --listen 127.0.0.1:7070\n"
      "  tephra serve --listen 0.0.0.0:7443 --tls-cert cert.pem --tls-key key.pem --log-format json\n"
      "  tephra serve --store /shared/store --launcher slurm --network eth0 --sbatch-argument=--partition=gpu "
      "--sbatch-argument=--time=4:00:00");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return serve(*o); }; });
}

}  // namespace tephra::cli
