#include "cluster/chat/chat_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/hash.h"

namespace tephra::cluster {
namespace {

using nlohmann::json;

constexpr size_t kHashDigits = 16;

std::string line_of(const json& record) {
  const std::string text = record.dump(-1, ' ', false, json::error_handler_t::replace);
  return hash_text(text).hex().substr(kHashDigits) + " " + text + "\n";
}

// Nothing: damaged.
std::optional<json> record_of(std::string_view line) {
  if (line.size() < kHashDigits + 2 || line[kHashDigits] != ' ') return std::nullopt;
  const std::string_view text = line.substr(kHashDigits + 1);
  if (hash_text(text).hex().substr(kHashDigits) != line.substr(0, kHashDigits)) return std::nullopt;
  json record = json::parse(text, nullptr, false);
  if (!record.is_object()) return std::nullopt;
  return record;
}

// A lock that goes with the process, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {}
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  Status take(const std::string& dir) const {
    if (fd_ < 0) return errno_status(errno, "opening the lock of " + dir);
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return ok_status();
    if (errno != EWOULDBLOCK) return errno_status(errno, "locking " + dir);
    return {Code::kBusy, dir + ": another process is at work with this journal; wait for it, or end it"};
  }

 private:
  int fd_;
};

// Begin and end of a text that is longer than `bytes_max`, with what is left out in words.
std::string shortened(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  const size_t end = bytes_max / 4, begin = bytes_max - end;
  return text.substr(0, begin) + " [... " + std::to_string(text.size() - bytes_max) + " bytes ...] " +
         text.substr(text.size() - end);
}

std::string file_name(int run) {
  char name[32];
  std::snprintf(name, sizeof name, "%06d.jsonl", run);
  return name;
}

}  // namespace

struct ChatJournal::Impl {
  struct Entry {
    State state = State::kNew;
    double cost = 0;      // of answers, and of tries that were lost
    double cost_max = 0;  // of the try under way or in doubt
    int run = 0;          // kAnswered: where the line is
    uint64_t offset = 0, length = 0;
  };

  Impl(Env& e, std::string d, size_t raw) : env(e), dir(std::move(d)), raw_bytes_max(raw), folder_lock(dir + "/lock") {}

  std::string path(int run) const { return dir + "/" + file_name(run); }

  void apply(const json& record, int run, uint64_t offset, uint64_t length) {
    const auto key_of = [&](const char* name) -> Entry* {
      const auto it = record.find(name);
      return it != record.end() && it->is_string() ? &entries[it->get<std::string>()] : nullptr;
    };
    if (Entry* begun = key_of("begin")) {
      // A try before it that was not refused is lost.
      if (begun->state == State::kInDoubt || begun->state == State::kUnderWay) begun->cost += begun->cost_max;
      begun->state = State::kUnderWay;
      begun->cost_max = record.value("cost_max", 0.0);
    } else if (Entry* refused = key_of("refused")) {
      refused->state = State::kNew;
      refused->cost_max = 0;
    } else if (Entry* answered = key_of("answer")) {
      *answered = {State::kAnswered, answered->cost + record.value("cost", 0.0), 0, run, offset, length};
    } else if (Entry* lost = key_of("lost")) {
      *lost = {State::kInDoubt, lost->cost + record.value("cost", 0.0)};
    }
  }

  Status load(int run) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(env, path(run)));
    int line_number = 1;
    for (size_t at = 0; at < text.size(); ++line_number) {
      const size_t end = text.find('\n', at);
      const size_t stop = end == std::string::npos ? text.size() : end;
      const auto record = record_of(std::string_view(text).substr(at, stop - at));
      if (!record && stop + 1 < text.size())
        return {Code::kCorruption,
                path(run) + ":" + std::to_string(line_number) +
                    ": the line is damaged; restore the file, or move it away to ask its requests anew"};
      if (record && end != std::string::npos) apply(*record, run, at, stop - at);
      at = stop + 1;
    }
    return ok_status();
  }

  Status load_all() {
    TEPHRA_RETURN_IF_ERROR(folder_lock.take(dir));
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::string> names, env.list(dir));
    for (const std::string& name : names) {
      const int number = std::atoi(name.c_str());
      if (number <= 0 || name != file_name(number)) continue;
      TEPHRA_RETURN_IF_ERROR(load(number));
      run = number;
    }
    for (auto& [key, entry] : entries)
      if (entry.state == State::kUnderWay) entry.state = State::kInDoubt;
    ++run;
    return ok_status();
  }

  // Under the lock. The file is made with its first record: a run that asks nothing leaves none.
  void add(const json& record) {
    const std::string line = line_of(record);
    apply(record, run, bytes, line.size() - 1);
    bytes += line.size();
    pending += line;
    ++added;
  }

  Status write(const std::string& lines) {
    if (!file) {
      TEPHRA_ASSIGN_OR_RETURN(file, env.create(path(run)));
      TEPHRA_RETURN_IF_ERROR(env.sync_directory(dir));
    }
    TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(lines))));
    return file->sync();
  }

  // Whoever comes first writes for all that have added by then.
  Status make_durable(std::unique_lock<std::mutex>& lock) {
    const uint64_t mine = added;
    while (durable < mine && failure.ok()) {
      if (writing) {
        changed.wait(lock);
        continue;
      }
      writing = true;
      const uint64_t upto = added;
      const std::string lines = std::exchange(pending, {});
      lock.unlock();
      const Status written = write(lines);
      lock.lock();
      writing = false;
      if (written.ok())
        durable = upto;
      else
        failure = written;
      changed.notify_all();
    }
    return failure;
  }

  Status add_durably(const json& record) {
    std::unique_lock lock(mutex);
    TEPHRA_RETURN_IF_ERROR(failure);
    add(record);
    return make_durable(lock);
  }

  Env& env;
  const std::string dir;
  const size_t raw_bytes_max;
  const FolderLock folder_lock;
  int run = 0;
  std::unique_ptr<WritableFile> file;  // of who is `writing`

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Entry> entries;
  std::string pending;
  uint64_t bytes = 0;  // of this run's file, with pending
  uint64_t added = 0, durable = 0;
  bool writing = false;
  Status failure;
};

ChatJournal::ChatJournal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatJournal::~ChatJournal() {
  if (!impl_) return;
  std::unique_lock lock(impl_->mutex);
  // Only refusals can be left, and a lost one does no harm: its request is in doubt.
  (void)impl_->make_durable(lock).ok();
}

Result<std::unique_ptr<ChatJournal>> ChatJournal::open(Env& env, const std::string& dir, size_t raw_bytes_max) {
  TEPHRA_RETURN_IF_ERROR(env.make_directories(dir));
  auto impl = std::make_unique<Impl>(env, dir, raw_bytes_max);
  TEPHRA_RETURN_IF_ERROR(impl->load_all());
  return std::unique_ptr<ChatJournal>(new ChatJournal(std::move(impl)));
}

ChatJournal::State ChatJournal::state(const std::string& key) const {
  std::lock_guard lock(impl_->mutex);
  const auto found = impl_->entries.find(key);
  return found == impl_->entries.end() ? State::kNew : found->second.state;
}

Result<ChatReply> ChatJournal::reply(const std::string& key) const {
  Impl::Entry entry;
  {
    std::lock_guard lock(impl_->mutex);
    const auto found = impl_->entries.find(key);
    if (found == impl_->entries.end() || found->second.state != State::kAnswered)
      return Status(Code::kNotFound, "the journal has no such answer");
    entry = found->second;
  }
  TEPHRA_ASSIGN_OR_RETURN(const auto file, impl_->env.open(impl_->path(entry.run)));
  std::string line(entry.length, '\0');
  TEPHRA_RETURN_IF_ERROR(file->read_at(entry.offset, std::as_writable_bytes(std::span(line))));
  const auto record = record_of(line);
  if (!record || !record->contains("reply") || !(*record)["reply"].is_object())
    return Status(Code::kCorruption, impl_->path(entry.run) + ": an answer changed after it was read");
  const json& said = (*record)["reply"];
  ChatReply reply;
  reply.text = said.value("text", "");
  reply.finish_reason = said.value("finish_reason", "");
  reply.model = said.value("model", "");
  reply.prompt_tokens = said.value("prompt_tokens", int64_t{0});
  reply.reply_tokens = said.value("reply_tokens", int64_t{0});
  reply.usage_known = true;
  reply.raw = record->value("raw", "");
  return reply;
}

Status ChatJournal::begin(const std::string& key, double cost_max) {
  return impl_->add_durably({{"begin", key}, {"cost_max", cost_max}});
}

Status ChatJournal::refused(const std::string& key) {
  std::lock_guard lock(impl_->mutex);
  impl_->add({{"refused", key}});  // goes to disk with the next record, or at the end
  return impl_->failure;
}

Status ChatJournal::answer(const std::string& key, const ChatReply& reply, double cost) {
  json record = {{"answer", key},
                 {"cost", cost},
                 {"reply",
                  {{"text", reply.text},
                   {"finish_reason", reply.finish_reason},
                   {"model", reply.model},
                   {"prompt_tokens", reply.prompt_tokens},
                   {"reply_tokens", reply.reply_tokens}}}};
  if (impl_->raw_bytes_max > 0) record["raw"] = shortened(reply.raw, impl_->raw_bytes_max);
  return impl_->add_durably(record);
}

Status ChatJournal::lost(const std::string& key, double cost) {
  return impl_->add_durably({{"lost", key}, {"cost", cost}});
}

double ChatJournal::spent() const {
  std::lock_guard lock(impl_->mutex);
  double sum = 0;
  for (const auto& [key, entry] : impl_->entries) sum += entry.cost + entry.cost_max;
  return sum;
}

size_t ChatJournal::in_doubt() const {
  std::lock_guard lock(impl_->mutex);
  return static_cast<size_t>(std::count_if(impl_->entries.begin(), impl_->entries.end(),
                                           [](const auto& e) { return e.second.state == State::kInDoubt; }));
}

size_t ChatJournal::answered() const {
  std::lock_guard lock(impl_->mutex);
  return static_cast<size_t>(std::count_if(impl_->entries.begin(), impl_->entries.end(),
                                           [](const auto& e) { return e.second.state == State::kAnswered; }));
}

JournaledChat::JournaledChat(ChatClient& client, ChatJournal& journal, bool retry_in_doubt)
    : client_(client), journal_(journal), retry_in_doubt_(retry_in_doubt) {
  client.add_spent(journal.spent());
}

Result<ChatReply> JournaledChat::ask(const ChatRequest& request) {
  const std::string key = client_.request_key(request);
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !under_way_.contains(key); });
    under_way_.insert(key);
  }
  const ChatJournal::State state = journal_.state(key);
  Result<ChatReply> reply =
      state == ChatJournal::State::kAnswered ? journal_.reply(key)
      : state == ChatJournal::State::kNew || retry_in_doubt_
          ? ask_endpoint(request, key)
          : Status(Code::kMismatch,
                   "was sent by an earlier run and its reply is not known, so it may have been paid for");
  {
    std::lock_guard lock(mutex_);
    under_way_.erase(key);
  }
  changed_.notify_all();
  return reply;
}

Result<ChatReply> JournaledChat::ask_endpoint(const ChatRequest& request, const std::string& key) {
  const double most = client_.cost_max(request);
  int unsettled = 0;  // tries that were sent and not refused
  bool last_refused = false;
  Result<ChatReply> reply = client_.ask(request, [&](bool sending) {
    unsettled += sending ? 1 : -1;
    last_refused = !sending;
    return sending ? journal_.begin(key, most) : journal_.refused(key);
  });
  if (reply.ok()) {
    TEPHRA_RETURN_IF_ERROR(journal_.answer(key, *reply, client_.cost(*reply)));
  } else if (unsettled > 0) {
    TEPHRA_RETURN_IF_ERROR(journal_.lost(key, last_refused ? 0 : most));
  }
  return reply;
}

}  // namespace tephra::cluster
