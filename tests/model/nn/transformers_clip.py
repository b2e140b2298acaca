"""FOLDER: loads FOLDER/model in transformers and trains it contrastively on FOLDER/in.json ({"steps": [[{"ids", "pixels"} of a micro-batch]],
"lr", "weight_decay", "clip_norm"}). Writes FOLDER/out.json (loss and gradient norm of each step) and, by the names in FOLDER/model,
FOLDER/gradients.safetensors (of the first step, not clipped) and FOLDER/after.safetensors (the parameters in the end)."""
import json
import sys

import torch
from safetensors.torch import save_file
from transformers import CLIPModel

folder = sys.argv[1]
given = json.load(open(folder + "/in.json"))
model, report = CLIPModel.from_pretrained(folder + "/model", dtype=torch.float32, output_loading_info=True)
unexpected = {kind: names for kind, names in report.items() if names}
assert not unexpected, unexpected
size = model.config.vision_config.image_size
parameters = dict(model.named_parameters())
matrices = [p for p in parameters.values() if p.dim() >= 2]
others = [p for p in parameters.values() if p.dim() < 2]
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": given["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
                              lr=given["lr"], betas=(0.9, 0.999), eps=1e-8)
steps = []
for micro_batches in given["steps"]:
    optimizer.zero_grad()
    pairs = sum(len(m["ids"]) for m in micro_batches)
    loss = 0.0
    for m in micro_batches:
        out = model(input_ids=torch.tensor(m["ids"]), pixel_values=torch.tensor(m["pixels"]).view(-1, 3, size, size), return_loss=True)
        share = out.loss * (len(m["ids"]) / pairs)
        share.backward()
        loss += share.item()
    if not steps:
        save_file({name: p.grad.clone() for name, p in parameters.items()}, folder + "/gradients.safetensors")
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), given["clip_norm"])
    optimizer.step()
    steps.append({"loss": loss, "gradient_norm": norm.item()})
json.dump(steps, open(folder + "/out.json", "w"))
save_file({name: p.detach().clone() for name, p in parameters.items()}, folder + "/after.safetensors")
