"""A whole reply as a `chat.completion` object. The streamed form is in `stream.py`, which shares the pieces below."""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.dialects.base import ReplyContext
from regrant.errors import DialectError
from regrant.messages.model import (
    Choice,
    Citation,
    Finish,
    FinishReason,
    Media,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)

FINISH_REASONS: dict[FinishReason, str] = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.MALFORMED: "stop",
    FinishReason.OTHER: "stop",
}

_encode = msgspec.json.encode
_PLAIN_MESSAGE = b'{"role":"assistant","content":%b,"refusal":null}'
_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d},"completion_tokens_details":{"reasoning_tokens":%d}}'
)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = msgspec.json.Decoder(str)


def encode_reply(reply: Reply, *, context: ReplyContext) -> bytes:
    """Raises: DialectError for media other than pictures, which a chat completion has no place for."""
    # The fixed words are put in as bytes: that costs half of what dicts for the encoder do.
    return (
        b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],"usage":%b}'
        % (
            context.id.encode(),
            context.created,
            _encode(context.model),
            b",".join([_encode_choice(choice, context) for choice in reply.choices]),
            encode_usage(reply.usage),
        )
    )


def _encode_choice(choice: Choice, context: ReplyContext) -> bytes:
    finish, parts = choice.finish, choice.parts
    if len(parts) == 1 and type(parts[0]) is Text and parts[0].text and not finish.citations:
        message = _PLAIN_MESSAGE % _encode(parts[0].text)
    else:
        message = _encode(_describe_message(choice, context))
    logprobs = _encode(describe_logprobs(finish.logprobs)) if finish.logprobs else b"null"
    reason = FINISH_REASONS[finish.reason].encode()
    return b'{"index":%d,"message":%b,"logprobs":%b,"finish_reason":"%b"}' % (
        finish.choice,
        message,
        logprobs,
        reason,
    )


def _describe_message(choice: Choice, context: ReplyContext) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for part in choice.parts:
        match part:
            case Text():
                texts.append(part.text)
            case Thinking():
                thoughts.append(part.text)
            case ToolCall():
                calls.append(describe_call(part, freeform=part.name in context.freeform_tools))
            case Media():
                images.append(describe_image(part))
    text = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": describe_refusal(choice.finish) if not text else None,
    }
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    if images:
        message["images"] = images
    if choice.finish.citations:
        message["annotations"] = [describe_citation(citation) for citation in choice.finish.citations]
    return message


def describe_call(call: ToolCall, *, freeform: bool) -> dict[str, Any]:
    """One entry of `tool_calls`. Google's own place for a thought signature is `extra_content.google`."""
    described: dict[str, Any] = {"id": call.id}
    if freeform:
        described |= {
            "type": "custom",
            "custom": {"name": call.name, "input": read_freeform(bytes(call.args))},
        }
    else:
        arguments = bytes(call.args).decode()
        described |= {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.signature:
        described["extra_content"] = {"google": {"thought_signature": call.signature}}
    return described


def read_freeform(args: bytes) -> str:
    """The plain text inside `{"input": ...}`; whatever else the model wrote is handed on as it is."""
    try:
        return _STRING.decode(_OBJECT.decode(args)["input"])
    except (msgspec.DecodeError, KeyError):
        return args.decode()


def describe_image(media: Media) -> dict[str, Any]:
    """A generated picture as OpenRouter and its clients write it; OpenAI itself has no place for one."""
    if not media.mime.startswith("image/"):
        raise DialectError(f"The model answered with {media.mime}, which a chat completion cannot hold.")
    url = media.uri or f"data:{media.mime};base64,{media.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def describe_refusal(finish: Finish) -> str | None:
    if finish.reason is not FinishReason.CONTENT_FILTER or not finish.detail:
        return None
    return f"The upstream's filter stopped this answer: {finish.detail}."


def describe_citation(citation: Citation) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {
            "url": citation.url,
            "title": citation.title,
            "start_index": citation.start,
            "end_index": citation.end,
        },
    }


def describe_logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    content = [
        _describe_token(one) | {"top_logprobs": [_describe_token(top) for top in one.top]} for one in logprobs
    ]
    return {"content": content, "refusal": None}


def _describe_token(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode())}


def encode_usage(usage: Usage) -> bytes:
    return _USAGE % (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
    )
