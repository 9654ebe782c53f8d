"""A pretend Google on loopback: OAuth, Gemini API and Vertex, as strict as the real one, and scriptable.

It is for the demo, for tests and for trying things out. It follows Google's documented behaviour and shares no code with the
gateway, so that a mistake in one is not repeated in the other. The control API is described in `docs/sandbox.md`.
"""
