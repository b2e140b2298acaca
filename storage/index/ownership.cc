#include "storage/index/ownership.h"

#include <unistd.h>

#include <array>

#include "base/clock.h"
#include "base/env.h"
#include "base/log.h"

namespace tephra::storage {
namespace {

// Hints, not what the store consists of: they do not go through the Env that the store was opened with.
Env& files() { return Env::posix(); }

std::string owner_path(const std::string& dir) { return dir + "/owner"; }
std::string question_path(const std::string& dir) { return dir + "/owner.asked"; }

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// Hosts may have one name ("localhost"); no two running kernels have one of these.
std::string boot_id() {
  std::array<char, 36> id{};
  auto file = files().open("/proc/sys/kernel/random/boot_id");
  if (!file.ok() || !(*file)->read_at(0, std::as_writable_bytes(std::span(id))).ok()) return "";
  return {id.data(), id.size()};
}

struct Owner {
  std::string pid, host, boot, url;  // empty: not said
};

std::string field(const std::string& text, const std::string& key) {
  size_t at = text.find(key + "=");
  if (at == std::string::npos) return "";
  at += key.size() + 1;
  return text.substr(at, text.find('\n', at) - at);
}

Owner read_owner(const std::string& dir) {
  const auto text = read_file(files(), owner_path(dir));
  if (!text.ok()) return {};
  return {field(*text, "pid"), field(*text, "host"), field(*text, "boot"), field(*text, "url")};
}

bool elsewhere(const Owner& owner) {
  return !owner.host.empty() && (owner.host != host_name() || owner.boot != boot_id());
}

}  // namespace

Status Ownership::busy(const std::string& dir) {
  const Owner owner = read_owner(dir);
  const std::string where = elsewhere(owner) ? " on host " + owner.host : "";
  const std::string who = owner.pid.empty() ? "" : " (pid " + owner.pid + where + ")";
  return {Code::kBusy, "store " + dir + " is in use by another process" + who +
                           "; stop it, or talk to it with --server" + (owner.url.empty() ? "" : " " + owner.url)};
}

Status Ownership::ask(const std::string& dir, std::chrono::milliseconds patience) {
  const Owner owner = read_owner(dir);
  if (!elsewhere(owner)) return ok_status();
  const std::string question = question_path(dir);
  const auto made = files().create(question);
  if (!made.ok() && made.status().code() != Code::kAlreadyExists) return made.status();
  for (const Deadline deadline = Deadline::after(patience); !deadline.passed();) {
    // Opened, not looked for: file systems of several hosts remember for seconds what was there.
    if (files().open(question).status().code() == Code::kNotFound) return busy(dir);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  (void)files().remove(question);
  log::warning("the store's owner on another host does not answer; its place is taken",
               {{"store", dir}, {"host", owner.host}, {"pid", owner.pid}});
  return ok_status();
}

Ownership::Ownership(std::string dir, const std::string& url) : dir_(std::move(dir)) {
  const std::string text =
      "pid=" + std::to_string(::getpid()) + "\nhost=" + host_name() + "\nboot=" + boot_id() + "\nurl=" + url + "\n";
  if (Status status = write_file_atomic(files(), owner_path(dir_), text); !status.ok())
    log::warning("owner file not written", {{"store", dir_}, {"error", status.message()}});
  thread_ = std::thread([this] { answer(); });
}

Ownership::~Ownership() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
  (void)files().remove(owner_path(dir_));  // while the lock is still ours
}

void Ownership::answer() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kAnswerEvery, [&] { return stopping_; })) (void)files().remove(question_path(dir_));
}

}  // namespace tephra::storage
