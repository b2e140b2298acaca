#include "cluster/chat/chat_client.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/random.h"
#include "base/rate_limit.h"
#include "cluster/http/http_client.h"
#include "cluster/http/http_server.h"

namespace tephra::cluster {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kReplyBytesMax = 16u << 20;
constexpr std::string_view kDone = "data: [DONE]";

// How one try ended.
struct Outcome {
  Status status;  // ok: there is a reply
  ChatReply reply{};
  bool again = false;       // another try may do
  bool maybe_paid = false;  // the endpoint had the request, and may have answered it
  milliseconds wait{0};     // as the endpoint asked for
};

double seconds_now() { return std::chrono::duration<double>(SteadyClock::now().time_since_epoch()).count(); }

// "2", "0.5" (both have been seen), or of "retry-after-ms". A date is not read: the own wait is as good.
milliseconds retry_after(const HttpAnswer& answer) {
  const auto number = [&](const char* name) {
    const auto found = answer.headers.find(name);
    double value = 0;
    if (found == answer.headers.end()) return 0.0;
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && value > 0 && value < 1e6 ? value : 0.0;
  };
  const double ms = number("retry-after-ms");
  return milliseconds(static_cast<int64_t>(ms > 0 ? ms : 1000 * number("retry-after")));
}

Outcome judge_status(const HttpAnswer& answer) {
  const std::string said =
      "the endpoint answered " + std::to_string(answer.status) + ": " + chat_error_text(answer.body);
  const auto ended = [&](Code code) { return Outcome{Status(code, said)}; };
  switch (answer.status) {
    case 401:
    case 403: return ended(Code::kPermission);
    case 402: return ended(Code::kNoSpace);
    case 404: return ended(Code::kNotFound);
    case 429:
      // OpenAI's way of saying that the account is empty: no wait helps.
      if (answer.body.find("insufficient_quota") != std::string::npos) return ended(Code::kNoSpace);
      break;
    case 408:
    case 409:
    case 425: break;
    default:
      if (answer.status < 500) return ended(Code::kInvalidArgument);
  }
  Outcome outcome{Status(Code::kUnavailable, said)};
  outcome.again = true;
  outcome.wait = retry_after(answer);
  return outcome;
}

}  // namespace

struct ChatClient::Impl {
  explicit Impl(ChatClientOptions given)
      : options(std::move(given)),
        spending(options.spending_limit),
        requests(options.requests_per_minute / 60, std::max(1.0, options.requests_per_minute / 60)),
        tokens(options.tokens_per_minute / 60, std::max(1.0, options.tokens_per_minute)) {
    endpoint.url = options.url;
    while (endpoint.url.ends_with('/')) endpoint.url.pop_back();
    endpoint.token = options.key;
    endpoint.tls_authority = options.tls_authority;
  }

  bool cancelled() const { return options.cancelled && options.cancelled(); }

  Status sleep_until(SteadyClock::time_point until) const {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock lock(mutex);
    for (auto now = SteadyClock::now(); now < until; now = SteadyClock::now()) {
      if (cancelled()) return {Code::kCancelled, "given up while waiting for the next try"};
      never.wait_until(lock, std::min(until, now + milliseconds(100)));
    }
    return ok_status();
  }

  // Until the endpoint's own wait is over and both limits let the request pass.
  Status wait_for_turn(double tokens_about) {
    for (;;) {
      SteadyClock::time_point until;
      {
        std::lock_guard lock(mutex);
        until = quiet_until;
      }
      TEPHRA_RETURN_IF_ERROR(sleep_until(until));
      if (cancelled()) return {Code::kCancelled, "given up before it was sent"};
      double wait = 0;
      const double taken = std::min(tokens_about, options.tokens_per_minute);
      if (options.tokens_per_minute > 0) wait = tokens.take("", seconds_now(), taken);
      if (wait == 0 && options.requests_per_minute > 0) {
        wait = requests.take("", seconds_now());
        // The tokens were taken for nothing: they are given back.
        if (wait > 0 && options.tokens_per_minute > 0) tokens.charge("", seconds_now(), -taken);
      }
      if (wait == 0) return ok_status();
      TEPHRA_RETURN_IF_ERROR(sleep_until(SteadyClock::now() + milliseconds(static_cast<int64_t>(1000 * wait) + 1)));
    }
  }

  Outcome send(const std::string& body, const std::string& key) const {
    const auto give_up = SteadyClock::now() + options.whole_timeout;
    HttpCall call;
    call.method = "POST";
    call.target = "/chat/completions";
    call.body = body;
    call.timeout = options.timeout;
    call.headers["Idempotency-Key"] = key;
    call.headers["Accept"] = options.stream ? "text/event-stream, application/json" : "application/json";
    call.cancelled = [&] { return SteadyClock::now() > give_up || cancelled(); };
    std::string text;
    bool too_long = false;
    Result<HttpAnswer> answer = http_call_stream(endpoint, call, [&](const std::string& piece) {
      const size_t seen = text.size();
      text += piece;
      too_long = text.size() > kReplyBytesMax;
      // Not every endpoint closes the connection after a stream's end.
      return !too_long && text.find(kDone, seen < kDone.size() ? 0 : seen - kDone.size()) == std::string::npos;
    });
    Outcome outcome;
    if (!answer.ok()) {
      outcome.status = answer.status();
      const Code code = outcome.status.code();
      if (code == Code::kCancelled && !cancelled())
        outcome.status = Status(Code::kTimeout, endpoint.url + ": no whole reply in time");
      outcome.again = code != Code::kInvalidArgument && code != Code::kPermission && !cancelled();
      outcome.maybe_paid = code == Code::kPeerLost || code == Code::kTimeout || code == Code::kCancelled;
      return outcome;
    }
    answer->body = std::move(text);
    if (answer->status < 200 || answer->status >= 300) return judge_status(*answer);
    Result<ChatReply> reply = parse_chat_reply(answer->body);
    if (reply.ok() && !too_long) {
      outcome.reply = std::move(reply).value();
      return outcome;
    }
    outcome.status = too_long ? Status(Code::kCorruption, "the reply is longer than 16 MiB") : reply.status();
    outcome.again = true;
    outcome.maybe_paid = true;
    return outcome;
  }

  // The endpoint's own words may hold what was sent to it.
  Status without_key(const Status& status) const {
    std::string message = status.message();
    for (size_t at = 0; !options.key.empty() && (at = message.find(options.key, at)) != std::string::npos;)
      message.replace(at, options.key.size(), "[key]");
    return {status.code(), message};
  }

  milliseconds wait_after(int tries, const Outcome& outcome, const std::string& key) const {
    const double doubled =
        static_cast<double>(options.first_wait.count()) * static_cast<double>(1 << std::min(tries - 1, 20));
    // Half of it, up to all: threads that were refused together do not come back together.
    const double part = 0.5 + 0.5 * random_unit({key_of(key), static_cast<uint64_t>(tries)});
    const milliseconds own(static_cast<int64_t>(part * doubled));
    return std::min(options.longest_wait, std::max(own, outcome.wait));
  }

  Result<Outcome> attempt(const ChatRequest& request, const std::string& body, const std::string& key,
                          const OnChatTry& on_try) {
    const double most = options.prices.cost(prompt_tokens_max(request), request.tokens_max);
    // The bytes' quarter is what English has; the difference is made up once it is known.
    const double tokens_about = static_cast<double>(prompt_tokens_max(request)) / 4 + request.tokens_max / 2.0;
    TEPHRA_RETURN_IF_ERROR(wait_for_turn(tokens_about));
    TEPHRA_RETURN_IF_ERROR(spending.reserve(most, options.cancelled));
    if (Status told = on_try ? on_try(true) : ok_status(); !told.ok()) {
      spending.settle(most, 0);
      return told;
    }
    Outcome outcome = send(body, key);
    if (outcome.status.ok() && !outcome.reply.usage_known) outcome.reply.prompt_tokens = prompt_tokens_max(request) / 4;
    const ChatReply& reply = outcome.reply;
    const double actual = outcome.status.ok() ? options.prices.cost(reply.prompt_tokens, reply.reply_tokens)
                                              : (outcome.maybe_paid ? most : 0);
    spending.settle(most, actual);
    if (outcome.status.ok() && options.tokens_per_minute > 0)
      tokens.charge("", seconds_now(), static_cast<double>(reply.prompt_tokens + reply.reply_tokens) - tokens_about);
    count(outcome);
    return outcome;
  }

  void count(const Outcome& outcome) {
    std::lock_guard lock(mutex);
    ++totals.tries;
    if (outcome.status.ok()) {
      ++totals.replies;
      totals.prompt_tokens += outcome.reply.prompt_tokens;
      totals.reply_tokens += outcome.reply.reply_tokens;
      return;
    }
    ++totals.failed_tries;
    if (outcome.maybe_paid) ++totals.lost_tries;
    // One refusal speaks for all threads.
    if (outcome.wait.count() > 0)
      quiet_until = std::max(quiet_until, SteadyClock::now() + std::min(options.longest_wait, outcome.wait));
  }

  const ChatClientOptions options;
  HttpEndpoint endpoint;
  Spending spending;
  RateLimit requests, tokens;
  mutable std::mutex mutex;
  SteadyClock::time_point quiet_until{};
  ChatTotals totals;
};

ChatClient::ChatClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatClient::~ChatClient() = default;

Result<std::unique_ptr<ChatClient>> ChatClient::create(ChatClientOptions options) {
  TEPHRA_ASSIGN_OR_RETURN(const HttpUrl url, parse_http_url(options.url));
  if (options.model.empty()) return Status(Code::kInvalidArgument, "the endpoint's model has no name");
  if (!options.key.empty() && !url.tls && url.host != "localhost" && !is_loopback(url.host))
    return Status(Code::kInvalidArgument,
                  options.url + ": the key would go over the network unencrypted; use https, or no key");
  if (options.key.find_first_of(" \r\n\t") != std::string::npos)
    return Status(Code::kInvalidArgument, "the key holds white space");
  if (options.spending_limit > 0 && options.prices.cost(1, 1) <= 0)
    return Status(Code::kInvalidArgument,
                  "a spending limit needs the endpoint's prices: what a million tokens sent, and of replies, cost");
  if (options.tries_max < 1) return Status(Code::kInvalidArgument, "a request needs one try at least");
  TEPHRA_RETURN_IF_ERROR(chat_body({}, options.model, options.stream, options.extra).status());
  return std::unique_ptr<ChatClient>(new ChatClient(std::make_unique<Impl>(std::move(options))));
}

Result<ChatReply> ChatClient::ask(const ChatRequest& request, const OnChatTry& on_try) {
  Impl& impl = *impl_;
  TEPHRA_ASSIGN_OR_RETURN(const std::string body,
                          chat_body(request, impl.options.model, impl.options.stream, impl.options.extra));
  const std::string key = request_key(request);
  for (int tries = 1;; ++tries) {
    TEPHRA_ASSIGN_OR_RETURN(Outcome outcome, impl.attempt(request, body, key, on_try));
    if (outcome.status.ok()) return std::move(outcome.reply);
    if (on_try && !outcome.maybe_paid) TEPHRA_RETURN_IF_ERROR(on_try(false));
    if (!outcome.again) return impl.without_key(outcome.status);
    if (tries >= impl.options.tries_max)
      return impl.without_key(outcome.status.with_context("after " + std::to_string(tries) + " tries"));
    TEPHRA_RETURN_IF_ERROR(impl.sleep_until(SteadyClock::now() + impl.wait_after(tries, outcome, key)));
  }
}

double ChatClient::cost(const ChatReply& reply) const {
  return impl_->options.prices.cost(reply.prompt_tokens, reply.reply_tokens);
}

double ChatClient::cost_max(const ChatRequest& request) const {
  return impl_->options.prices.cost(prompt_tokens_max(request), request.tokens_max);
}

void ChatClient::add_spent(double amount) { impl_->spending.add_spent(amount); }

ChatTotals ChatClient::totals() const {
  ChatTotals totals;
  {
    std::lock_guard lock(impl_->mutex);
    totals = impl_->totals;
  }
  totals.spent = impl_->spending.spent();
  return totals;
}

std::string ChatClient::request_key(const ChatRequest& request) const {
  const auto body = chat_body(request, impl_->options.model, false, impl_->options.extra);
  return hash_text(body.ok() ? *body : "").hex();
}

}  // namespace tephra::cluster
