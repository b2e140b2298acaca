// Asks an OpenAI-compatible chat endpoint, as many threads at once as the caller has: with retries and growing waits, a limit
// of requests and tokens a minute, a spending limit, and a key that is never written anywhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "cluster/chat/chat.h"
#include "cluster/chat/spending.h"

namespace tephra::cluster {

struct ChatClientOptions {
  std::string url{};  // base, as clients of OpenAI take it: https://HOST/v1; "/chat/completions" is put behind it
  std::string model{};
  std::string key{};            // bearer token; empty: none. Sent over TLS or to this machine only.
  std::string tls_authority{};  // file of the certificates to trust, PEM; empty: the machine's
  std::string extra{};          // chat_body's
  bool stream = true;           // the reply comes in pieces, so that `timeout` tells a long reply from a dead endpoint
  ChatPrices prices{};
  double spending_limit = 0;                        // USD; 0: none. Needs prices.
  double requests_per_minute = 0;                   // 0: any number
  double tokens_per_minute = 0;                     // prompt and reply; 0: any number
  int tries_max = 6;                                // of one request
  std::chrono::milliseconds first_wait{1000};       // before the second try, about; doubled after each
  std::chrono::milliseconds longest_wait{60000};    // also of what an endpoint asks for with Retry-After
  std::chrono::milliseconds timeout{120000};        // of connecting, and between any two pieces of the reply
  std::chrono::milliseconds whole_timeout{600000};  // of one try
  std::function<bool()>
      cancelled{};  // asked ten times a second while something is waited for; true: kCancelled. Any thread.
};

// What a client has done so far.
struct ChatTotals {
  int64_t replies = 0;
  int64_t tries = 0;
  int64_t failed_tries = 0;
  int64_t lost_tries = 0;  // sent, and no whole reply came back: the endpoint may have counted them
  int64_t prompt_tokens = 0;
  int64_t reply_tokens = 0;
  double spent = 0;  // USD, with lost tries at the most that they can have cost
};

// Told of each try: true before it is sent (a failure stops the request, unsent), false once it is known to have cost nothing.
using OnChatTry = std::function<Status(bool sending)>;

class ChatClient {
 public:
  // kInvalidArgument: no such url, extra fields that are no object, a key that would go over the network in the clear, or a
  // spending limit without prices.
  static Result<std::unique_ptr<ChatClient>> create(ChatClientOptions options);
  ~ChatClient();

  // Blocks until the reply is there or is given up. Any number of threads; each is one request under way. Every try of one
  // request carries the same Idempotency-Key, made from what is sent, for endpoints that know it.
  //   kPermission: the key is refused.  kNotFound: no such model or path.  kInvalidArgument: the endpoint does not take this request.
  //   kNoSpace: the spending limit, or the account's quota, is reached.  kCancelled: as options.cancelled said.
  //   kUnavailable, kPeerLost, kTimeout, kCorruption: what the last of tries_max tries ended with.
  Result<ChatReply> ask(const ChatRequest& request, const OnChatTry& on_try = {});

  // USD of a reply, and the most that a request can cost.
  double cost(const ChatReply& reply) const;
  double cost_max(const ChatRequest& request) const;
  void add_spent(double amount);  // by an earlier process, towards the spending limit
  ChatTotals totals() const;
  // What names a request: equal for equal messages, sampling, model and extra fields.
  std::string request_key(const ChatRequest& request) const;

 private:
  struct Impl;
  explicit ChatClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tephra::cluster
