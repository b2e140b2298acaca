#include "cli/endpoint_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "cli/interrupt.h"

namespace tephra::cli {

void add_endpoint_options(CLI::App* verb, EndpointOptions* o) {
  cluster::ChatClientOptions& c = o->client;
  const char* const group = "Endpoint";
  verb->add_option("--url", c.url, "the endpoint's base, as https://HOST/v1")->group(group);
  verb->add_option("--model", c.model, "the model to ask")->group(group);
  verb->add_option("--key-variable", o->key_variable,
                   "environment variable that holds the key; none when it is not set")
      ->capture_default_str()
      ->group(group);
  verb->add_option("--tls-ca", c.tls_authority, "file of the certificates to trust, PEM; the machine's when left out")
      ->group(group);
  verb->add_option("--concurrency", o->concurrency, "requests under way at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 512))
      ->group(group);
  verb->add_option("--requests-per-minute", c.requests_per_minute, "0: any number")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  verb->add_option("--tokens-per-minute", c.tokens_per_minute, "prompt and reply; 0: any number")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  verb->add_option("--tries", c.tries_max, "of one request")
      ->capture_default_str()
      ->check(CLI::Range(1, 100))
      ->group(group);
  verb->add_option("--retry-wait", o->retry_wait_s, "seconds before the second try, doubled after each, up to a minute")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 60.0))
      ->group(group);
  verb->add_option("--timeout", o->timeout_s, "seconds without a piece of the reply before another try")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0))
      ->group(group);
  verb->add_option("--price-prompt", c.prices.prompt_per_million, "USD for a million tokens sent")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  verb->add_option("--price-reply", c.prices.reply_per_million, "USD for a million tokens of replies")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  verb->add_option("--max-cost", c.spending_limit,
                   "USD that may be spent, by all runs with this journal; needs the prices. 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  verb->add_option("--request-fields", c.extra,
                   "JSON object of fields to add, replace or (null) remove in each request")
      ->group(group);
  verb->add_flag("--no-stream", o->whole, "ask for whole replies, not pieces")->group(group);
}

Result<std::unique_ptr<cluster::ChatClient>> make_chat_client(const EndpointOptions& options) {
  cluster::ChatClientOptions client = options.client;
  if (client.url.empty() || client.model.empty())
    return Status(Code::kInvalidArgument, "the endpoint needs --url and --model");
  if (const char* key = std::getenv(options.key_variable.c_str()); key != nullptr)
    client.key = key;
  else if (options.key_variable != EndpointOptions{}.key_variable)  // it was asked for
    return Status(Code::kInvalidArgument, "--key-variable: the environment variable " + options.key_variable +
                                              " is not set; set it to the endpoint's key");
  client.stream = !options.whole;
  client.timeout = std::chrono::milliseconds(static_cast<int64_t>(1000 * options.timeout_s));
  client.first_wait = std::chrono::milliseconds(static_cast<int64_t>(1000 * options.retry_wait_s));
  client.whole_timeout = std::max(client.whole_timeout, 2 * client.timeout);
  client.cancelled = [] { return interrupted(); };
  return cluster::ChatClient::create(std::move(client));
}

}  // namespace tephra::cli
