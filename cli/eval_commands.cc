#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "cli/app.h"
#include "cli/eval_bench.h"
#include "cli/eval_judged.h"
#include "cli/eval_model.h"
#include "cli/judge_options.h"
#include "cli/store_option.h"
#include "cli/text.h"
#include "eval/score/bench_metrics.h"
#include "eval/score/json_lines.h"
#include "eval/score/llava_bench.h"
#include "eval/score/scienceqa.h"

namespace tephra::cli {
namespace {

const Status kNothingNamed(Code::kInvalidArgument,
                           "name answers with --predictions, or a model with --model or --checkpoint");

struct ScienceQaOptions {
  std::string predictions, problems, splits, images, split = "test", rule = "llava", prompt = "CQM-A", out;
  bool json = false;
  ModelEval model;
};

nlohmann::json to_json(const eval::PredictionScore& scored, const ScienceQaOptions& o) {
  const auto one = [](const eval::Column& c) {
    return nlohmann::json{{"accuracy", c.accuracy()}, {"correct", c.correct}, {"count", c.count}};
  };
  nlohmann::json columns = nlohmann::json::object(), topics = columns, grades = columns;
  for (const eval::Column& c : scored.score.columns) columns[c.name] = one(c);
  for (const auto& [name, c] : scored.score.topics) topics[name] = one(c);
  for (const auto& [name, c] : scored.score.grades) grades[name] = one(c);
  nlohmann::json choices = nlohmann::json::object();
  for (const auto& [id, choice] : scored.choices) choices[id] = choice ? *choice : -1;
  return {{"bench", "scienceqa"},
          {"split", o.split},
          {"answer_rule", o.rule},
          {"columns", columns},
          {"topics", topics},
          {"grades", grades},
          {"unparsed", scored.score.unparsed},
          {"choices", choices}};
}

// The same as a bench's result, over the predicted questions whose answers are known, for the report.
eval::BenchResult result_of(const std::vector<data::ScienceQaProblem>& problems,
                            const std::map<std::string, std::string>& outputs, const ScienceQaOptions& o) {
  eval::QuestionSet set;
  if (data::is_published_scienceqa_test(o.splits, o.split)) set.published = eval::kScienceQaTest;
  for (const data::ScienceQaProblem& problem : problems)
    if (outputs.contains(problem.pid)) set.problems.push_back(problem);
  for (size_t i = 0; i < set.problems.size(); ++i)
    set.questions.push_back(eval::scienceqa_question(set.problems[i], static_cast<int64_t>(i)));
  eval::BenchSpec spec;
  spec.name = "scienceqa";
  spec.answer_rule = o.rule;
  spec.split = o.split;
  auto result = eval::score_bench(spec, set, outputs);
  if (!result.ok()) return {};            // the rule was known before
  result->counts.erase("images_absent");  // of files that are not at hand here; what the model was shown is not known
  result->pinned = {{"answer_rule", o.rule}, {"split", o.split}, {"answers", o.predictions}};
  return std::move(*result);
}

int eval_scienceqa(const ScienceQaOptions& o) {
  if (o.predictions.empty()) {
    if (!o.model.named()) return fail(kNothingNamed);
    ModelEval model = o.model;
    model.spec.name = model.spec.kind = "scienceqa";
    model.spec.split = o.split;
    model.spec.prompt = o.prompt;
    model.spec.answer_rule = o.rule;
    model.dataset = {"scienceqa", "", {{"problems", o.problems}, {"splits", o.splits}, {"images", o.images}}};
    model.output = {o.out, o.json};
    return eval_model(model);
  }
  auto rule = eval::parse_answer_rule(o.rule);
  if (!rule.ok()) return fail(rule.status());
  auto problems = data::load_scienceqa(o.problems, o.splits, o.split, o.images);
  if (!problems.ok()) return fail(problems.status());
  auto predictions = eval::load_predictions(o.predictions);
  if (!predictions.ok()) return fail(predictions.status());
  auto scored = eval::score_predictions(*predictions, *problems, *rule);
  std::string document = to_json(scored, o).dump(2);
  if (!o.out.empty()) {
    Status written = Env::posix().make_directories(o.out);
    if (written.ok()) written = write_file_atomic(Env::posix(), o.out + "/scienceqa.json", document + "\n");
    if (written.ok()) written = write_result(result_of(*problems, *predictions, o), o.out);
    if (!written.ok()) return fail(written);
  }
  if (o.json) {
    std::printf("%s\n", document.c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const eval::Column& c : scored.score.columns)
    rows.push_back({c.name, fixed(100 * c.accuracy(), 2), std::to_string(c.correct), std::to_string(c.count)});
  std::printf("%s%lld of %zu answers could not be parsed (rule %s)\n",
              table({"column", "accuracy %", "correct", "questions"}, rows).c_str(),
              static_cast<long long>(scored.score.unparsed), scored.choices.size(), o.rule.c_str());
  return kOk;
}
struct BenchOptions {
  std::string kind, predictions;
  eval::BenchFiles files;
  std::vector<std::string> ignore;
  std::string data;  // loss of a model: conversations
  ModelEval model;
  EvalOutput output;
};

// With a model the bench is asked; without, its predictions are scored.
int ask_or_score(const BenchOptions& o, int (*score)(const BenchOptions&)) {
  if (!o.predictions.empty()) return score(o);
  if (!o.model.named()) return fail(kNothingNamed);
  ModelEval model = o.model;
  model.spec.name = model.spec.kind = o.kind;
  model.output = o.output;
  if (o.kind == "loss") {
    if (o.data.empty())
      return fail({Code::kInvalidArgument, "--data is missing: the conversations whose loss is taken"});
    model.spec.part = "";
    model.dataset = {"llava", "", {{"conversations", o.data}, {"images", o.files.images}}};
  } else {
    model.dataset = {
        "benchmark",
        "",
        {{"questions", o.files.questions}, {"annotations", o.files.annotations}, {"images", o.files.images}}};
  }
  return eval_model(model);
}

int eval_files(const BenchOptions& o) {
  eval::BenchFiles files = o.files;
  // MME's own script reads questions and answers from one folder.
  if (o.kind == "mme" && files.questions.empty()) files.questions = o.predictions;
  auto set = eval::load_bench_files(o.kind, files, "");
  if (!set.ok()) return fail(set.status());
  int64_t unknown = 0;
  auto answers = eval::load_bench_answers(o.kind, o.predictions, *set, &unknown);
  if (!answers.ok()) return fail(answers.status());
  eval::BenchSpec spec;
  spec.name = spec.kind = o.kind;
  auto result = eval::score_bench(spec, *set, *answers);
  if (!result.ok()) return fail(result.status());
  result->pinned = {{"data_hash", set->data_hash}, {"answer_rule", eval::rule_of(o.kind)}, {"answers", o.predictions}};
  return finish_eval(*result, unknown, o.output);
}

// What `tephra score` printed.
int eval_loss(const BenchOptions& o) {
  auto objects =
      eval::read_json_objects(o.predictions, "losses as tephra score prints them, [{\"id\", \"loss\", \"tokens\"}]");
  if (!objects.ok()) return fail(objects.status());
  eval::QuestionSet set;
  std::map<std::string, std::string> answers;
  for (const auto& object : *objects) {
    eval::Question q;
    q.id = eval::id_of(object, "id");
    q.turns = {{"human", q.id}};
    if (q.id.empty() || !object.contains("loss") || !object["loss"].is_number() || !object.contains("tokens") ||
        !object["tokens"].is_number_integer())
      return fail({Code::kInvalidArgument,
                   o.predictions + ": entry " + std::to_string(set.questions.size()) +
                       " lacks an id, a loss or its tokens; the file should hold what tephra score prints"});
    answers[q.id] = eval::loss_answer({object["loss"].get<double>(), object["tokens"].get<int64_t>()});
    set.questions.push_back(std::move(q));
  }
  eval::BenchSpec spec;
  spec.name = spec.kind = "loss";
  auto result = eval::score_bench(spec, set, answers);
  if (!result.ok()) return fail(result.status());
  result->pinned = {{"answers", o.predictions}};
  return finish_eval(*result, 0, o.output);
}

// Published reviews, as LLaVA's summarize_gpt_review.py prints them.
int eval_reviews(const BenchOptions& o) {
  auto reviews = eval::load_reviews(o.predictions, {o.ignore.begin(), o.ignore.end()});
  if (!reviews.ok()) return fail(reviews.status());
  const auto summary = eval::summarize_reviews(*reviews);
  const auto unread = std::count_if(reviews->begin(), reviews->end(), [](const eval::Review& r) {
    return r.scores.first == -1 && r.scores.second == -1;
  });
  nlohmann::ordered_json rows = nlohmann::ordered_json::object();
  for (const auto& row : summary)
    rows[row.name] = {{"ratio", row.ratio}, {"first", row.first}, {"second", row.second}, {"count", row.count}};
  const std::string document = nlohmann::ordered_json{
      {"bench", "llava_bench"},
      {"rows", rows},
      {"reviews", reviews->size()},
      {"unparsed", unread}}.dump(2);
  if (!o.output.out.empty()) {
    Status written = Env::posix().make_directories(o.output.out);
    if (written.ok()) written = write_file_atomic(Env::posix(), o.output.out + "/llava_bench.json", document + "\n");
    if (!written.ok()) return fail(written);
  }
  if (o.output.json) {
    std::printf("%s\n", document.c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : summary)
    cells.push_back(
        {row.name, fixed(row.ratio, 1), fixed(row.first, 1), fixed(row.second, 1), std::to_string(row.count)});
  std::printf("%s%lld of %zu reviews could not be read; they count as -1 -1\n",
              table({"category", "second % of first", "first x 10", "second x 10", "reviews"}, cells).c_str(),
              static_cast<long long>(unread), reviews->size());
  return kOk;
}

void add_bench(CLI::App& group, Verbs& verbs, const std::string& kind, const std::string& about,
               const std::string& predictions, const std::string& example, int (*run)(const BenchOptions&)) {
  auto o = std::make_shared<BenchOptions>();
  o->kind = kind;
  auto* verb = group.add_subcommand(kind, about);
  verb->add_option("--predictions", o->predictions, predictions);
  add_model_options(*verb, o->model);
  verb->add_option("--out", o->output.out, "folder for the result and a report");
  verb->add_flag("--json", o->output.json, "one JSON document");
  verb->footer("Example:\n  tephra eval " + kind + " " + example);
  verb->callback([&verbs, o, run] { verbs.chosen = [o, run] { return ask_or_score(*o, run); }; });
  if (run == eval_files) {
    auto* questions = verb->add_option(
        "--questions", o->files.questions,
        kind == "mme" ? "folder of TASK.txt; by default the predictions' own" : "the bench's questions, as published");
    if (kind != "mme") questions->required();
    if (kind == "vqav2")
      verb->add_option("--annotations", o->files.annotations, "people's answers, as published")->required();
    verb->add_option("--images", o->files.images, "folder of the pictures: asked about, and shown in the report");
  } else {
    verb->add_option("--data", o->data, "of a model: the conversations, JSON");
    verb->add_option("--images", o->files.images, "of a model: root of their pictures");
    verb->add_option("--max-length", o->model.max_length, "tokens a conversation is cut to")->capture_default_str();
  }
}

void add_llava_bench(CLI::App& group, Verbs& verbs) {
  auto reviews = std::make_shared<BenchOptions>();
  auto judged = std::make_shared<JudgedBench>();
  auto* verb =
      group.add_subcommand("llava_bench", "LLaVA-Bench: relative scores, from published reviews or by asking a judge");
  verb->add_option(
      "--predictions", reviews->predictions,
      "JSON lines: reviews {\"question_id\", \"tuple\" or \"score\", \"category\", \"content\"}, or answers {\"question_id\", \"text\"}");
  add_model_options(*verb, reviews->model);
  verb->add_option("--ignore", reviews->ignore, "ids of questions whose reviews are left out");
  verb->add_option("--questions", judged->files.questions, "of answers: the bench's questions");
  verb->add_option("--reference", judged->files.reference, "of answers: the reference's (GPT-4's) answers");
  verb->add_option("--context", judged->files.context, "of answers: what the pictures show, in words");
  verb->add_option("--images", judged->files.images, "folder of the pictures, to be shown in the report");
  add_judge_options(*verb, judged->judge);
  verb->add_option("--out", reviews->output.out, "folder for the judge's replies, the result and a report");
  verb->add_flag("--json", reviews->output.json, "one JSON document");
  verb->footer(
      "Called again with the same --out it asks only for judgments that are missing.\n"
      "Examples:\n  tephra eval llava_bench --predictions review.jsonl\n"
      "  tephra eval llava_bench --predictions answers.jsonl --questions qa90_questions.jsonl --reference qa90_gpt4_answer.jsonl "
      "--context caps_boxes_coco2014_val_80.jsonl --judge https://HOST/v1 --judge-model gpt-4 --judge-prompts "
      "recipes/judge/llava_bench.json --judge-key-env JUDGE_KEY --out llava-bench");
  verb->callback([&verbs, reviews, judged] {
    verbs.chosen = [reviews, judged] {
      if (!reviews->predictions.empty() && judged->files.questions.empty() && judged->judge.endpoint.empty())
        return eval_reviews(*reviews);
      if (reviews->predictions.empty()) {
        ModelEval model = reviews->model;
        if (!model.named()) return fail(kNothingNamed);
        model.spec.name = model.spec.kind = "llava_bench";
        model.judge = judged->judge;
        const eval::BenchFiles& f = judged->files;
        model.dataset = {
            "benchmark",
            "",
            {{"questions", f.questions}, {"images", f.images}, {"reference", f.reference}, {"context", f.context}}};
        model.output = reviews->output;
        return eval_model(model);
      }
      judged->predictions = reviews->predictions;
      judged->output = reviews->output;
      return eval_llava_bench(*judged);
    };
  });
}

void add_benches(CLI::App& group, Verbs& verbs) {
  add_bench(group, verbs, "pope", "POPE: objects that are not there",
            "JSON lines {\"question_id\", \"text\" or \"answer\"}",
            "--questions coco_pope_random.json --predictions answers.jsonl", eval_files);
  add_bench(group, verbs, "mme", "MME: fourteen tasks of yes and no",
            "folder of TASK.txt with a fourth column, or JSON lines {\"question_id\": \"TASK/picture\", \"text\"}",
            "--predictions results/my-model", eval_files);
  add_bench(group, verbs, "vqav2", "VQA's accuracy against ten people's answers",
            "JSON [{\"question_id\", \"answer\"}]",
            "--questions v2_questions.json --annotations v2_annotations.json --predictions results.json", eval_files);
  add_bench(group, verbs, "textvqa", "TextVQA's accuracy", "JSON [{\"question_id\", \"answer\"}], or LLaVA's lines",
            "--questions TextVQA_0.5.1_val.json --predictions results.json", eval_files);
  add_bench(group, verbs, "captions", "BLEU and CIDEr of captions", "JSON [{\"image_id\", \"caption\"}]",
            "--questions captions_val2014.json --predictions results.json", eval_files);
  add_llava_bench(group, verbs);
  add_bench(group, verbs, "loss", "Loss and perplexity over all tokens", "what tephra score printed",
            "--predictions losses.json", eval_loss);
}

}  // namespace

void add_eval(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("eval", "Score published predictions of a bench");
  group->require_subcommand(0, 1);
  struct Resume {
    std::string job, store = "tephra-store";
    bool json = false;
  };
  auto resume = std::make_shared<Resume>();
  group->add_option("--resume", resume->job,
                    "a job whose benches a judge left incomplete: ask for what is missing, write its report anew");
  add_store_option(*group, resume->store, "the job's store (--resume)");
  group->add_flag("--json", resume->json, "one JSON document (--resume)");
  group->footer("Examples:\n  tephra eval scienceqa --help\n  tephra eval --resume demo-1 --store tephra-store");
  group->callback([&verbs, group, resume] {
    if (!group->get_subcommands().empty()) return;
    if (resume->job.empty()) throw CLI::RequiredError("a bench, or --resume JOB,");
    verbs.chosen = [resume] { return resume_job_benches(resume->job, resume->store, resume->json); };
  });
  auto o = std::make_shared<ScienceQaOptions>();
  auto* verb = group->add_subcommand("scienceqa", "ScienceQA's nine columns from a predictions file");
  verb->add_option("--predictions", o->predictions, "JSON with {\"outputs\": {question id: text}}");
  verb->add_option("--images", o->images, "folder of <split>/<pid>/image.png");
  verb->add_option("--prompt", o->prompt, "how a model is asked")
      ->check(CLI::IsMember({"CQM-A", "QCM-LEA"}))
      ->capture_default_str();
  add_model_options(*verb, o->model);
  verb->add_option("--problems", o->problems, "ScienceQA's problems.json")->required();
  verb->add_option("--splits", o->splits, "ScienceQA's pid_splits.json")->required();
  verb->add_option("--split", o->split)->capture_default_str();
  verb->add_option("--answer-rule", o->rule, "scienceqa, llava, letter or loglik")->capture_default_str();
  verb->add_option("--out", o->out, "folder for scienceqa.json and a report; of a model its answers, too");
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer(
      "Example:\n  tephra eval scienceqa --predictions answers.json --problems problems.json --splits pid_splits.json");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return eval_scienceqa(*o); }; });
  add_benches(*group, verbs);
  add_ensemble(*group, verbs);
}

}  // namespace tephra::cli
