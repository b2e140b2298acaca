// Who has a store open for writing, for processes that the index's lock does not keep apart. That lock reaches every process of one
// host. It does not reach other hosts where the file system keeps locks to each host (sshfs; Lustre without `flock`, NFS with `nolock`),
// nor where each host has an index of its own (docs/store-format.md, "File systems"). Between hosts a question is asked instead, with
// a file: whoever lives and owns the store takes it away.
//
//   STORE/owner         pid, host and url of the owner; stays when that one is killed
//   STORE/owner.asked   the question, for a few seconds
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/status.h"

namespace tephra::storage {

class Ownership {
 public:
  static constexpr std::chrono::milliseconds kAnswerEvery{500}, kPatience{5000};

  // To be called before the index is opened. kBusy: the owner file names another host, and an owner answers. Ok: none does within
  // `patience`; or there is no owner file or one of this host, and nothing is asked.
  static Status ask(const std::string& dir, std::chrono::milliseconds patience = kPatience);
  // kBusy, the sentence for people: which process has the store, as the owner file says.
  static Status busy(const std::string& dir);

  // To be made while the index's lock is held: writes the owner file, and answers on a thread of its own until it is destroyed,
  // which removes the file.
  Ownership(std::string dir, const std::string& url);
  ~Ownership();
  Ownership(const Ownership&) = delete;
  Ownership& operator=(const Ownership&) = delete;

 private:
  void answer();

  const std::string dir_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tephra::storage
