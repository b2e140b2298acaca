#include "coordinator/judging.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "base/env.h"
#include "cluster/chat/chat_client.h"
#include "cluster/chat/chat_journal.h"
#include "eval/score/judge.h"

namespace tephra::coordinator {
namespace {

constexpr int kReplyTokensMax = 1024;
// Of an answer's body in the journal. A stream has some 250 bytes for each token of the reply.
constexpr size_t kRawBytesMax = size_t{256} << 10;

// The requests of one bench, handed to threads until all are answered or one fails for good.
class Asking {
 public:
  Asking(const std::vector<eval::JudgeRequest>& requests, cluster::ChatClient& client, cluster::ChatJournal& journal,
         const std::function<void(const JudgeProgress&)>& progress)
      : requests_(requests),
        client_(client),
        journal_(journal),
        chat_(client, journal, /*retry_in_doubt=*/true),
        progress_(progress) {}

  Judgments run(int64_t concurrency) {
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < std::min<int64_t>(concurrency, static_cast<int64_t>(requests_.size())); ++i)
      threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    if (!out_.incomplete.empty())
      out_.incomplete = std::to_string(requests_.size() - out_.replies.size()) + " of " +
                        std::to_string(requests_.size()) + " judgments are missing: " + out_.incomplete;
    return std::move(out_);
  }

 private:
  void work() {
    for (size_t i = next_++; i < requests_.size(); i = next_++) {
      cluster::ChatRequest request;
      if (!requests_[i].system.empty()) request.messages.push_back({"system", requests_[i].system});
      request.messages.push_back({"user", requests_[i].prompt});
      request.tokens_max = kReplyTokensMax;
      const bool known = journal_.state(client_.request_key(request)) == cluster::ChatJournal::State::kAnswered;
      const auto reply = chat_.ask(request);
      const std::lock_guard lock(mutex_);
      if (!reply.ok()) {
        // A judge that does not answer one does not answer the others: what is missing is asked for by a later call.
        if (out_.incomplete.empty()) out_.incomplete = reply.status().message();
        next_ = requests_.size();
        return;
      }
      out_.replies[requests_[i].key] = reply->text;
      earlier_ += known;
      if (progress_)
        progress_({static_cast<int64_t>(out_.replies.size()), static_cast<int64_t>(requests_.size()), earlier_,
                   journal_.spent()});
    }
  }

  const std::vector<eval::JudgeRequest>& requests_;
  cluster::ChatClient& client_;
  cluster::ChatJournal& journal_;
  cluster::JournaledChat chat_;
  const std::function<void(const JudgeProgress&)>& progress_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  Judgments out_;
  int64_t earlier_ = 0;
};

Judgments judge_locally(const eval::QuestionSet& set, const std::map<std::string, std::string>& answers,
                        bool both_orders) {
  Judgments out;
  for (const eval::Question& q : set.questions) {
    const auto answer = answers.find(eval::answer_key(q.id, false));
    if (answer == answers.end()) continue;
    for (const bool first : {false, true})
      if (!first || both_orders)
        out.replies[eval::judgment_key(q.id, first)] = eval::local_judgment(q, answer->second, first);
  }
  return out;
}

}  // namespace

std::string judge_key(const recipes::JudgeRecipe& judge) {
  const char* key = judge.key_env.empty() ? nullptr : std::getenv(judge.key_env.c_str());
  return key == nullptr ? "" : key;
}

Result<std::string> pinned_judge(const recipes::JudgeRecipe& judge) {
  TEPHRA_ASSIGN_OR_RETURN(const auto prompts, eval::load_judge_prompts(judge.prompts));
  const std::string orders = judge.orders == "both" ? "both orders" : "reference first";
  if (judge.endpoint == "local")
    return "local, overlap of words with the reference: a smoke check, no measure; " + orders;
  return judge.model + ", prompts version " + prompts.version + " (" + prompts.hash.substr(0, 12) + "), " + orders;
}

Result<Judgments> judge_answers(const recipes::JudgeRecipe& judge, const eval::QuestionSet& set,
                                const std::map<std::string, std::string>& answers, const std::string& journal_dir,
                                const std::string& key, const std::function<void(const JudgeProgress&)>& progress) {
  TEPHRA_ASSIGN_OR_RETURN(const auto prompts, eval::load_judge_prompts(judge.prompts));
  const bool both = judge.orders == "both";
  if (judge.endpoint == "local") return judge_locally(set, answers, both);
  const auto requests = eval::judge_requests(prompts, set, answers, both);
  cluster::ChatClientOptions options;
  options.url = judge.endpoint;
  options.model = judge.model;
  options.key = key;
  options.prices = {judge.price_in, judge.price_out};
  options.spending_limit = judge.max_cost;
  options.requests_per_minute = static_cast<double>(judge.requests_per_minute);
  TEPHRA_ASSIGN_OR_RETURN(auto client, cluster::ChatClient::create(options));
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(journal_dir));
  TEPHRA_ASSIGN_OR_RETURN(auto journal, cluster::ChatJournal::open(Env::posix(), journal_dir, kRawBytesMax));
  return Asking(requests, *client, *journal, progress).run(judge.concurrency);
}

}  // namespace tephra::coordinator
