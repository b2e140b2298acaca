"""FOLDER: loads FOLDER/model in transformers and FOLDER/adapters onto it in PEFT, runs FOLDER/in.json ({"ids", "pixels"}; -200 stands
for the image, without pixels the model is a language model) and writes the logits of each position to FOLDER/out.json."""
import json
import sys

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

folder = sys.argv[1]
given = json.load(open(folder + "/in.json"))
kind = LlavaForConditionalGeneration if given["pixels"] else AutoModelForCausalLM
model = PeftModel.from_pretrained(kind.from_pretrained(folder + "/model", dtype=torch.float32), folder + "/adapters")
model.eval()

# Every tensor of the file has its place in the model and its value there: nothing was passed over.
state = {name.replace(".default", "").replace(".modules_to_save", ""): value
         for name, value in model.state_dict().items() if ".original_module." not in name}
with safe_open(folder + "/adapters/adapter_model.safetensors", "pt") as file:
    for name in file.keys():
        assert torch.equal(state[name], file.get_tensor(name)), name
    assert {name for name in state if ".lora_" in name} == {name for name in file.keys() if ".lora_" in name}

inputs = {}
ids = given["ids"]
if given["pixels"]:
    config = model.base_model.model.config
    size = config.vision_config.image_size
    ids = [i for id in ids for i in ([config.image_token_id] * config.image_seq_length if id == -200 else [id])]
    inputs["pixel_values"] = torch.tensor(given["pixels"]).view(1, 3, size, size)
with torch.no_grad():
    out = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), **inputs)
json.dump(out.logits[0].tolist(), open(folder + "/out.json", "w"))
