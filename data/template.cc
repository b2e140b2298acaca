#include "data/template.h"

#include <algorithm>

#include "data/utf8.h"

namespace tephra::data {
namespace {

// The texts are LLaVA's (conversation.py), to the letter: models were trained with them.
constexpr std::string_view kVicunaSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite "
    "answers to the user's questions.";
constexpr std::string_view kHumanSystem =
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite "
    "answers to the human's questions.";
constexpr std::string_view kTagSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant is able to understand the "
    "visual content "
    "that the user provides, and assist the user with a variety of tasks using natural language.The visual content "
    "will be provided "
    "with the following format: <Image>visual content</Image>.";
constexpr std::string_view kLlavaLlama2System =
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and "
    "assist the user with a variety of tasks using natural language.";
constexpr std::string_view kLlama2System =
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers "
    "should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. Please ensure "
    "that your "
    "responses are socially unbiased and positive in nature.\n\nIf a question does not make any sense, or is not "
    "factually coherent, "
    "explain why instead of answering something not correct. If you don't know the answer to a question, please don't "
    "share false "
    "information.";
constexpr std::string_view kExampleQuestion =
    "What are the key differences between renewable and non-renewable energy sources?";
constexpr std::string_view kExampleAnswer =
    "Renewable energy sources are those that can be replenished naturally in a relatively short amount of time, such "
    "as solar, wind, "
    "hydro, geothermal, and biomass. Non-renewable energy sources, on the other hand, are finite and will eventually "
    "be depleted, "
    "such as coal, oil, and natural gas. Here are some key differences between renewable and non-renewable energy "
    "sources:\n"
    "1. Availability: Renewable energy sources are virtually inexhaustible, while non-renewable energy sources are "
    "finite and will "
    "eventually run out.\n"
    "2. Environmental impact: Renewable energy sources have a much lower environmental impact than non-renewable "
    "sources, which can "
    "lead to air and water pollution, greenhouse gas emissions, and other negative effects.\n"
    "3. Cost: Renewable energy sources can be more expensive to initially set up, but they typically have lower "
    "operational costs "
    "than non-renewable sources.\n"
    "4. Reliability: Renewable energy sources are often more reliable and can be used in more remote locations than "
    "non-renewable "
    "sources.\n"
    "5. Flexibility: Renewable energy sources are often more flexible and can be adapted to different situations and "
    "needs, while "
    "non-renewable sources are more rigid and inflexible.\n"
    "6. Sustainability: Renewable energy sources are more sustainable over the long term, while non-renewable sources "
    "are not, and "
    "their depletion can lead to economic and social instability.\n";

using enum TemplateStyle;
constexpr Template kTemplates[] = {
    {"plain", kPlain, "", "", "", "\n", "", false, "", ""},
    {"v1", kTwoSeparators, kVicunaSystem, "USER", "ASSISTANT", " ", "</s>", false, "", ""},
    {"llava_v1", kTwoSeparators, kHumanSystem, "USER", "ASSISTANT", " ", "</s>", false, "", ""},
    {"v1_mmtag", kTwoSeparators, kTagSystem, "USER", "ASSISTANT", " ", "</s>", true, "", ""},
    {"llava_llama_2", kLlama2, kLlavaLlama2System, "USER", "ASSISTANT", "<s>", "</s>", false, "", ""},
    {"llama_2", kLlama2, kLlama2System, "USER", "ASSISTANT", "<s>", "</s>", false, "", ""},
    {"llava_llama_3", kLlama3, kLlavaLlama2System, "user", "assistant", "<|eot_id|>", "", false, "", ""},
    {"v0", kHashes, kHumanSystem, "Human", "Assistant", "###", "", false, kExampleQuestion, kExampleAnswer},
    {"llava_v0", kHashes, kHumanSystem, "Human", "Assistant", "###", "", false, "", ""},
    {"v0_mmtag", kHashes, kTagSystem, "Human", "Assistant", "###", "", true, "", ""},
};

// --- prompts

struct Message {
  bool is_user;
  std::string text;
};

std::string render_labelled(const Template& t, const std::vector<Message>& messages) {
  std::string out = std::string(t.system) + std::string(t.separator);
  for (const Message& m : messages) {
    out += m.is_user ? t.user : t.assistant;
    if (m.text.empty()) {
      out += ":";
    } else {
      out += ": " + m.text;
      out += m.is_user || t.answer_separator.empty() ? t.separator : t.answer_separator;
    }
  }
  return out;
}

std::string render_llama_2(const Template& t, const std::vector<Message>& messages) {
  std::string out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& text = messages[i].text;
    if (text.empty()) continue;
    if (messages[i].is_user) {
      std::string system = i == 0 ? "<<SYS>>\n" + std::string(t.system) + "\n<</SYS>>\n\n" : "";
      out += std::string(t.separator) + "[INST] " + system + text + " [/INST]";
    } else {
      out += " " + text + " " + std::string(t.answer_separator);
    }
  }
  // The original strips the characters of "<s>", in any order and number, not the word.
  return out.substr(std::min(out.find_first_not_of(t.separator), out.size()));
}

std::string llama_3_header(std::string_view role) {
  return "<|start_header_id|>" + std::string(role) + "<|end_header_id|>\n\n";
}

std::string llama_3_turn(const Template& t, std::string_view text) {
  return std::string(strip(text)) + std::string(t.separator);
}

// Without <|begin_of_text|>, which the tokenizer puts in front.
std::string render_llama_3(const Template& t, const std::vector<Message>& messages) {
  std::string out = llama_3_header("system") + llama_3_turn(t, t.system);
  for (const Message& m : messages) {
    out += llama_3_header(m.is_user ? t.user : t.assistant);
    if (!m.text.empty()) out += llama_3_turn(t, m.text);
  }
  return out;
}

std::string render(const Template& t, const std::vector<Message>& messages) {
  switch (t.style) {
    case kLlama3: return render_llama_3(t, messages);
    case kTwoSeparators:
    case kHashes: return render_labelled(t, messages);
    case kLlama2: return render_llama_2(t, messages);
    case kPlain: break;
  }
  std::string out;
  for (const Message& m : messages) {
    if (!m.text.empty()) out += m.text + std::string(t.separator);
  }
  return out;
}

// Turns as messages, human first, each role in its turn.
Result<std::vector<Message>> alternate(const std::vector<Turn>& turns, size_t first, const std::string& where) {
  std::vector<Message> messages;
  for (size_t i = first; i < turns.size(); ++i) {
    const bool is_user = turns[i].from == "human";
    if (is_user != ((i - first) % 2 == 0)) {
      return Status(Code::kInvalidArgument, where + "turn " + std::to_string(i) + " is from '" + turns[i].from +
                                                "', but human and gpt must take turns, human first");
    }
    messages.push_back({is_user, turns[i].value});
  }
  return messages;
}

// --- training

// The original's preprocess_multimodal: a sentence with tags gets one, in front, on a line of its own. With several
// images each tag means one of them, so they stay.
std::vector<Turn> move_tags(const Sample& sample, const Template& t) {
  std::vector<Turn> moved = sample.turns;
  for (Turn& turn : moved) {
    if (turn.value.find(kImageTag) == std::string::npos) continue;
    if (sample.images.size() == 1) {
      std::string rest = replace_all(turn.value, kImageTag, "");
      turn.value = strip(std::string(kImageTag) + "\n" + std::string(strip(rest)));
    }
    if (t.image_in_tags) turn.value = replace_all(turn.value, kImageTag, "<Image><image></Image>");
  }
  return moved;
}

std::vector<std::string> split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + separator.size());
  }
}

// One sample being encoded. Every length is counted the way the original counts it, since the masks follow from the
// counts.
class SampleEncoder {
 public:
  SampleEncoder(const Sample& sample, const Template& t, const Tokenizer& tokenizer, int max_length)
      : sample_(sample),
        template_(t),
        tokenizer_(tokenizer),
        max_length_(max_length),
        has_image_(!sample.images.empty()) {
    turns_ = has_image_ ? move_tags(sample, t) : sample.turns;
  }

  Result<Encoded> encode() {
    Status status = template_.style == kPlain    ? encode_plain()
                    : template_.style == kHashes ? encode_hashes()
                    : template_.style == kLlama3 ? encode_llama_3()
                                                 : encode_rounds();
    if (!status.ok()) return status;
    out_.images = static_cast<int>(std::count(out_.ids.begin(), out_.ids.end(), kImageToken));
    return std::move(out_);
  }

 private:
  std::vector<int32_t> tokens(std::string_view text) const {
    return has_image_ ? encode_with_images(text, tokenizer_) : tokenizer_.encode_with_bos(text);
  }
  int count(std::string_view text) const { return static_cast<int>(tokens(text).size()); }

  std::vector<int32_t> cut_tokens(std::string_view text) const {
    std::vector<int32_t> ids = tokens(text);
    if (!has_image_ && ids.size() > static_cast<size_t>(max_length_)) ids.resize(max_length_);
    return ids;
  }

  // What the original takes for the length without padding: padding and <unk> share an id there.
  int count_not_unk(const std::vector<int32_t>& ids) const {
    return static_cast<int>(ids.size() - std::count(ids.begin(), ids.end(), tokenizer_.unk_id()));
  }

  // Masks labels[begin, end) as a Python slice does: clipped, never an error.
  void mask(int begin, int end) {
    const int size = static_cast<int>(out_.labels.size());
    begin = std::clamp(begin, 0, size);
    end = std::clamp(end, begin, size);
    std::fill(out_.labels.begin() + begin, out_.labels.begin() + end, kIgnoreLabel);
  }

  Status encode_plain() {
    if (turns_.size() != 2 || !has_image_ || turns_[0].value.find(kImageTag) == std::string::npos) {
      return Status(Code::kInvalidArgument,
                    "sample '" + sample_.id +
                        "': template plain takes an image and two turns, the first with <image>; use another "
                        "template, or leave the sample out");
    }
    std::string tags;
    for (size_t i = 0; i < sample_.images.size(); ++i) tags += kImageTag;
    out_.ids = tokens(tags + turns_[1].value + std::string(template_.separator));
    out_.labels = out_.ids;
    mask(0, count(tags));
    return ok_status();
  }

  // v1 and llama_2: rounds of a question and an answer, told apart by splitting the finished prompt at its separators.
  Status encode_rounds() {
    const bool skip_first = !turns_.empty() && turns_[0].from != "human";
    TEPHRA_ASSIGN_OR_RETURN(std::vector<Message> messages,
                            alternate(turns_, skip_first ? 1 : 0, "sample '" + sample_.id + "': "));
    if (template_.style == kLlama2 && !messages.empty() && messages[0].text.empty()) {
      return Status(Code::kInvalidArgument,
                    "sample '" + sample_.id + "': the first question is empty, which this template does not take");
    }
    const std::string prompt = render(template_, messages);
    out_.ids = cut_tokens(prompt);
    out_.labels = out_.ids;
    mask(0, 1);
    const int covered = mask_rounds(prompt);
    mask(covered, static_cast<int>(out_.labels.size()));
    const int total = count_not_unk(out_.ids);
    if (covered < max_length_ && covered != total) {
      mask(0, static_cast<int>(out_.labels.size()));
      out_.warning = "tokenization mismatch: " + std::to_string(covered) + " vs. " + std::to_string(total) +
                     ", the sample is masked";
    }
    return ok_status();
  }

  // Masks the questions; returns how many tokens the rounds add up to.
  int mask_rounds(const std::string& prompt) {
    const bool llama_2 = template_.style == kLlama2;
    const std::string separator =
        llama_2 ? "[/INST] " : std::string(template_.separator) + std::string(template_.assistant) + ": ";
    int covered = 1;
    bool first = true;
    for (const std::string& round : split(prompt, template_.answer_separator)) {
      if (round.empty()) break;
      const std::vector<std::string> parts = split(round, separator);
      if (parts.size() != 2) break;
      int length = count(round);
      int question = count(parts[0] + separator) - 2;  // BOS, and the space that goes with the answer's first piece
      // Not legacy: a later round stands right after </s> and has no prefix space there, but has one when counted by
      // itself.
      if (!llama_2 && !first && !tokenizer_.legacy()) {
        --length;
        --question;
      }
      mask(covered, covered + question);
      covered += length;
      first = false;
    }
    return covered;
  }

  Status encode_llama_3() {
    if (tokenizer_.id_of(template_.separator) < 0)
      return Status(Code::kInvalidArgument, "template " + std::string(template_.name) +
                                                " needs LLaMA 3's tokenizer, and this one has no token " +
                                                std::string(template_.separator));
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<Message> messages, alternate(turns_, 0, "sample '" + sample_.id + "': "));
    out_.ids = {tokenizer_.bos_id()};
    out_.labels = {kIgnoreLabel};
    append(llama_3_header("system") + llama_3_turn(template_, template_.system), false);
    for (const Message& m : messages) {
      append(llama_3_header(m.is_user ? template_.user : template_.assistant), false);
      append(llama_3_turn(template_, m.text), !m.is_user);
    }
    if (!has_image_ && out_.ids.size() > static_cast<size_t>(max_length_)) {
      out_.ids.resize(static_cast<size_t>(max_length_));
      out_.labels.resize(static_cast<size_t>(max_length_));
    }
    return ok_status();
  }

  // Special tokens part the texts, so each may be encoded by itself.
  void append(const std::string& text, bool supervised) {
    const std::vector<int32_t> ids = tokens(text);
    for (size_t i = 1; i < ids.size(); ++i) {  // without its BOS
      out_.ids.push_back(ids[i]);
      out_.labels.push_back(supervised && ids[i] != kImageToken ? ids[i] : kIgnoreLabel);
    }
  }

  // v0 and kin: every turn is tokenized by itself to learn its length.
  Status encode_hashes() {
    const std::string header = std::string(template_.system) + "\n\n";
    std::string conversation = header;
    std::vector<std::string> sentences;
    for (const Turn& turn : turns_) {
      const std::string_view role = turn.from == "human" ? template_.user : template_.assistant;
      sentences.push_back("### " + std::string(role) + ": " + turn.value + "\n");
      conversation += sentences.back();
    }
    out_.ids = cut_tokens(conversation + "### ");
    out_.labels = out_.ids;
    auto length_of = [&](const std::string& text) {
      return has_image_ ? count(text) : count_not_unk(cut_tokens(text));
    };
    int at = length_of(header);
    mask(0, at);
    for (size_t i = 0; i < sentences.size(); ++i) {
      const int length = length_of(sentences[i]);
      if (turns_[i].from == "human") mask(at + 2, at + length);
      at += length;
    }
    return ok_status();
  }

  const Sample& sample_;
  const Template& template_;
  const Tokenizer& tokenizer_;
  const int max_length_;
  const bool has_image_;
  std::vector<Turn> turns_;
  Encoded out_;
};

}  // namespace

Result<const Template*> require_template(std::string_view name) {
  if (const Template* found = find_template(name)) return found;
  std::string known;
  for (const std::string& n : template_names()) known += (known.empty() ? "" : ", ") + n;
  return Status(Code::kInvalidArgument, "there is no template '" + std::string(name) + "'; there are " + known);
}

const Template* find_template(std::string_view name) {
  if (name == "vicuna_v1") name = "v1";
  for (const Template& t : kTemplates) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

std::vector<std::string> template_names() {
  std::vector<std::string> names;
  for (const Template& t : kTemplates) names.emplace_back(t.name);
  return names;
}

Result<Encoded> encode_sample(const Sample& sample, const Tokenizer& tokenizer, std::string_view template_name,
                              int model_max_length) {
  TEPHRA_ASSIGN_OR_RETURN(const Template* t, require_template(template_name));
  if (model_max_length < 1) return Status(Code::kInvalidArgument, "the maximal length must be at least 1");
  return SampleEncoder(sample, *t, tokenizer, model_max_length).encode();
}

void finish_encoding(Encoded& encoded, int32_t unk_id, int model_max_length) {
  const size_t size = std::min(encoded.ids.size(), static_cast<size_t>(std::max(model_max_length, 0)));
  size_t kept = 0;
  for (size_t i = 0; i < size; ++i) {
    if (encoded.ids[i] == unk_id) continue;
    encoded.ids[kept] = encoded.ids[i];
    encoded.labels[kept++] = encoded.ids[i] == kImageToken ? kIgnoreLabel : encoded.labels[i];
  }
  encoded.ids.resize(kept);
  encoded.labels.resize(kept);
  encoded.images = static_cast<int>(std::count(encoded.ids.begin(), encoded.ids.end(), kImageToken));
}

int supervised_after_expansion(const Encoded& encoded, int image_tokens, int model_max_length) {
  int position = 0, supervised = 0;
  for (size_t i = 0; i < encoded.ids.size() && position < model_max_length; ++i) {
    if (position > 0 && encoded.labels[i] != kIgnoreLabel) ++supervised;
    position += encoded.ids[i] == kImageToken ? image_tokens : 1;
  }
  return supervised;
}

int count_supervised(const Encoded& encoded) {
  int supervised = 0;
  for (size_t i = 1; i < encoded.labels.size(); ++i) supervised += encoded.labels[i] != kIgnoreLabel;
  return supervised;
}

Result<std::string> render_prompt(std::string_view template_name, const std::vector<Turn>& turns, bool for_generation) {
  TEPHRA_ASSIGN_OR_RETURN(const Template* t, require_template(template_name));
  std::vector<Message> messages;
  if (!t->example_question.empty()) {
    messages = {{true, std::string(t->example_question)}, {false, std::string(t->example_answer)}};
  }
  TEPHRA_ASSIGN_OR_RETURN(std::vector<Message> own, alternate(turns, 0, ""));
  if (for_generation && own.size() % 2 == 0) {
    return Status(Code::kInvalidArgument, "a prompt to be answered must end with a human turn");
  }
  messages.insert(messages.end(), own.begin(), own.end());
  if (for_generation) messages.push_back({false, ""});
  return render(*t, messages);
}

Result<std::vector<int32_t>> encode_prompt(std::string_view template_name, const std::vector<Turn>& turns,
                                           const Tokenizer& tokenizer) {
  TEPHRA_ASSIGN_OR_RETURN(std::string prompt, render_prompt(template_name, turns, true));
  return encode_with_images(prompt, tokenizer);
}

std::vector<int32_t> encode_with_images(std::string_view text, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids{tokenizer.bos_id()};
  bool first = true;
  for (const std::string& part : split(text, kImageTag)) {
    if (!first) ids.push_back(kImageToken);
    first = false;
    const std::vector<int32_t> more = tokenizer.encode(part);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

std::string stop_text(std::string_view template_name) {
  const Template* t = find_template(template_name);
  if (t == nullptr) return "";
  return std::string(t->answer_separator.empty() ? t->separator : t->answer_separator);
}

std::vector<int32_t> stop_ids(std::string_view template_name, const Tokenizer& tokenizer) {
  const Template* t = find_template(template_name);
  const int32_t end_of_turn = t != nullptr && t->style == kLlama3 ? tokenizer.id_of(t->separator) : -1;
  if (end_of_turn < 0 || end_of_turn == tokenizer.eos_id()) return {tokenizer.eos_id()};
  return {tokenizer.eos_id(), end_of_turn};
}

}  // namespace tephra::data
