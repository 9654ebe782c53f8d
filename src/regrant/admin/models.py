"""`/api/models`: the models on offer, and which of them serves a name. Who can serve it is `GET /api/pool?model=`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from regrant.admin.desk import AtDesk
from regrant.admin.errors import from_problem
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem


class ModelList(msgspec.Struct, frozen=True):
    items: list[ModelInfo]
    next: str | None


class ModelQuestion(msgspec.Struct, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ModelAnswer(msgspec.Struct, frozen=True):
    """`served_model` is Google's name for what serves `model`, `rule` what led to it; null: nobody serves it, see `advice`."""

    model: str
    served_model: str | None
    rule: str | None
    advice: str | None


@get("/api/models", operation_id="list_models", summary="The models that clients may ask for")
async def list_models(desk: AtDesk) -> ModelList:
    offered = await desk.parts.offer.models()
    if isinstance(offered, Problem):
        raise from_problem(offered)
    return ModelList(list(offered), None)


@post(
    "/api/models/explain",
    operation_id="explain_model",
    status_code=200,
    summary="Which model serves a name, and why",
)
async def explain_model(desk: AtDesk, data: JSONBody[ModelQuestion]) -> ModelAnswer:
    routed = await desk.parts.offer.route(data.model)
    if isinstance(routed, Problem):
        return ModelAnswer(data.model, None, None, routed.message)
    return ModelAnswer(data.model, routed.model, routed.rule, None)


ROUTES = [list_models, explain_model]
