"""Losses of samples with transformers, as a careful user computes them (no gradients, the head on supervised places only), on the model
and with the helpers of the peers' folder: score_peer.py PEERS_FOLDER DTYPE BATCH. Prints tokens/s."""
import argparse
import statistics
import sys
import time

sys.path.insert(0, sys.argv[1])
import peer_common as pc
import torch

THREADS, RUNS = 2, 5
torch.set_num_threads(THREADS)
torch.manual_seed(0)
parser = argparse.ArgumentParser()
pc.add_model_args(parser)
a = parser.parse_args([])
model = pc.build_model(a).eval()
pc.init_weights(model, a)
dtype, batch = getattr(torch, sys.argv[2]), int(sys.argv[3])
model = model.to(dtype)
pixels, ids, labels = pc.make_batch(a, batch, 1)
pixels = pixels.to(dtype)
times = []
for _ in range(RUNS + 1):
    start = time.perf_counter()
    with torch.inference_mode():
        x = model.embed(pixels, ids)
        logits = model.llm(inputs_embeds=x, logits_to_keep=a.labelled + 1, use_cache=False).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.reshape(-1, a.vocab).float(), labels[:, -a.labelled:].reshape(-1),
                                                   reduction="none").view(batch, -1).mean(1)
    times.append(time.perf_counter() - start)
    assert losses.isfinite().all()
print(batch * pc.seq_len(a) / statistics.median(times[1:]))
