#include "worker/chat_model.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/memory.h"
#include "data/template.h"
#include "data/utf8.h"
#include "model/spec/model_folder.h"
#include "worker/text_stream.h"

namespace tephra::worker {
namespace {

Status check_images(const ChatRequest& request) {
  data::Sample sample;
  sample.turns = request.turns;
  const auto tags = static_cast<size_t>(data::count_image_tags(sample));
  if (tags == request.images.size()) return ok_status();
  return {Code::kInvalidArgument, "the conversation has " + std::to_string(tags) + " <image> tags and " +
                                      std::to_string(request.images.size()) + " pictures; give one for each tag"};
}

}  // namespace

Result<LoadedModel> load_model(const InferenceModel& from) {
  keep_freed_memory();
  if (from.threads > 0) at::set_num_threads(from.threads);
  const bool whole = !from.paths.model.empty();
  LoadedModel out;
  TEPHRA_ASSIGN_OR_RETURN(const DType dtype, parse_float_dtype(from.dtype));
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(from.paths));
  TEPHRA_ASSIGN_OR_RETURN(auto source, model::open_model(from.paths));
  TEPHRA_ASSIGN_OR_RETURN(out.generator, model::Generator::create(config, *source, dtype));
  TEPHRA_ASSIGN_OR_RETURN(out.tokenizer, data::Tokenizer::load(whole ? from.paths.model : from.paths.llm));
  TEPHRA_RETURN_IF_ERROR(
      data::check_vocabulary(*out.tokenizer, config.text.vocab_size, whole ? from.paths.model : from.paths.llm));
  TEPHRA_ASSIGN_OR_RETURN(out.preprocess, data::load_preprocess(whole ? from.paths.model : from.paths.vision));
  TEPHRA_ASSIGN_OR_RETURN(out.preprocess.aspect, data::parse_aspect(from.image_aspect));
  out.template_name = from.template_name;
  return out;
}

std::string with_tags(const std::string& text, size_t images) {
  std::string out;
  if (text.find(data::kImageTag) == std::string::npos)
    for (size_t i = 0; i < images; ++i) out += std::string(data::kImageTag) + "\n";
  return out + text;
}

Result<ChatReply> reply(const LoadedModel& model, const ChatRequest& request) {
  TEPHRA_RETURN_IF_ERROR(check_images(request));
  model::Prompt prompt;
  TEPHRA_ASSIGN_OR_RETURN(prompt.ids, data::encode_prompt(model.template_name, request.turns, *model.tokenizer));
  std::vector<std::vector<float>> pixels;
  for (const data::Image& image : request.images) pixels.push_back(data::preprocess(image, model.preprocess));
  for (const auto& one : pixels) prompt.images.push_back(one.data());

  std::vector<std::string> stops = request.stop;
  stops.emplace_back(data::stop_text(model.template_name));
  TextStream stream(std::move(stops));
  bool interrupted = false;
  std::vector<int32_t> ids;
  model::GenerateOptions decoding;
  decoding.max_new_tokens = request.max_new_tokens;
  decoding.sampling = request.sampling;
  decoding.stop_ids = data::stop_ids(model.template_name, *model.tokenizer);
  decoding.on_token = [&](size_t, int32_t id) {
    ids.push_back(id);
    const std::string_view piece = stream.update(model.tokenizer->decode(ids, /*skip_special_tokens=*/true));
    interrupted = request.on_text && !request.on_text(piece);
    return !interrupted && !stream.stopped();
  };
  TEPHRA_ASSIGN_OR_RETURN(auto replies, model.generator->generate({&prompt, 1}, decoding));
  const std::string_view rest = stream.finish();
  if (request.on_text && !interrupted && !rest.empty()) request.on_text(rest);

  ChatReply out;
  out.text = data::strip(stream.text());
  out.ids = std::move(replies.front().ids);
  const int64_t per_image = model.generator->config().tokens_per_image();
  for (const int32_t id : prompt.ids) out.prompt_tokens += id == data::kImageToken ? per_image : 1;
  out.finish = interrupted               ? ChatReply::Finish::kInterrupted
               : replies.front().stopped ? ChatReply::Finish::kStop
                                         : ChatReply::Finish::kLength;
  return out;
}

}  // namespace tephra::worker
