"""A conventional design: FastAPI, pydantic, an ordered loop over ``re`` patterns, ``string.Template``, uvicorn.

Usage: ``python -m benchmarks.baselines.fastapi_app PORT CONFIG`` with a fastmock configuration.
"""

import json
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

TEMPLATE = Template(
    '{"id": "$chat_id", "object": "chat.completion", "created": $timestamp, "model": "$model", "choices": [{"index": 0, '
    '"message": {"role": "assistant", "content": "$content"}, "finish_reason": "stop"}], '
    '"usage": {"prompt_tokens": $prompt_tokens, "completion_tokens": 10, "total_tokens": 20}}'
)


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]
    temperature: float = 1.0
    stream: bool = False


def make(config: dict[str, Any]) -> FastAPI:
    found = config["responses"]["chat_completions"]["rules"]
    patterns = sorted(found, key=lambda pattern: -int(pattern.get("priority", 0)))
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest, authorization: str = Header(None)) -> Response:
        if not (authorization or "").startswith("Bearer "):
            raise HTTPException(401)
        user = next(m.content for m in reversed(request.messages) if m.role == "user")
        system = next((m.content for m in request.messages if m.role == "system"), "")
        content = "default"
        for pattern in patterns:
            match = pattern["match"]
            if "model" in match and match["model"] != request.model:
                continue
            if "content_regex" in match and not re.search(match["content_regex"], user):
                continue
            if "system_prompt" in match and match["system_prompt"] not in system:
                continue
            content = pattern["content"]
            break
        if request.stream:
            return StreamingResponse(events(request.model, content), media_type="text/event-stream")
        body = TEMPLATE.substitute(
            chat_id=f"chatcmpl-{uuid.uuid4().hex}",
            timestamp=int(time.time()),
            model=request.model,
            content=json.dumps(content)[1:-1],
            prompt_tokens=len(user.split()),
        )
        answer = json.loads(body)
        headers = {"x-request-id": f"req_{uuid.uuid4().hex}"}
        return Response(json.dumps(answer), media_type="application/json", headers=headers)

    return app


async def events(model: str, content: str) -> AsyncIterator[str]:
    """Stream ``content`` word by word."""
    common = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+", content)]
    for delta in (*deltas, {}):
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        yield f"data: {json.dumps({**common, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    loaded = json.loads(Path(sys.argv[2]).read_text())
    uvicorn.run(make(loaded), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
