"""Lists of models, in the three forms that clients read."""

import json

from anthropic.types import ModelInfo as AnthropicModel
from google.genai import types
from openai.types import Model

from regrant.dialects import anthropic, gemini, openai_chat
from regrant.messages.catalogue import ModelInfo

FLASH = ModelInfo(
    id="gemini-3.8-flash",
    display_name="Gemini 3.8 Flash",
    created=1_790_000_000,
    input_token_limit=1_048_576,
    output_token_limit=65_536,
    thinking=True,
)
BARE = ModelInfo(id="my-alias", owner="regrant")


def test_openai_lists_ids() -> None:
    listed = json.loads(openai_chat.encode_models([FLASH, BARE]))
    assert listed["object"] == "list"
    assert [Model.model_validate(model).id for model in listed["data"]] == ["gemini-3.8-flash", "my-alias"]
    assert json.loads(openai_chat.encode_model(BARE)) == {
        "id": "my-alias",
        "object": "model",
        "created": 0,
        "owned_by": "regrant",
    }


def test_gemini_lists_names_with_a_prefix_and_leaves_out_what_is_not_known() -> None:
    listed = json.loads(gemini.encode_models([FLASH, BARE]))["models"]
    assert listed[0] == {
        "name": "models/gemini-3.8-flash",
        "displayName": "Gemini 3.8 Flash",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        "thinking": True,
    }
    assert "inputTokenLimit" not in listed[1]
    types.Model.model_validate(
        {key: value for key, value in listed[0].items() if key != "supportedGenerationMethods"}
    )
    assert json.loads(gemini.encode_model(FLASH)) == listed[0]


def test_anthropic_lists_display_names_and_the_ends_of_the_page() -> None:
    listed = json.loads(anthropic.encode_models([FLASH, BARE]))
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (
        "gemini-3.8-flash",
        "my-alias",
        False,
    )
    assert listed["data"][0] == {
        "type": "model",
        "id": "gemini-3.8-flash",
        "display_name": "Gemini 3.8 Flash",
        "created_at": "2026-09-21T14:13:20Z",
        "lifecycle": "active",
        "max_input_tokens": FLASH.input_token_limit,
        "max_tokens": FLASH.output_token_limit,
    }
    AnthropicModel.model_validate_json(anthropic.encode_model(BARE))
    assert json.loads(anthropic.encode_model(BARE))["display_name"] == "my-alias"


def test_an_empty_list_is_a_list() -> None:
    assert json.loads(openai_chat.encode_models([]))["data"] == []
    assert json.loads(gemini.encode_models([])) == {"models": []}
    assert json.loads(anthropic.encode_models([]))["first_id"] is None
