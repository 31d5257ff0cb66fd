"""Models: networks that were uploaded."""

from __future__ import annotations

from fastapi import APIRouter

from app.dependencies import ModelPath, StoreDep
from app.examples import MODEL, answers, page
from app.pages import DEFAULT_LIMIT, After, Limit
from app.uploads import BODY, DeliveryDep
from secateur.inspection import ModelInspection
from secateur.resources import Dataset, Model, Page, Upload

router = APIRouter(prefix="/models", tags=["models"])


@router.post(
    "",
    status_code=201,
    response_model=Model,
    operation_id="create_model",
    openapi_extra=BODY,
    responses=answers(201, "Stored; the inspection begins. Location names the record.", MODEL),
)
async def create_model(delivery: DeliveryDep) -> Upload:
    """Upload a program written by `torch.export.save`: `curl -X POST -T model.pt2 'URL/v1/models?name=model.pt2'`."""
    return await delivery.receive("model", delivery.settings.max_model_bytes)


@router.get(
    "",
    response_model=Page[Model],
    operation_id="list_models",
    responses=answers(200, "The newest first.", page(MODEL)),
)
def list_models(store: StoreDep, after: After = None, limit: Limit = DEFAULT_LIMIT) -> Page[Model | Dataset]:
    """All models, page by page; the scores of single units (megabytes of a large model) are left out."""
    page = store.uploads.list("model", after, limit)
    return page.model_copy(update={"data": tuple(_short(model) for model in page.data)})


def _short(model: Model | Dataset) -> Model | Dataset:
    found = model.inspection
    if not isinstance(found, ModelInspection) or found.units is None:
        return model
    units = found.units.without_scores()
    return model.model_copy(update={"inspection": found.model_copy(update={"units": units})})


@router.get(
    "/{id}",
    response_model=Model,
    operation_id="get_model",
    responses=answers(200, "As it stands now.", MODEL),
)
def get_model(id: ModelPath, store: StoreDep) -> Upload:
    """State, format and digest of a model; what the inspection found in it, or why it was rejected."""
    return store.uploads.get(id)


@router.delete("/{id}", status_code=204, operation_id="delete_model")
def delete_model(id: ModelPath, store: StoreDep) -> None:
    """Delete a model; refused (409) while a job that has not ended uses it."""
    store.uploads.delete(id)
