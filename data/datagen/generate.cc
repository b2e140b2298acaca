#include "data/datagen/generate.h"

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/hash.h"
#include "base/random.h"
#include "base/threads.h"
#include "data/datagen/reply_check.h"
#include "data/dataset_folder.h"

namespace tephra::data {
namespace {

struct Wanted {
  const PictureFacts* picture;
  SampleKind kind;
};

std::vector<Wanted> list_wanted(const PictureFactsList& input, const GenerateOptions& options) {
  std::vector<Wanted> out;
  for (const PictureFacts& picture : input.pictures)
    for (const SampleKind kind : kSampleKinds) {
      const auto k = static_cast<size_t>(kind);
      if (random_unit({options.seed, key_of(picture.id), k, 3}) >= options.share[k]) continue;
      if (options.samples_max > 0 && out.size() >= options.samples_max) return out;
      out.push_back({&picture, kind});
    }
  return out;
}

bool costs_one_sample(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kCorruption:
    case Code::kPeerLost:
    case Code::kTimeout:
    case Code::kUnavailable:
    case Code::kMismatch: return true;
    default: return false;
  }
}

std::string sample_id(const Wanted& wanted) { return wanted.picture->id + "-" + kind_name(wanted.kind); }

// One sample or one reject for each wanted.
class Run {
 public:
  Run(const std::vector<Wanted>& wanted, const Prompts& prompts, const Teacher& teacher, const GenerateOptions& options)
      : wanted_(wanted),
        prompts_(prompts),
        teacher_(teacher),
        options_(options),
        made_(wanted.size()),
        rejected_(wanted.size()) {}

  Status run() {
    parallel_each(wanted_.size(), options_.concurrency, [this](size_t i) {
      if (!ended_) make(i);
    });
    return status_;
  }

  // In order; of equal ones the first stays.
  void collect(Generated* out) {
    std::set<Hash128> seen;
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (made_[i]) {
        std::string text;
        for (const Exchange& e : made_[i]->exchanges)
          text += normalised_text(e.question) + "\n" + normalised_text(e.answer) + "\n";
        if (seen.insert(hash_text(text)).second) {
          out->samples.push_back(std::move(*made_[i]));
          continue;
        }
        rejected_[i] = RejectedSample{sample_id(wanted_[i]), kind_name(wanted_[i].kind), "duplicate",
                                      "an earlier sample says the same", ""};
      }
      if (rejected_[i]) out->rejected.push_back(std::move(*rejected_[i]));
    }
  }

 private:
  void make(size_t i) {
    const Wanted& wanted = wanted_[i];
    const TeacherRequest request = prompts_.request(wanted.kind, *wanted.picture, options_.seed);
    const auto reject = [&](const std::string& reason, const std::string& detail, const std::string& reply) {
      rejected_[i] = RejectedSample{sample_id(wanted), kind_name(wanted.kind), reason, detail, reply};
    };
    Result<TeacherReply> reply = teacher_(request);
    if (!reply.ok()) {
      failed(reply.status());
      reject(reply.status().code() == Code::kMismatch ? "in_doubt" : "no_reply", reply.status().message(), "");
    } else {
      failures_ = 0;
      CheckedReply checked = check_reply(wanted.kind, request.question, reply->text, reply->finish_reason);
      if (checked.exchanges.empty() || !checked.reason.empty())
        reject(checked.reason, checked.detail, reply->text);
      else
        made_[i] = GeneratedSample{sample_id(wanted), wanted.picture->image, wanted.kind, std::move(checked.exchanges)};
    }
    std::lock_guard lock(mutex_);
    ++done_;
    if (options_.progress && !ended_) options_.progress(done_, wanted_.size());
  }

  void failed(const Status& status) {
    if (status.code() == Code::kMismatch) return;  // nothing was asked
    const int in_a_row = ++failures_;
    if (costs_one_sample(status.code()) && in_a_row < options_.failures_in_a_row_max) return;
    std::lock_guard lock(mutex_);
    if (status_.ok())
      status_ = costs_one_sample(status.code())
                    ? status.with_context(std::to_string(in_a_row) + " samples in a row got no reply")
                    : status;
    ended_ = true;
  }

  const std::vector<Wanted>& wanted_;
  const Prompts& prompts_;
  const Teacher& teacher_;
  const GenerateOptions& options_;
  std::vector<std::optional<GeneratedSample>> made_;  // each touched by the thread that claimed it
  std::vector<std::optional<RejectedSample>> rejected_;
  std::atomic<bool> ended_{false};
  std::atomic<int> failures_{0};
  std::mutex mutex_;
  uint64_t done_ = 0;
  Status status_;
};

}  // namespace

std::map<std::string, uint64_t> Generated::reasons() const {
  std::map<std::string, uint64_t> out;
  for (const RejectedSample& r : rejected) ++out[r.reason];
  return out;
}

uint64_t samples_wanted(const PictureFactsList& input, const GenerateOptions& options) {
  return list_wanted(input, options).size();
}

Result<Generated> generate(const PictureFactsList& input, const Prompts& prompts, const Teacher& teacher,
                           const GenerateOptions& options) {
  const std::vector<Wanted> wanted = list_wanted(input, options);
  Run run(wanted, prompts, teacher, options);
  TEPHRA_RETURN_IF_ERROR(run.run());
  Generated out;
  out.wanted = wanted.size();
  for (const RejectedInput& r : input.rejected) out.rejected.push_back({r.id, "picture", r.reason, r.detail, ""});
  run.collect(&out);
  return out;
}

std::string samples_json(const Generated& generated, uint64_t seed) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const GeneratedSample& sample : generated.samples) {
    nlohmann::ordered_json json = sample_json(sample.id, sample.image, sample.exchanges);
    if (random_bits({seed, key_of(sample.id), 4}) % 2 != 0)
      json["conversations"][0]["value"] = sample.exchanges.front().question + "\n" + std::string(kImageTag);
    array.push_back(std::move(json));
  }
  return json_lines(array);
}

std::string rejects_json(const Generated& generated) {
  std::string out;
  for (const RejectedSample& r : generated.rejected)
    out +=
        nlohmann::ordered_json{
            {"id", r.id}, {"kind", r.kind}, {"reason", r.reason}, {"detail", r.detail}, {"reply", r.reply}}
            .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
        "\n";
  return out;
}

}  // namespace tephra::data
