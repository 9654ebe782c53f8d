"""How it is written: each package turns one vendor's bytes into `regrant.messages`, and back.

The packages `openai_chat`, `anthropic` and `gemini` are themselves the implementations of the protocols in `base.py`;
none of them imports another.
"""
