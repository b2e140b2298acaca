"""PORT: talks to a served model with OpenAI's Python client, key "open sesame": whole replies, streams, pictures, errors."""
import base64
import io
import sys

import openai
from PIL import Image

client = openai.OpenAI(base_url=f"http://127.0.0.1:{sys.argv[1]}/v1", api_key="open sesame", max_retries=0)
model = client.models.list().data[0].id


def picture(*color):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def asked(*pictures):
    return [{"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": [*pictures, {"type": "text", "text": "What is it?"}]}]


messages = asked(picture(200, 30, 40))
options = dict(model=model, messages=messages, max_tokens=10, temperature=0)

whole = client.chat.completions.create(**options)
assert whole.choices[0].message.role == "assistant", whole
assert whole.usage.completion_tokens == 10 and whole.choices[0].finish_reason == "length", whole

text, usage = "", None
for chunk in client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
assert text.strip() == whole.choices[0].message.content, (text, whole)
assert usage.total_tokens == whole.usage.total_tokens, usage

draws = {client.chat.completions.create(**{**options, "temperature": 2.0, "seed": seed}).choices[0].message.content
         for seed in (1, 1, 2)}
assert len(draws) == 2, draws

pair = client.chat.completions.create(**{**options, "messages": asked(picture(200, 30, 40), picture(250, 250, 250))})
assert pair.usage.prompt_tokens > whole.usage.prompt_tokens, pair

blind = client.chat.completions.create(**{**options, "messages": [{"role": "user", "content": "What is it?"}]})
assert blind.usage.prompt_tokens < whole.usage.prompt_tokens

try:
    client.chat.completions.create(**{**options, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}]}]})
    raise SystemExit("an address that is not fetched was taken")
except openai.BadRequestError as error:
    assert "data URL" in str(error), error
try:
    openai.OpenAI(base_url=client.base_url, api_key="wrong", max_retries=0).models.list()
    raise SystemExit("a wrong key was taken")
except openai.AuthenticationError:
    pass
