"""Makes tokenizer.json and cases.json beside it with Hugging Face's tokenizers: a small byte-level BPE with LLaMA 3's expression and
special tokens, and what it encodes and decodes. Run once; the tests read the files."""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

here = os.path.dirname(os.path.abspath(__file__))
words = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
tokenizer = Tokenizer(models.BPE(ignore_merges=True))
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(words), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
tokenizer.decoder = decoders.ByteLevel()
random.seed(1)
scene = lambda: "a {} {} {} in the {}".format(
    random.choice(["large", "small"]), random.choice(["red", "green", "blue"]), random.choice(["circle", "square", "cross"]),
    random.choice(["northwest", "southeast"]))
corpus = [scene() + ". What's there?\nIt's " + scene() + ", and 12345 others; don't they'll I'm naïve café 日本語 …" for _ in range(300)]
tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
    vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
tokenizer.save(here + "/tokenizer.json", pretty=False)
json.dump({"bos_token": names[0], "eos_token": names[1], "tokenizer_class": "PreTrainedTokenizerFast"},
          open(here + "/tokenizer_config.json", "w"))

texts = ["", " ", "a", "a large red circle", "  two  spaces  ", "line\n\n\nbreaks \r\n and\ttabs ", "What's THERE? DON'T", "12345678 9",
         "naïve café", "日本語テキスト", "emoji 🐱🏽‍🚀!", "mixed\u00a0space\u3000wide", "'s's'LL", "....,,,;;;!!!\n\n", "x" * 300, " " * 70,
         "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is it?<|eot_id|>", "un<|eot_id|>split", "\u0000\u0001\u007f",
         "Ünïcödé ﬁ ligature Ⅷ ½ ²", "العربية हिन्दी"]
for _ in range(60):
    texts.append("".join(random.choice(["a", "é", " ", "\n", "1", "日", "🐱", "'", "re", ".", "\t", "large", "Z"]) for _ in range(random.randint(1, 30))))
cases = []
for text in texts:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                  "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
for _ in range(40):
    ids = [random.randrange(tokenizer.get_vocab_size()) for _ in range(random.randint(1, 12))]
    cases.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                  "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
json.dump(cases, open(here + "/cases.json", "w"), ensure_ascii=True, indent=0)
