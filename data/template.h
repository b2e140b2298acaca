// Conversation templates, and samples turned into token ids and labels as the original LLaVA's train.py does it
// (preprocess_multimodal, then preprocess_plain, preprocess_v1, preprocess_llama_2 or the older preprocess).
//
// Names: plain, v1 (also vicuna_v1), llava_v1, v1_mmtag, llava_llama_2, llama_2, v0, llava_v0, v0_mmtag; and llava_llama_3, the later
// LLaVA-NeXT's over LLaMA 3's chat format, of which answers and their <|eot_id|> are supervised and headers are not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"
#include "data/tokenizer.h"

namespace tephra::data {

inline constexpr int32_t kImageToken = -200;   // stands in ids where the image's features go
inline constexpr int32_t kIgnoreLabel = -100;  // a label that takes no part in the loss

enum class TemplateStyle { kPlain, kTwoSeparators, kLlama2, kLlama3, kHashes };

struct Template {
  std::string_view name;
  TemplateStyle style;
  std::string_view system;
  std::string_view user;  // role names
  std::string_view assistant;
  std::string_view separator;         // after the system text and a user turn
  std::string_view answer_separator;  // after an assistant turn; empty: as `separator`
  bool image_in_tags;                 // training wraps the image as <Image><image></Image>
  // Turns that stand before the conversation in a prompt (v0's example), not in training.
  std::string_view example_question;
  std::string_view example_answer;
};

// nullptr for an unknown name.
const Template* find_template(std::string_view name);
Result<const Template*> require_template(std::string_view name);  // kInvalidArgument with the names there are
std::vector<std::string> template_names();                        // without aliases, in a fixed order

struct Encoded {
  std::vector<int32_t> ids;     // with BOS; kImageToken where an image stands
  std::vector<int32_t> labels;  // same length; kIgnoreLabel where unsupervised
  int images = 0;               // how many kImageToken stand in ids
  std::string warning;          // non-empty: the whole sample is masked, and why
};

// Ids and labels of a training sample. Of a sample with one image, a sentence with tags gets one tag in front, on a line of
// its own, as in the original; with several images the tags stay where they stand. As in the original, a sample with an image is not cut here, one without is cut
// to `model_max_length` tokens (finish_encoding cuts the rest). Labels are not shifted. kInvalidArgument: an unknown
// template; roles that do not alternate; for `plain` a sample without exactly two turns and an image
// (the caption follows all its images).
Result<Encoded> encode_sample(const Sample& sample, const Tokenizer& tokenizer, std::string_view template_name,
                              int model_max_length);

// What the original's collator does next: the sequence is cut to `model_max_length` tokens, the image counting as one;
// then tokens equal to `unk_id` vanish, since padding has that id there, and images lose their labels. (The model cuts again
// once the image is expanded.)
void finish_encoding(Encoded& encoded, int32_t unk_id, int model_max_length);
// Labels that still count once each image has become `image_tokens` tokens and the sequence is cut to model_max_length.
int supervised_after_expansion(const Encoded& encoded, int image_tokens, int model_max_length);
// Labels that are not kIgnoreLabel, the first excluded (nothing predicts it).
int count_supervised(const Encoded& encoded);

// The prompt that the original's conversation.get_prompt() gives for these turns (human first; tags stay where they
// stand). for_generation: ends where the assistant is to speak. kInvalidArgument: an unknown template, or turns that do
// not alternate.
Result<std::string> render_prompt(std::string_view template_name, const std::vector<Turn>& turns, bool for_generation);

// Ids of render_prompt(for_generation = true), each kImageTag one kImageToken.
Result<std::vector<int32_t>> encode_prompt(std::string_view template_name, const std::vector<Turn>& turns,
                                           const Tokenizer& tokenizer);

// The original's tokenizer_image_token: the text on either side of each kImageTag is encoded on its own, BOS at the
// front only.
std::vector<int32_t> encode_with_images(std::string_view text, const Tokenizer& tokenizer);

// A generation ends at EOS, or where this text appears ("###" for the v0 kin, "</s>" for the others, "\n" for plain).
// Empty for an unknown template.
std::string stop_text(std::string_view template_name);
// Ids at which generation ends: EOS, and <|eot_id|> for llava_llama_3.
std::vector<int32_t> stop_ids(std::string_view template_name, const Tokenizer& tokenizer);

}  // namespace tephra::data
