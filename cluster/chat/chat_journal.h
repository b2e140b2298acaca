// What an endpoint was asked and what it answered, on disk before anything is made of it, so that a run that was killed goes
// on without asking, or paying, twice.
//
// A folder of files NNNNNN.jsonl, one for each run, and a lock. A line is a record: 16 hexadecimal digits, the XXH3 of the rest
// of the line; a space; and one JSON object:
//   {"begin": KEY, "cost_max": USD}   a request is about to be sent
//   {"refused": KEY}                  its last try is known to have cost nothing
//   {"answer": KEY, "cost": USD, "reply": {"text", "finish_reason", "model", "prompt_tokens", "reply_tokens"}}
//     and, where raw replies are kept, "raw": the answer's body as it came; of one that is too long, begin and end
//   {"lost": KEY, "cost": USD}        given up; USD is the most that its tries can have cost
// The last line of a file may be cut off (a process killed while it wrote): it is as if it had not been written.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "cluster/chat/chat_client.h"

namespace tephra::cluster {

// Any thread.
class ChatJournal {
 public:
  // Opens or makes the folder `dir`. kBusy: another process has it open; kCorruption: a line that is damaged, and not the last of
  // its file, with file and line. `raw_bytes_max`: so much of each answer's body is kept beside what was read from it; 0: nothing.
  static Result<std::unique_ptr<ChatJournal>> open(Env& env, const std::string& dir, size_t raw_bytes_max = 0);
  ~ChatJournal();

  enum class State {
    kNew,       // never sent, or refused
    kUnderWay,  // begun in this process
    kInDoubt,   // sent, and no whole reply is known: it may have been paid for
    kAnswered,
  };
  State state(const std::string& key) const;
  Result<ChatReply> reply(const std::string& key) const;  // kNotFound unless kAnswered. `raw`: as far as it is kept.

  // On disk when these return, begin(), answer() and lost(); many threads share one fsync.
  Status begin(const std::string& key, double cost_max);
  Status refused(const std::string& key);
  Status answer(const std::string& key, const ChatReply& reply, double cost);
  Status lost(const std::string& key, double cost);

  // USD by all runs; what is in doubt counts with the most that it can have cost.
  double spent() const;
  size_t in_doubt() const;
  size_t answered() const;

 private:
  struct Impl;
  explicit ChatJournal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A client behind a journal. Any number of threads.
class JournaledChat {
 public:
  // Both outlive this. `retry_in_doubt`: ask again what may have been paid for and whose reply was lost.
  JournaledChat(ChatClient& client, ChatJournal& journal, bool retry_in_doubt);

  // The journal's reply, else the endpoint's, journaled. As ChatClient::ask, and kMismatch: in doubt, and not asked again.
  // Threads that ask the same at the same time get one reply.
  Result<ChatReply> ask(const ChatRequest& request);

 private:
  Result<ChatReply> ask_endpoint(const ChatRequest& request, const std::string& key);

  ChatClient& client_;
  ChatJournal& journal_;
  const bool retry_in_doubt_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> under_way_;
};

}  // namespace tephra::cluster
