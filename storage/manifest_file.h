// A checkpoint's manifest as a file beside the packs: with the packs' own footers it is all that is needed to read the
// checkpoint, or to make the index again. Layout, byte for byte: docs/store-format.md. Written before the commit that it
// belongs to and never changed; that the file is there does not make the checkpoint exist, the index does. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "storage/manifest.h"

namespace tephra::storage {

// "JOB+STAGE@STEP+cSEQUENCE.manifest": '+' occurs in no job's or stage's name.
std::string manifest_file_name(const Manifest& manifest);

struct ManifestFile {
  std::string file;        // its name in the folder
  std::string checkpoint;  // "JOB/STAGE@STEP"
  uint64_t sequence = 0;   // of the commit
};
// The folder's files of that form, by sequence; others are left out. An absent folder has none.
Result<std::vector<ManifestFile>> list_manifest_files(Env& env, const std::string& dir);

// What a writer that was killed left of a file that it had not finished.
Result<std::vector<std::string>> list_abandoned_files(Env& env, const std::string& dir);

// Durable when it returns. A file of that name is replaced. kInvalidArgument: the name would be longer than 240 bytes.
Status write_manifest_file(Env& env, const std::string& dir, const Manifest& manifest);
// kCorruption says what is wrong with which file; kUnsupported: of a later version.
Result<Manifest> read_manifest_file(Env& env, const std::string& dir, const std::string& file);

}  // namespace tephra::storage
