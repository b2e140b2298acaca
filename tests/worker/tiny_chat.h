// A tiny model folder with a picture beside it, for tests of conversations.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/env.h"
#include "data/image.h"
#include "tests/base/temp_dir.h"
#include "tests/model/spec/tiny.h"
#include "worker/chat_model.h"

namespace tephra::worker {

// A model that says nothing of sense, but the same thing each time.
class TinyChatTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model::ModelConfig config = model::tiny_model();
    config.text.vocab_size = 900, config.text.max_position_embeddings = 512, config.image_token_index = 900;
    const Status status =
        model::export_llava(Env::posix(), folder(), config, *model::tiny_weights(model::make_units(config, {})),
                            {.tokenizer_folder = TEPHRA_SOURCE_DIR "/recipes/base/new-language"});
    ASSERT_TRUE(status.ok()) << status.to_string();
    const auto png = data::encode_png({8, 8, std::vector<uint8_t>(192, 90)});
    ASSERT_TRUE(png.ok());
    const std::string_view bytes(reinterpret_cast<const char*>(png->data()), png->size());
    ASSERT_TRUE(write_file_atomic(Env::posix(), picture(), bytes).ok());
  }
  std::string folder() const { return dir_.path() + "/model"; }
  std::string picture() const { return dir_.path() + "/gray.png"; }
  InferenceModel named() const {
    InferenceModel from;
    from.paths.model = folder();
    from.threads = 1;
    return from;
  }

  TempDir dir_;
};

}  // namespace tephra::worker
