#include "tests/storage/hosts/shared_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/env.h"

namespace tephra::storage {
namespace {

using cluster::find_program;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

std::string run(std::vector<std::string> words) {
  const auto ended = cluster::run_captured(std::move(words), {}, "", soon());
  if (!ended.ok()) return ended.status().message();
  return ended->code == 0 ? "" : ended->output + " (exit code " + std::to_string(ended->code) + ")";
}

pid_t start(std::vector<std::string> words, const std::string& output) {
  const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const std::string program = find_program(words[0]);
  const auto pid = cluster::spawn_session(program, std::move(words), cluster::merged_environment({}), fd, "");
  ::close(fd);
  return pid.ok() ? *pid : 0;
}

}  // namespace

std::unique_ptr<SharedFolder> SharedFolder::make(const std::string& directory, const std::string& folder,
                                                 std::string* why_not) {
  std::unique_ptr<SharedFolder> shared(new SharedFolder(directory));
  *why_not = shared->set_up(folder);
  return why_not->empty() ? std::move(shared) : nullptr;
}

std::string SharedFolder::set_up(const std::string& folder) {
  ::setenv("PATH", (std::string(::getenv("PATH")) + ":/usr/sbin:/sbin").c_str(), 1);
  for (const char* program : {"ip", "sshd", "ssh-keygen", "sshfs"})
    if (find_program(program).empty()) return std::string("there is no ") + program;
  if (!std::filesystem::exists("/dev/fuse")) return "this kernel has no FUSE";
  std::string why_not;
  hosts_ = cluster::TwoHosts::make(directory_, 1, &why_not);
  if (hosts_ == nullptr) return why_not;
  for (const char* key : {"host", "user"})
    if (const std::string failed = run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory_ + "/" + key});
        !failed.empty())
      return "ssh-keygen: " + failed;
  std::ofstream(directory_ + "/sshd.conf")
      << "ListenAddress 10.77.0.1\nPort 22\nHostKey " << directory_ << "/host\nAuthorizedKeysFile " << directory_
      << "/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
         "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n";
  // In mounts of its own: a folder that sshd wants, and a list of users in which root's account is not locked.
  std::vector<std::string> server = hosts_->on_first();
  for (const std::string& word :
       {std::string("unshare"), std::string("--mount"), std::string("sh"), std::string("-c"),
        "umask 077; sed 's/^root:[^:]*:/root:*:/' /etc/shadow > " + directory_ + "/shadow && mount --bind " +
            directory_ + "/shadow /etc/shadow && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec " +
            find_program("sshd") + " -D -e -f " + directory_ + "/sshd.conf"})
    server.push_back(word);
  server_ = start(server, directory_ + "/sshd.log");
  if (server_ == 0) return "sshd cannot be started";
  const auto log = [&] {
    const auto text = read_file(Env::posix(), directory_ + "/sshd.log");
    return text.ok() ? *text : text.status().message();
  };
  for (const Deadline deadline = soon(); log().find("Server listening") == std::string::npos;) {
    if (deadline.passed() || ::waitpid(server_, nullptr, WNOHANG) != 0) return "sshd does not listen: " + log();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::filesystem::create_directory(mounted());
  const auto mount =
      run_on_second("sshfs -o StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,IdentityFile=" + directory_ +
                    "/user 10.77.0.1:" + folder + " " + mounted());
  return mount.code == 0 ? "" : "sshfs: " + mount.output + log();
}

cluster::Captured SharedFolder::run_on_second(const std::string& command) const {
  auto ended = cluster::run_captured({directory_ + "/shell", "10.77.0.2", command}, {}, "", soon());
  if (!ended.ok()) return {-1, ended.status().message()};
  return std::move(*ended);
}

pid_t SharedFolder::start_on_second(const std::string& command) const {
  return start({directory_ + "/shell", "10.77.0.2", command}, directory_ + "/started.log");
}

SharedFolder::~SharedFolder() {
  if (hosts_ != nullptr) hosts_->end_second();  // with the mount
  if (server_ > 0) {
    ::kill(-server_, SIGKILL);  // of its session, with those that serve a connection
    ::waitpid(server_, nullptr, 0);
  }
}

}  // namespace tephra::storage
