"""Both halves of the Gemini dialect against each other: what one writes, the other reads as it was.

The normal form, beyond which Gemini cannot tell two requests or replies apart, is written down in `normal`, `distinct` and
the strategies.
"""

import json
from itertools import zip_longest
from typing import Any

import msgspec
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dialects.test_gemini_identity import MEDIA, REPLY_PARTS, SIGNATURE, WORDS, distinct

from regrant.dialects import gemini
from regrant.dialects.base import ReplyContext
from regrant.messages.fold import fold, unfold
from regrant.messages.model import (
    BuiltinTool,
    Choice,
    Citation,
    Effort,
    Finish,
    FinishReason,
    Generation,
    OutputFormat,
    Reasoning,
    Reply,
    Request,
    Text,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started

MODEL = "gemini-3.5-flash"
"""The model that has the most knobs: sampling, thinking levels, built-in tools beside functions, pictures in results."""

CONTEXT = ReplyContext(id="R", created=1, model="M")
ARGS = st.sampled_from([b"{}", b'{"a":1}', b'{"snake_case":{"b":"\xc3\xa9","nullable":true}}']).map(
    msgspec.Raw
)
SCHEMAS = st.sampled_from(
    [b'{"type":"object"}', b'{"type": "object","properties":{"any_of":{"type":["string","null"]}}}']
).map(msgspec.Raw)
NAMES = ["get", "a_b", "x.y:z-1"]
CALLS = st.builds(
    ToolCall, id=st.uuids().map(str), name=st.sampled_from(NAMES), args=ARGS, signature=SIGNATURE
)
THOUGHTS = st.builds(Thinking, text=WORDS, signature=SIGNATURE)
FLOATS = st.none() | st.floats(-2, 2)
GENERATION = st.builds(
    Generation,
    max_tokens=st.none() | st.integers(1, 10**6),
    temperature=FLOATS,
    top_p=FLOATS,
    top_k=st.none() | st.integers(1, 99),
    stop=st.lists(st.text(max_size=3), max_size=5).map(tuple),
    seed=st.none() | st.integers(0, 2**31),
    presence_penalty=FLOATS,
    frequency_penalty=FLOATS,
    logprobs=st.booleans(),
    top_logprobs=st.none() | st.integers(1, 20),
)
REASONING = st.builds(
    Reasoning,
    effort=st.none() | st.sampled_from(Effort),
    budget_tokens=st.none() | st.integers(-1, 30_000),
    summaries=st.booleans(),
)
OUTPUT = st.builds(OutputFormat, schema=st.none() | SCHEMAS, name=st.none() | WORDS, strict=st.booleans())


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Turn, ...]:
    """In Google's order: calls are answered at once, in their order; the user speaks first and last."""
    turns: list[Turn] = []
    for _ in range(draw(st.integers(0, 2))):
        turns.append(Turn(role="user", parts=tuple(draw(st.lists(TEXTS | MEDIA, min_size=1, max_size=3)))))
        for calls in draw(st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=2)):
            said = draw(st.lists(TEXTS | THOUGHTS, max_size=2))
            turns.append(Turn(role="assistant", parts=(*said, *calls)))
            turns.append(Turn(role="user", parts=tuple(draw(results(call)) for call in calls)))
        turns.append(Turn(role="assistant", parts=(Text(text=draw(WORDS)),)))
    return (*turns, Turn(role="user", parts=(Text(text="last"),)))


TEXTS = st.builds(Text, text=st.text(max_size=8), signature=SIGNATURE).filter(
    lambda text: bool(text.text) or text.signature is None
)
"""A signature without a text is for Gemini's answers; in a request it is left out with its text."""


def results(call: ToolCall) -> st.SearchStrategy[ToolResult]:
    content = st.tuples(st.builds(Text, text=WORDS)) | st.tuples(st.builds(Text, text=WORDS), MEDIA)
    return st.builds(
        ToolResult,
        call_id=st.just(call.id),
        name=st.just(call.name),
        content=content | st.just(()),
        is_error=st.booleans(),
    )


@st.composite
def requests(draw: st.DrawFn) -> Request:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    tools = tuple(
        Tool(name=name, description=draw(st.just("") | WORDS), schema=draw(st.none() | SCHEMAS))
        for name in names
    )
    chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    choice = st.builds(
        ToolChoice, mode=st.sampled_from(["auto", "none", "required"]), names=st.just(tuple(chosen))
    )
    return Request(
        model=MODEL,
        turns=(Turn(role="user", parts=(Text(text="first"),)), *draw(conversations())),
        system=tuple(draw(st.lists(st.builds(Text, text=st.text(max_size=4)), max_size=2))),
        tools=tools,
        builtin_tools=tuple(draw(st.lists(st.sampled_from(BuiltinTool), unique=True))),
        tool_choice=draw(st.none() | choice),
        generation=draw(GENERATION),
        output=draw(st.none() | OUTPUT),
        reasoning=draw(st.none() | REASONING),
        modalities=tuple(draw(st.lists(st.sampled_from(["text", "image", "audio"]), unique=True))),
        n=draw(st.integers(1, 8)),
        stream=draw(st.booleans()),
    )


def normal(request: Request) -> Request:
    """What Gemini can hold of `request`."""
    choice, asked = request.tool_choice, request.generation
    if choice is not None and choice.mode == "none":
        choice = ToolChoice(mode="none")
    generation = msgspec.structs.replace(
        asked,
        stop=tuple(stop for stop in asked.stop if stop),
        top_logprobs=asked.top_logprobs if asked.logprobs else None,
    )
    return msgspec.structs.replace(
        request,
        turns=merged(request.turns),
        system=tuple(text for text in request.system if text.text),
        tool_choice=choice if request.tools else None,
        generation=generation,
        output=OutputFormat(schema=request.output.schema) if request.output else None,
        reasoning=normal_reasoning(request.reasoning) if request.reasoning else None,
        modalities=() if request.modalities == ("text",) else request.modalities,
        include_usage=True,
    )


def merged(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Without thoughts and empty texts; neighbours of one role are one turn, but results stand alone."""
    kept: list[Turn] = []
    for turn in turns:
        parts = tuple(
            part
            for part in turn.parts
            if not isinstance(part, Thinking) and not (isinstance(part, Text) and not part.text)
        )
        joins = kept and kept[-1].role == turn.role and not isinstance(kept[-1].parts[-1], ToolResult)
        if parts and joins:
            kept[-1] = Turn(role=turn.role, parts=kept[-1].parts + parts)
        elif parts:
            kept.append(Turn(role=turn.role, parts=parts))
    return tuple(kept)


def normal_reasoning(asked: Reasoning) -> Reasoning:
    levels = {Effort.NONE: Effort.MINIMAL, Effort.XHIGH: Effort.HIGH, Effort.MAX: Effort.HIGH}
    if asked.effort is not None:
        return Reasoning(effort=levels.get(asked.effort, asked.effort), summaries=asked.summaries)
    budget = min(asked.budget_tokens, 24_576) if asked.budget_tokens is not None else None
    return Reasoning(budget_tokens=budget, summaries=asked.summaries)


@given(requests())
@settings(max_examples=300)
def test_a_request_that_was_written_is_read_as_it_was(request: Any) -> None:
    sent = gemini.encode_request(request, model=MODEL)
    assert gemini.decode_request(sent.body, model=MODEL, stream=request.stream) == normal(request)


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=optional).filter(bool)


SAID = st.one_of(
    st.fixed_dictionaries({"text": WORDS}, optional={"thoughtSignature": st.just("c2ln")}),
    st.just({"inlineData": {"mimeType": "image/png", "data": "eA=="}}),
    st.just({"fileData": {"fileUri": "https://x.example/a.pdf", "mimeType": "application/pdf"}}),
)
VALUES = st.sampled_from([{}, {"a": 1}, {"snake_case": [None, {"nullable": True}]}])
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
CONFIG = fields(
    candidateCount=st.integers(2, 8),
    maxOutputTokens=st.integers(1, 9),
    temperature=st.floats(0, 2),
    topP=st.floats(0, 1),
    topK=st.integers(1, 9),
    stopSequences=st.lists(WORDS, min_size=1, max_size=5),
    seed=st.integers(0, 9),
    presencePenalty=st.floats(-2, 2),
    frequencyPenalty=st.floats(-2, 2),
    responseModalities=st.just(["TEXT", "IMAGE"]),
    thinkingConfig=st.sampled_from(
        [{"thinkingLevel": "LOW", "includeThoughts": True}, {"thinkingBudget": -1}, {"thinkingBudget": 9}]
    ),
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies as `generateContent` has them, in normal form."""
    contents: list[Any] = [{"role": "user", "parts": draw(st.lists(SAID, min_size=1, max_size=3))}]
    for number in range(draw(st.integers(0, 2))):
        calls = [
            {"id": f"{number}-{one}", "name": "get", "args": draw(VALUES)}
            for one in range(draw(st.integers(1, 3)))
        ]
        said: list[Any] = [{"functionCall": call} for call in calls]
        said[0]["thoughtSignature"] = draw(st.sampled_from(["c2ln", "skip_thought_signature_validator"]))
        answers = [
            {
                "name": "get",
                "response": draw(st.sampled_from([{"output": ""}, {"output": "42"}, {"error": "no"}])),
                "id": call["id"],
            }
            | draw(st.sampled_from([{}, {"parts": [PICTURE]}]))
            for call in calls
        ]
        contents.append({"role": "model", "parts": said})
        contents.append({"role": "user", "parts": [{"functionResponse": answer} for answer in answers]})
    declared: dict[str, Any] = {"name": "get", "parametersJsonSchema": {"type": "object", "any_of": []}}
    body: dict[str, Any] = {"contents": contents, "tools": [{"functionDeclarations": [declared]}]}
    mixed = {"includeServerSideToolInvocations": True}
    calling = {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["get"]}}
    if draw(st.booleans()):
        body["tools"] += [{"googleSearch": {}}, {"codeExecution": {}}]
        body["toolConfig"] = mixed | draw(st.sampled_from([{}, calling]))
    elif draw(st.booleans()):
        body["toolConfig"] = calling
    optional = st.fixed_dictionaries(
        {},
        optional={
            "systemInstruction": st.just({"parts": [{"text": "S"}]}),
            "generationConfig": CONFIG
            | st.just({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}})
            | st.just({"responseLogprobs": True, "logprobs": 3}),
        },
    )
    return body | draw(optional)


def snake(value: Any) -> Any:
    """The same message in the other spelling; arguments, results and schemas are not Google's to rename."""
    own = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}
    if isinstance(value, list):
        return [snake(one) for one in value]
    if not isinstance(value, dict):
        return value
    spelled = {name: "".join(f"_{one.lower()}" if one.isupper() else one for one in name) for name in value}
    return {spelled[name]: one if name in own else snake(one) for name, one in value.items()}


@given(bodies())
@settings(max_examples=300)
def test_reading_a_body_and_writing_it_again_changes_nothing(body: Any) -> None:
    read = gemini.decode_request(json.dumps(body).encode(), model=MODEL)
    sent = gemini.encode_request(read, model=MODEL)
    assert read.dropped == sent.dropped == ()
    assert json.loads(sent.body) == body


@given(bodies())
def test_both_spellings_are_read_alike(body: Any) -> None:
    spelled = gemini.decode_request(json.dumps(snake(body)).encode(), model=MODEL)
    assert spelled == gemini.decode_request(json.dumps(body).encode(), model=MODEL)


TOKENS = st.builds(TokenLogprob, token=WORDS, logprob=st.floats(-9, 0))
ENDS = st.sampled_from(
    [
        (FinishReason.STOP, ""),
        (FinishReason.LENGTH, ""),
        (FinishReason.CONTENT_FILTER, "SAFETY"),
        (FinishReason.CONTENT_FILTER, "IMAGE_SAFETY"),
        (FinishReason.MALFORMED, "MALFORMED_FUNCTION_CALL"),
        (FinishReason.OTHER, "OTHER"),
    ]
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """What Gemini itself can have said."""
    choices: list[Choice] = []
    for number in range(draw(st.integers(1, 3))):
        parts = tuple(draw(st.lists(REPLY_PARTS, max_size=5).filter(distinct)))
        reason, detail = draw(ENDS)
        if reason is FinishReason.STOP and any(isinstance(part, ToolCall) for part in parts):
            reason = FinishReason.TOOL_CALLS
        text = "".join(part.text for part in parts if isinstance(part, Text))
        places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
        finish = Finish(
            choice=number,
            reason=reason,
            detail=detail,
            logprobs=tuple(
                TokenLogprob(
                    token=one.token, logprob=one.logprob, top=tuple(draw(st.lists(TOKENS, max_size=2)))
                )
                for one in draw(st.lists(TOKENS, max_size=2))
            ),
            citations=tuple(
                Citation(url=draw(WORDS), title=draw(WORDS), start=start, end=end)
                for start, end in draw(st.lists(places, max_size=2))
            ),
        )
        choices.append(Choice(parts=parts, finish=finish))
    if len(choices) == 1 and not choices[0].parts and choices[0].finish.detail:
        finish = Finish(choice=0, reason=FinishReason.CONTENT_FILTER, detail="JAILBREAK")
        choices = [Choice(parts=(), finish=finish)]  # a blocked prompt has neither sources nor tokens
    thoughts = draw(st.integers(0, 9))
    usage = Usage(
        input_tokens=draw(st.integers(0, 9)),
        cached_tokens=draw(st.integers(0, 9)),
        output_tokens=thoughts + draw(st.integers(0, 9)),
        reasoning_tokens=thoughts,
    )
    return Reply(id="R", model="M", choices=tuple(choices), usage=usage)


@given(replies())
@settings(max_examples=300)
def test_a_reply_that_was_written_is_read_as_it_was(reply: Any) -> None:
    body = gemini.encode_reply(reply, context=CONTEXT)
    assert fold(gemini.decode_reply(body, call_prefix="p")) == reply
    types.GenerateContentResponse.model_validate(json.loads(body))


def spread(reply: Reply, cut: int, *, late: bool) -> list[Event]:
    """`reply` as a talkative upstream tells it: parts in pieces, choices in turn, signatures early or `late`."""
    told: dict[int, list[Event]] = {choice.finish.choice: [] for choice in reply.choices}
    for event in unfold(reply):
        match event:
            case PartStarted(part=Text() | Thinking() | ToolCall()):
                told[event.choice].extend(in_pieces(event, cut, late=late))
            case PartStarted():
                told[event.choice] += [event, PartEnded(index=event.index, choice=event.choice)]
    mixed = [event for turn in zip_longest(*told.values()) for event in turn if event is not None]
    finished = Finished(finishes=tuple(choice.finish for choice in reply.choices), usage=reply.usage)
    return [Started(id="up", model="upstream"), *mixed, finished]


def in_pieces(event: PartStarted, cut: int, *, late: bool) -> list[Event]:
    part, index, choice = event.part, event.index, event.choice
    assert isinstance(part, Text | Thinking | ToolCall)
    whole = bytes(part.args).decode() if isinstance(part, ToolCall) else part.text
    first: Any = msgspec.Raw(whole[:cut].encode()) if isinstance(part, ToolCall) else whole[:cut]
    changed = {"args" if isinstance(part, ToolCall) else "text": first}
    begun = msgspec.structs.replace(part, **changed, signature=None if late else part.signature)
    return [
        PartStarted(part=begun, index=index, choice=choice),
        PartDelta(text=whole[cut:], index=index, choice=choice),
        PartEnded(index=index, choice=choice, signature=part.signature if late else None),
    ]


def read_back(said: bytes, sizes: list[int]) -> Reply | Failed:
    """What `reply_decoder` makes of a stream that is cut into chunks of those sizes, over and over."""
    decoder = gemini.reply_decoder(call_prefix="p")
    events: list[Event] = []
    turn = 0
    while said:
        size, turn = sizes[turn % len(sizes)], turn + 1
        chunk, said = said[:size], said[size:]
        events += decoder.feed(chunk)
    return fold(events + decoder.end())


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)


@given(replies(), st.integers(0, 3), st.booleans(), SIZES)
@settings(max_examples=300)
def test_a_stream_says_what_the_plain_reply_says_however_it_is_cut(
    reply: Any, cut: Any, late: Any, sizes: Any
) -> None:
    encoder = gemini.stream_encoder(CONTEXT)
    said = b"".join(encoder.encode(event) for event in spread(reply, cut, late=late))
    assert read_back(said, sizes) == fold(
        gemini.decode_reply(gemini.encode_reply(reply, context=CONTEXT), call_prefix="p")
    )
    for line in said.split(b"\n\n")[:-1]:
        types.GenerateContentResponse.model_validate(json.loads(line.removeprefix(b"data: ")))


@given(replies(), st.integers(0, 3), st.booleans(), SIZES)
def test_an_array_says_what_the_plain_reply_says(reply: Any, cut: Any, late: Any, sizes: Any) -> None:
    encoder = gemini.stream_encoder(CONTEXT, form="array")
    said = b"".join(encoder.encode(event) for event in spread(reply, cut, late=late))
    assert fold(gemini.decode_reply(said, call_prefix="p")) == reply
    scanner = gemini.GeminiStreamScanner("array")
    scanner.feed(said)
    assert scanner.complete


@given(replies(), st.integers(0, 99), st.sampled_from(["sse", "array"]))
def test_a_stream_that_broke_off_never_looks_finished(reply: Any, place: int, form: Any) -> None:
    events = spread(reply, 1, late=False)[:-1]
    encoder = gemini.stream_encoder(CONTEXT, form=form)
    said = b"".join(encoder.encode(event) for event in events[: place % (len(events) + 1)])
    ended = said + encoder.fail(Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "gone"))
    for broken in (said, ended):
        scanner = gemini.GeminiStreamScanner(form)
        scanner.feed(broken)
        scanner.end()
        assert not scanner.complete
    assert b'"finishReason"' not in ended
    if form == "array":
        assert json.loads(ended)[-1]["error"]["message"] == "gone"
    else:
        assert isinstance(read_back(ended, [7]), Failed)
