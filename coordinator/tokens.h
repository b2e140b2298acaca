// Secrets that the coordinator makes, and who may do what over HTTP.
//
// A token is "tephra_<8 digits of id>_<64 digits>": 256 bits of the kernel's randomness, shown once when it is made. The
// store keeps STORE/tokens (mode 0600), one JSON document with, of each, a salt and SHA-256(salt + token). A slow
// password hash (scrypt, PBKDF2) makes guessing a *chosen* secret costly; 256 random bits cannot be guessed at any speed,
// and a slow hash would only let a client that sends wrong tokens keep the coordinator busy. Beside them stands the
// one token of a --token-file, in clear in that file, which is an admin's.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tephra::coordinator {

std::string random_token();  // 128 bits of the kernel's randomness as 32 hexadecimal digits

// Each may do what those before it may: viewer reads; submitter submits jobs and changes its own; admin changes anybody's.
enum class Role { kNone, kViewer, kSubmitter, kAdmin };
std::string_view role_name(Role role);  // "none", "viewer", "submitter", "admin"
Result<Role> parse_role(const std::string& text);

struct TokenRecord {
  std::string id;    // 8 hexadecimal digits
  std::string name;  // of whom it is for; the user of the jobs that it submits
  Role role = Role::kViewer;
  std::string salt;
  std::string hash;  // sha256_hex(salt + token)
  int64_t created_unix_ms = 0;
};

struct NewToken {
  std::string id;
  std::string token;  // kept nowhere
};

// The file of a store's tokens; a file that is not there holds none. Writers lock it, replace it in one step and keep mode 0600.
std::string tokens_path(const std::string& store_dir);
// kCorruption, kUnsupported: the file is not understood. kPermission: others than its owner may read it.
Result<std::vector<TokenRecord>> read_tokens(const std::string& path);
// kInvalidArgument: the name is not 1 to 64 letters, digits, '.', '_', '-', '@'.
Result<NewToken> create_token(const std::string& path, const std::string& name, Role role, int64_t now_unix_ms);
Status revoke_token(const std::string& path, const std::string& id);  // kNotFound

// Who a request comes from.
struct Identity {
  std::string name;      // of the token; "admin" of the token file's, "local" where none is asked
  std::string token_id;  // empty: not one of the tokens file
  Role role = Role::kNone;
};

// Looks tokens up. The file is read again when it has changed, so that a revoked token ends at once. Any thread.
class TokenCheck {
 public:
  // `admin_token` empty: there is none. `path` empty: no file.
  TokenCheck(std::string admin_token, std::string path)
      : admin_token_(std::move(admin_token)), path_(std::move(path)) {}

  // Whether a token is asked at all: there is an admin's, or a tokens file, whatever is in it.
  bool required() const;
  // Nothing: nobody's. Compares in a time that does not depend on how much of a token is right.
  std::optional<Identity> find(const std::string& token) const;

 private:
  struct Stamp {
    int64_t seconds = 0, nanoseconds = 0, size = -1;
    uint64_t inode = 0;
    bool operator==(const Stamp&) const = default;
  };
  void refresh() const;  // with mutex_ held

  const std::string admin_token_;
  const std::string path_;
  mutable std::mutex mutex_;
  mutable Stamp stamp_;
  mutable bool broken_ = false;
  mutable std::vector<TokenRecord> records_;
};

}  // namespace tephra::coordinator
