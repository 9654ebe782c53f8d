"""`/api/models`: the models on offer, and what becomes of a name. Who can serve it is `GET /api/pool?model=`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from regrant.admin.desk import AtDesk
from regrant.admin.errors import from_problem
from regrant.admin.model_views import Dialect, ModelAnswer, explain_name
from regrant.messages.catalogue import ModelInfo
from regrant.messages.problem import Problem


class ModelList(msgspec.Struct, frozen=True):
    items: list[ModelInfo]
    next: str | None


class ModelQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """`key` is the name or id of a client key, "" for requests without one; `dialect` what the request is written in."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    key: Annotated[str, msgspec.Meta(max_length=200)] = ""
    dialect: Dialect = "openai"


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
    return await explain_name(desk.parts, data.model, data.key, data.dialect)


ROUTES = [list_models, explain_model]
