// One name for a tensor, whichever program wrote the file.
#include "model/spec/connector_file.h"

#include <gtest/gtest.h>

namespace tephra::model {
namespace {

TEST(CanonicalName, OfEveryLayoutThatIsRead) {
  const std::pair<const char*, const char*> cases[] = {
      // the original LLaVA
      {"model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"},
      {"model.mm_projector.weight", "multi_modal_projector.linear_1.weight"},
      {"mm_projector.2.bias", "multi_modal_projector.linear_2.bias"},
      // transformers before and after 4.52
      {"language_model.model.norm.weight", "language_model.model.norm.weight"},
      {"model.language_model.norm.weight", "language_model.model.norm.weight"},
      {"model.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"},
      // LLaMA alone
      {"model.norm.weight", "language_model.model.norm.weight"},
      {"lm_head.weight", "language_model.lm_head.weight"},
      // CLIP alone, before and after transformers took a level out
      {"vision_model.embeddings.class_embedding", "vision_tower.vision_model.embeddings.class_embedding"},
      {"embeddings.class_embedding", "vision_tower.vision_model.embeddings.class_embedding"},
      {"pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"},
      {"encoder.layers.2.mlp.fc1.weight", "vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight"},
      {"post_layernorm.weight", "vision_tower.vision_model.post_layernorm.weight"},
      // no weights
      {"vision_model.embeddings.position_ids", ""},
      {"model.layers.0.self_attn.rotary_emb.inv_freq", ""},
  };
  for (const auto& [written, name] : cases) EXPECT_EQ(canonical_name(written), name) << written;
}

}  // namespace
}  // namespace tephra::model
