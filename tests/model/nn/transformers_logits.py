"""FOLDER: loads FOLDER/model in transformers, runs FOLDER/in.json ({"ids", "pixels"}; each -200 stands for an image) and writes the logits of
each position of the merged sequence to FOLDER/out.json."""
import json
import sys

import torch
from transformers import LlavaForConditionalGeneration

folder = sys.argv[1]
given = json.load(open(folder + "/in.json"))
model, report = LlavaForConditionalGeneration.from_pretrained(
    folder + "/model", dtype=torch.float32, output_loading_info=True)
unexpected = {kind: names for kind, names in report.items() if names}
assert not unexpected, unexpected
model.eval()
config = model.config
size = config.vision_config.image_size
ids = [i for id in given["ids"] for i in ([config.image_token_id] * config.image_seq_length if id == -200 else [id])]
with torch.no_grad():
    out = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                pixel_values=torch.tensor(given["pixels"]).view(-1, 3, size, size))
json.dump(out.logits[0].tolist(), open(folder + "/out.json", "w"))
